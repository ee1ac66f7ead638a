"""TRIANGLE: the area of the triangle of text, vision and audio in InfoNCE, label smoothing 0.1.

The release's "area" is twice the squared area, without a root; for M != 3 it is the simplex of the M vectors
(geometry/simplex.py). The cosine regularisation of its paper is not in its code, nor here.
"""

from collections.abc import Mapping

from torch import Tensor

from pipeline.geometry.simplex import pairwise_area
from pipeline.objectives import settings as options
from pipeline.objectives.inputs import Result, around, objective
from pipeline.objectives.pairs import tuplewise


@objective
def triangle(
    embeddings: Mapping[str, Tensor],
    fused: Mapping[str, Tensor],
    temperature: Tensor,
    settings: options.Tuples,
    same: Tensor | None = None,
) -> Result:
    """Symmetric contrast with logits -area / T; M >= 2 modalities `[B, D]`."""
    anchor, others = around(embeddings, settings.anchor)
    return tuplewise(pairwise_area, anchor, others, temperature, settings, same)
