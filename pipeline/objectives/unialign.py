"""UniAlign, Eq. 13: lambda_uni sum_m U(Z_m) + lambda_align L_align + lambda_vol (U(C) + mean sqrt det G).

U is Eq. 9, L_align Eq. 10, C Eq. 11; geodesic forms Eq. 14 and Table 4. What the paper leaves open is a setting
(settings.UniAlign): `unialign-literal` is `scale: one`, `unialign-geodesic` geodesic uniformity and alignment. With
`alignment: volume` the volume stands in for L_align (Table 4's third form).
"""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from pipeline.geometry.alignment import gram_alignment
from pipeline.geometry.centroid import centroid
from pipeline.geometry.uniformity import uniformity
from pipeline.geometry.volume import gram, gram_volume
from pipeline.objectives import settings as options
from pipeline.objectives.inputs import Result, objective, position, several


@objective
def unialign(
    embeddings: Mapping[str, Tensor],
    fused: Mapping[str, Tensor],
    temperature: Tensor,
    settings: options.UniAlign,
    same: Tensor | None = None,
) -> Result:
    """Eq. 13 of M >= 2 modalities `[B, D]`; terms hold each part unweighted, and the weighted two forces."""
    z = several(embeddings)
    anchor = position(embeddings, settings.anchor)
    centre = settings.centroid_temperature
    tau_centroid = temperature if centre is None else torch.full_like(temperature, centre)

    spread = torch.stack([_spread(x, temperature, settings, same) for x in z])
    uniform = spread.sum() if settings.over_modalities == "sum" else spread.mean()
    stacked = torch.stack(z)
    tuples = gram(_held(stacked, anchor, settings))
    close = gram_alignment(tuples, anchor, settings.alignment)
    zero = uniform.new_zeros(())
    central = _spread(centroid(stacked), tau_centroid, settings, same) if settings.lambda_centroid else zero
    flat = gram_volume(tuples).mean() if settings.lambda_volume else zero

    divisor = {"align/2tau2": 2 * temperature.square(), "align/2tau": 2 * temperature}.get(settings.scale, 1.0)
    pull = settings.lambda_align * close + settings.lambda_vol * settings.lambda_volume * flat
    push = settings.lambda_uni * uniform + settings.lambda_vol * settings.lambda_centroid * central
    pull = pull / divisor
    return pull + push, {
        "attraction": pull,
        "repulsion": push,
        "uniformity": uniform,
        "alignment": close,
        "centroid_uniformity": central,
        "volume": flat,
    }


def _held(z: Tensor, anchor: int, settings: options.UniAlign) -> Tensor:
    """The tuples `[M, B, D]` that the alignment terms see: the anchor without gradient in the reading `stop`."""
    if settings.anchor_gradient == "flow":
        return z
    return torch.stack([x.detach() if m == anchor else x for m, x in enumerate(z)])


def _spread(z: Tensor, temperature: Tensor, settings: options.UniAlign, same: Tensor | None) -> Tensor:
    """U of one batch in the readings of width, scale and batch."""
    if settings.width == "2tau2":
        width = temperature
    elif settings.width == "2tau":
        width = temperature.sqrt()
    else:
        width = torch.full_like(temperature, float(settings.width))
    if settings.uniformity_batch == "global":
        value = uniformity(z, width, settings.uniformity, same)
    else:
        value = torch.stack([
            uniformity(z[p], width, settings.uniformity, None if same is None else same[p, p])
            for p in _devices(len(z), settings.devices)
        ]).mean()  # fmt: skip
    return value * width.square() if settings.scale == "U*tau2" else value


def _devices(batch: int, devices: int) -> list[slice]:
    """The rows of each device: consecutive chunks of (nearly) equal size, two rows at least."""
    if batch < 2 * devices:
        raise ValueError(f"uniformity_batch: device: a batch of {batch} has under two rows on {devices}")
    return [slice(a, b) for a, b in pairwise(round(k * batch / devices) for k in range(devices + 1))]
