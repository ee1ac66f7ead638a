"""ImageBind (Girdhar et al. 2023): InfoNCE of vision with each other modality, both directions."""

from collections.abc import Mapping

from torch import Tensor

from pipeline.objectives import settings as options
from pipeline.objectives.inputs import Result, around, objective
from pipeline.objectives.pairs import pairwise


@objective
def imagebind(
    embeddings: Mapping[str, Tensor],
    fused: Mapping[str, Tensor],
    temperature: Tensor,
    settings: options.ImageBind,
    same: Tensor | None = None,
) -> Result:
    """Mean of the symmetric contrasts of the anchor (vision) with the others; M >= 2 modalities `[B, D]`."""
    anchor, others = around(embeddings, settings.anchor)
    return pairwise([(anchor, other) for other in others], temperature, same)
