"""Figures of evidence as pure functions: AUC and recall."""

from __future__ import annotations

import torch
from torch import Tensor


def auc(positive: Tensor, negative: Tensor) -> float:
    """Probability that a positive score exceeds a negative one, ties half (Mann-Whitney)."""
    ordered = negative.double().sort().values
    below = torch.searchsorted(ordered, positive.double(), side="left")
    upto = torch.searchsorted(ordered, positive.double(), side="right")
    return float((below + upto).double().mean() / 2 / len(negative))


def recall_at_1(scores: Tensor, hits: Tensor) -> tuple[float, float]:
    """R@1 and its chance value, in %, of scores [Q, N]; hits bool [Q, N]. Ties of the best share the hit."""
    best = scores == scores.amax(1, keepdim=True)
    found = (best & hits).sum(1) / best.sum(1)
    return 100 * float(found.double().mean()), 100 * float(hits.double().mean())
