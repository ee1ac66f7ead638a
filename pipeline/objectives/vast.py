"""VAST's contrastive loss (Chen et al. 2023): text with each fused condition, label smoothing 0.1.

Mean over conditions. Also `vast-continued`. The matching and captioning parts belong to the model, not here.
"""

from collections.abc import Mapping

from torch import Tensor

from pipeline.objectives import settings as options
from pipeline.objectives.inputs import Result, objective, position
from pipeline.objectives.pairs import pairwise


@objective
def vast(
    embeddings: Mapping[str, Tensor],
    fused: Mapping[str, Tensor],
    temperature: Tensor,
    settings: options.Vast,
    same: Tensor | None = None,
) -> Result:
    """Mean of the symmetric contrasts of the anchor (text) `[B, D]` with the fused conditions `[B, D]`."""
    position(embeddings, settings.anchor)
    conditions = settings.conditions or tuple(fused)
    missing = [name for name in conditions if name not in fused]
    if missing or not conditions:
        raise ValueError(f"vast needs fused conditions ({', '.join(missing) or 'v, a, va'}), got {list(fused)}")
    text = embeddings[settings.anchor]
    pairs = [(text, fused[name]) for name in conditions]
    return pairwise(pairs, temperature, same, settings.label_smoothing, settings.gather == "no-grad")
