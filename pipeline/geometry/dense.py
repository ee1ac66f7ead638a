"""Ranks from a matrix of scores that is small enough to be held, by the same rule of ties as the streamed ones."""

import torch
from torch import Tensor

from pipeline.geometry.ranking import Ranks
from pipeline.geometry.refusals import check_scores
from pipeline.geometry.ties import TOLERANCE, average_precision, places


def dense_ranks(scores: Tensor, hits: Tensor, seed: int = 0) -> Ranks:
    """Rank of the best hit of each row among its misses: `scores [N, N']`, `hits [N, N']` bool.

    ValueError for a row without a hit, and for a score that is not a number or infinite, naming row and column.
    """
    if not bool(hits.any(1).all()):
        raise ValueError(f"row {int((~hits.any(1)).nonzero()[0])} has no hit")
    scores = scores.double()
    check_scores(scores)
    best = scores.masked_fill(~hits, -torch.inf).amax(1, keepdim=True)
    reached = scores >= best - TOLERANCE
    better = (scores > best + TOLERANCE).sum(1)
    tied = (reached & ~hits).sum(1) - better
    owner, target = hits.nonzero(as_tuple=True)
    pairs = scores[owner, target]
    above = (scores[owner] > pairs[:, None] + TOLERANCE).sum(1)
    level = (scores[owner] >= pairs[:, None] - TOLERANCE).sum(1)
    precision = average_precision(owner, pairs, above, level, len(scores))
    return Ranks(1 + better + places(tied, (reached & hits).sum(1), seed), tied, precision)
