"""GRAM (Cicchetti et al. 2024): the Gram volume of the tuple in InfoNCE, text against tuple, label smoothing 0.1.

Deviation: dependent tuples have gradient 0 (see geometry/volume.py). `gather: no-grad` gives the release's gradient:
text-to-tuple trains the text, tuple-to-text the tuple. The release adds 0.1 x matching, which belongs to the model.
"""

from collections.abc import Mapping

from torch import Tensor

from pipeline.geometry.unit_volume import unit_volume
from pipeline.geometry.volume import pairwise_volume
from pipeline.objectives import settings as options
from pipeline.objectives.inputs import Result, around, objective
from pipeline.objectives.pairs import tuplewise


@objective
def gram(
    embeddings: Mapping[str, Tensor],
    fused: Mapping[str, Tensor],
    temperature: Tensor,
    settings: options.Tuples,
    same: Tensor | None = None,
) -> Result:
    """Symmetric contrast with logits -volume / T; M >= 2 modalities `[B, D]`."""
    anchor, others = around(embeddings, settings.anchor)
    distance = unit_volume if len(others) == 2 else pairwise_volume
    return tuplewise(distance, anchor, others, temperature, settings, same)
