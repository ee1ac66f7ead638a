"""Rank of the truth of each query, streaming both sides in blocks.

Ties: items whose score lies within 1e-7 of the truth's best score are tied with it. The truth takes a random place
among the tied (seeded, a function of seed and query number alone), so that a collapsed model scores at chance: counting
ties as wins or by storage order would flatter or punish it. Scores are computed in float64, so that block sizes
(which change the order of summation by 1e-16) cannot move a rank.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.geometry.precision import blocks
from pipeline.geometry.scores import Score

TOLERANCE = 1e-7
BLOCK = 1024


class Ranks(NamedTuple):
    """`rank [N]` int64 from 1, `ties [N]` int64: wrong items tied with the truth."""

    rank: Tensor
    ties: Tensor


def ranks(
    queries: Tensor,
    items: Tensor,
    score: Score,
    correspondence: Tensor | Sequence[Sequence[int]],
    block: int = BLOCK,
    seed: int = 0,
) -> Ranks:
    """Best rank of each query's correct items.

    `queries [N, D]` or `[K, N, D]`, `items [N', D]` or `[K, N', D]`, as `score` wants them. `correspondence`: the
    correct item of each query `[N]`, or a list of them a query (several captions an item). Memory: block x block
    scores. ValueError for a query without a correct item, an index outside the gallery, or a score that is not a number.
    """
    number, gallery = queries.shape[-2], items.shape[-2]
    owner, target = _pairs(correspondence, number, gallery)
    queries, items = queries.double(), items.double()

    truth = torch.full((number,), -torch.inf, dtype=torch.float64, device=queries.device)
    correct = torch.zeros(number, dtype=torch.int64, device=queries.device)
    better, tied = torch.zeros_like(correct), torch.zeros_like(correct)
    owner, target = owner.to(correct.device), target.to(correct.device)
    for find_truth in (True, False):
        for rows in blocks(number, block):
            for columns in blocks(gallery, block):
                scores = score(queries[..., rows, :], items[..., columns, :])
                inside = (owner >= rows.start) & (owner < rows.stop) & (target >= columns.start)
                inside &= target < columns.stop
                who, what = owner[inside] - rows.start, target[inside] - columns.start
                if find_truth:
                    if bool(scores.isnan().any()):
                        raise ValueError("a score is not a number: check the embeddings for non-finite values")
                    truth[rows].scatter_reduce_(0, who, scores[who, what], "amax")
                    continue
                best = truth[rows, None]
                right = torch.zeros_like(scores, dtype=torch.bool)
                right[who, what] = True
                near = (scores >= best - TOLERANCE) & (scores <= best + TOLERANCE)
                better[rows] += ((scores > best + TOLERANCE) & ~right).sum(1)
                tied[rows] += (near & ~right).sum(1)
                correct[rows] += (near & right).sum(1)
    return Ranks(1 + better + _places(tied, correct, seed), tied)


def _pairs(correspondence: Tensor | Sequence[Sequence[int]], number: int, gallery: int) -> tuple[Tensor, Tensor]:
    lists = [[c] for c in correspondence.tolist()] if isinstance(correspondence, Tensor) else list(correspondence)
    if len(lists) != number:
        raise ValueError(f"{number} queries but a correspondence of {len(lists)}")
    for query, right in enumerate(lists):
        if not len(right) or min(right) < 0 or max(right) >= gallery:
            raise ValueError(f"query {query}: correct items {list(right)[:5]} are not in a gallery of {gallery}")
    owner = torch.tensor([q for q, right in enumerate(lists) for _ in right], dtype=torch.int64)
    return owner, torch.tensor([int(r) for right in lists for r in right], dtype=torch.int64)


def _places(tied: Tensor, correct: Tensor, seed: int) -> Tensor:
    """Wrong items before the first of `correct` right ones in a random order of all tied ones.

    The first of g uniform places lies at u = 1 - (1 - U)^(1/g); each wrong item falls before it with chance u.
    """
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(len(tied), generator=generator, dtype=torch.float64)
    first = 1 - (1 - uniform) ** (1 / correct.cpu().double())
    drawn = torch.binomial(tied.cpu().double(), first, generator=generator)
    return drawn.to(tied)
