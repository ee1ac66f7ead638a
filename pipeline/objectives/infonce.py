"""InfoNCE over all ordered pairs of modalities, UniAlign Eq. 1 with w_mn = 1.

Deviation: mean over the batch where Eq. 1 prints a sum, the convention of cross entropy.
"""

from collections.abc import Mapping
from itertools import combinations

from torch import Tensor

from pipeline.objectives import settings as options
from pipeline.objectives.inputs import Result, objective, several
from pipeline.objectives.pairs import pairwise


@objective
def infonce(
    embeddings: Mapping[str, Tensor],
    fused: Mapping[str, Tensor],
    temperature: Tensor,
    settings: options.InfoNCE,
    same: Tensor | None = None,
) -> Result:
    """Mean of the symmetric contrasts of all pairs; M >= 2 modalities `[B, D]`."""
    return pairwise(list(combinations(several(embeddings), 2)), temperature, same)
