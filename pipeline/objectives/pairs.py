"""Contrasts that the one-loss-a-file modules share: mean over pairs of batches, and anchor against tuple."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.geometry.contrast import contrast
from pipeline.geometry.explicit import dot
from pipeline.objectives.inputs import Result, summed
from pipeline.objectives.settings import Tuples


def pairwise(
    pairs: Sequence[tuple[Tensor, Tensor]],
    temperature: Tensor,
    same: Tensor | None,
    smoothing: float = 0.0,
    detach_candidates: bool = False,
) -> Result:
    """Mean over pairs of the symmetric InfoNCE `(CE(x y^T / T) + CE(y x^T / T)) / 2`."""
    parts = [contrast(dot, x, y[None], temperature, smoothing, same, detach_candidates) for x, y in pairs]
    pulls, pushes = zip(*parts, strict=True)
    return summed(torch.stack(pulls).mean(), torch.stack(pushes).mean())


def tuplewise(
    distance: Callable[[Tensor, Tensor], Tensor],
    anchor: Tensor,
    others: Tensor,
    temperature: Tensor,
    settings: Tuples,
    same: Tensor | None,
) -> Result:
    """Symmetric contrast of the anchor `[B, D]` with tuples `[K, B, D]` by logits -distance / T."""
    detach = settings.gather == "no-grad"
    return summed(*contrast(distance, anchor, others, -temperature, settings.label_smoothing, same, detach))
