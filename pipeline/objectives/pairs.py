"""Contrasts that the one-loss-a-file modules share: mean over pairs of batches, and anchor against tuple."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.geometry.contrast import attraction, dot, repulsion
from pipeline.objectives.inputs import Result, summed
from pipeline.objectives.settings import Tuples


def matched(queries: Tensor, items: Tensor) -> Tensor:
    """Inner products of corresponding rows: `[B, D], [1, B, D] -> [B]`."""
    return (queries * items[0]).sum(-1)


def pairwise(
    pairs: Sequence[tuple[Tensor, Tensor]],
    temperature: Tensor,
    same: Tensor | None,
    smoothing: float = 0.0,
    detach_candidates: bool = False,
) -> Result:
    """Mean over pairs of the symmetric InfoNCE `(CE(x y^T / T) + CE(y x^T / T)) / 2`."""
    pulls, pushes = [], []
    for x, y in pairs:
        items = y[None]
        pulls.append(attraction(matched, x, items, temperature, smoothing, detach_candidates))
        pushes.append(repulsion(dot, x, items, temperature, smoothing, same, detach_candidates))
    return summed(torch.stack(pulls).mean(), torch.stack(pushes).mean())


def tuplewise(
    score: Callable[[Tensor, Tensor], Tensor],
    own: Callable[[Tensor, Tensor], Tensor],
    anchor: Tensor,
    others: Tensor,
    temperature: Tensor,
    settings: Tuples,
    same: Tensor | None,
) -> Result:
    """Symmetric contrast of the anchor `[B, D]` with tuples `[K, B, D]`; `own` scores corresponding rows `[B]`."""
    detach = settings.gather == "no-grad"
    smoothing = settings.label_smoothing
    pull = attraction(own, anchor, others, temperature, smoothing, detach)
    push = repulsion(score, anchor, others, temperature, smoothing, same, detach)
    return summed(pull, push)
