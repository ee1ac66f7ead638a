"""The Hölder divergence estimate itself as a loss, UniAlign Eq. 24: what its objective is said to be a proxy of.

`temperature` is the kernels' width. The estimate is not bounded below by 0 (see geometry/holder.py), and nothing in it
separates samples but its uniformity term. Equal captions cannot be masked: it is a divergence of distributions.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.geometry.holder import holder_terms
from pipeline.objectives import settings as options
from pipeline.objectives.inputs import Result, objective, several, summed


@objective
def holder(
    embeddings: Mapping[str, Tensor],
    fused: Mapping[str, Tensor],
    temperature: Tensor,
    settings: options.Holder,
    same: Tensor | None = None,
) -> Result:
    """Eq. 24 of M >= 2 modalities `[B, D]`; the first given is the anchor unless `anchors: all`."""
    if settings.equal_captions == "masked":
        raise ValueError("holder: equal_captions: masked is not defined for a divergence of distributions")
    z = torch.stack(several(embeddings))
    anchors = range(len(z)) if settings.anchors == "all" else (0,)
    uniform, aligned = holder_terms(z, temperature, settings.leave_one_out, tuple(anchors))
    return summed(aligned, uniform)
