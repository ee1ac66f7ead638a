"""What every objective does before its equation: check the batch, unit rows, float32, no autocast.

Non-finite or zero rows have no direction; an objective of directions says so instead of returning a number.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.geometry.precision import full, unit_and_length

Terms = dict[str, Tensor]
Result = tuple[Tensor, Terms]


def units(group: str, embeddings: Mapping[str, Tensor], batch: int) -> dict[str, Tensor]:
    """The embeddings `[B, D]` with unit rows in float32 or float64; ValueError names the one that is unusable."""
    checked: dict[str, Tensor] = {}
    lengths = []
    for name, z in embeddings.items():
        if z.dim() != 2 or len(z) != batch or batch == 0 or not z.is_floating_point():
            raise ValueError(f"{group} '{name}': expected a floating-point batch [{batch}, D], got {list(z.shape)}")
        checked[name], length = unit_and_length(z)
        lengths.append(length)
    if len({z.shape[1] for z in checked.values()}) > 1:
        widths = ", ".join(f"{name} {z.shape[1]}" for name, z in checked.items())
        raise ValueError(f"{group}: different widths: {widths}")
    usable = [((length > 0) & length.isfinite()).all() for length in lengths]
    if usable and not bool(torch.stack(usable).all()):
        bad = next(name for name, good in zip(checked, usable, strict=True) if not bool(good))
        raise ValueError(f"{group} '{bad}': a zero or non-finite row has no direction; check the model and its inputs")
    return checked


def objective(function: Callable[..., Result]) -> Callable[..., Result]:
    """Give `function(embeddings, fused, temperature, settings, same)` checked unit rows in full precision."""

    @functools.wraps(function)
    def checked(
        embeddings: Mapping[str, Tensor],
        fused: Mapping[str, Tensor],
        temperature: Tensor,
        settings: Any,
        same: Tensor | None = None,
    ) -> Result:
        if not embeddings:
            raise ValueError("no embeddings given")
        first = next(iter(embeddings.values()))
        temperature = full(torch.as_tensor(temperature, device=first.device))
        if temperature.numel() != 1 or not 0 < temperature.detach().item() < float("inf"):
            raise ValueError(f"temperature must be a number > 0, got {temperature.tolist()}")
        batch = len(first) if first.dim() else 0
        if same is not None and same.shape != (batch, batch):
            raise ValueError(f"same must be [{batch}, {batch}], got {list(same.shape)}")
        with torch.autocast(first.device.type, enabled=False):
            z, conditions = units("embedding", embeddings, batch), units("fused", fused, batch)
            return function(z, conditions, temperature, settings, same if settings.equal_captions == "masked" else None)

    return checked


def several(embeddings: Mapping[str, Tensor]) -> list[Tensor]:
    """The modalities' tensors; ValueError unless there are at least two."""
    if len(embeddings) < 2:
        raise ValueError(f"need at least two modalities, got {', '.join(embeddings) or 'none'}")
    return list(embeddings.values())


def position(embeddings: Mapping[str, Tensor], anchor: str) -> int:
    """Index of the anchor among the modalities; ValueError if it is not there."""
    if anchor not in embeddings:
        raise ValueError(f"anchor '{anchor}' is none of {', '.join(embeddings)}")
    return list(embeddings).index(anchor)


def around(embeddings: Mapping[str, Tensor], anchor: str) -> tuple[Tensor, Tensor]:
    """The anchor `[B, D]` and the other modalities stacked `[M - 1, B, D]`."""
    z = several(embeddings)
    chosen = z.pop(position(embeddings, anchor))
    return chosen, torch.stack(z)


def summed(attraction: Tensor, repulsion: Tensor, **more: Tensor) -> Result:
    """Total and terms of an objective that is an attraction plus a repulsion.

    The terms stay differentiable, for measures of conflict: detach them before logging.
    """
    return attraction + repulsion, {"attraction": attraction, "repulsion": repulsion, **more}
