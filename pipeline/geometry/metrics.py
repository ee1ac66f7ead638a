"""Retrieval metrics: pure functions of the ranks of the truth (`[N]`, from 1)."""

from torch import Tensor


def _checked(rank: Tensor) -> Tensor:
    if rank.dim() != 1 or len(rank) == 0 or bool((rank < 1).any()):
        raise ValueError("ranks must be a non-empty vector of numbers from 1")
    return rank.double()


def recall_at(rank: Tensor, k: int) -> float:
    """Share of queries whose truth is among the first k, in [0, 1]."""
    return float((_checked(rank) <= k).double().mean())


def mrr(rank: Tensor) -> float:
    """Mean reciprocal rank, in (0, 1]."""
    return float(_checked(rank).reciprocal().mean())


def median_rank(rank: Tensor) -> float:
    """Median rank; the mean of the middle two for an even number of queries."""
    return float(_checked(rank).quantile(0.5))


def mean_rank(rank: Tensor) -> float:
    """Mean rank."""
    return float(_checked(rank).mean())
