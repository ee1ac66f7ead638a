"""Rank of the truth of each query, streaming both sides in blocks; both directions share one pass over the scores.

Ties (`ties`): items whose score lies within 1e-7 of the truth's best score are tied with it. The truth takes a random
place among the tied, seeded, a function of seed and query number alone.

Average precision needs the place of every right answer: those of queries with several are counted in a second pass as
queries of their own; where each query has one, the counts of its rank are all that is needed.

Ranks are those of float64, so that block sizes (which change the order of summation by 1e-16) cannot move one. Our own
scores are screened in float32 first: only pairs within its worst rounding of a truth's score are computed again.

Several processes: with a process group each takes every n-th block of items and the counts are added up, so that
every process returns the ranks that one alone would have found.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from pipeline.geometry.precision import blocks
from pipeline.geometry.scores import Parts, Prepared, Score
from pipeline.geometry.ties import TOLERANCE, average_precision, places

BLOCK = 512
KEPT = 2**27  # bytes of prepared items that are kept between the passes: a benchmark's gallery fits


class Ranks(NamedTuple):
    """`rank [N]` int64 from 1, `ties [N]`: wrong items tied with the truth, `precision [N]`: average precision."""

    rank: Tensor
    ties: Tensor
    precision: Tensor


Correspondence = Tensor | Sequence[Sequence[int]]


def ranks(
    queries: Tensor,
    items: Tensor,
    score: Score,
    correspondence: Correspondence,
    block: int = BLOCK,
    seed: int = 0,
    group: "dist.ProcessGroup | None" = None,
) -> Ranks:
    """Best rank of each query's correct items, and their average precision.

    `queries [N, D]` or `[K, N, D]`, `items [N', D]` or `[K, N', D]`, as `score` wants them. `correspondence`: the
    correct item of each query `[N]`, or a list of them a query (several captions an item). Memory: block x block
    scores. ValueError for a query without a correct item, an index outside the gallery, a score that is not a number.
    """
    return _ranks(queries, items, score, correspondence, block, seed, group, False)[0]


def ranks_both(
    texts: Tensor,
    items: Tensor,
    score: Score,
    correspondence: Correspondence,
    block: int = BLOCK,
    seed: int = 0,
    group: "dist.ProcessGroup | None" = None,
) -> tuple[Ranks, Ranks]:
    """Ranks of texts among items and of items among texts, from one pass; every item needs a text that it answers."""
    forward, backward = _ranks(texts, items, score, correspondence, block, seed, group, True)
    return forward, backward


def _ranks(
    queries: Tensor,
    items: Tensor,
    score: Score,
    correspondence: Correspondence,
    block: int,
    seed: int,
    group: "dist.ProcessGroup | None",
    both: bool,
) -> list[Ranks]:
    number, gallery = queries.shape[-2], items.shape[-2]
    owner, target = (side.to(queries.device) for side in _pairs(correspondence, number, gallery))
    if both and len(alone := torch.bincount(target, minlength=gallery).eq(0).nonzero()):
        raise ValueError(f"item {int(alone[0])} answers no query")
    lengths = torch.linalg.vector_norm(queries, dim=-1), torch.linalg.vector_norm(items, dim=-1)
    prepared = _Items(score, items, block) if isinstance(score, Prepared) else None
    pairs = (
        prepared.pairs(queries, owner, target)
        if prepared
        else _pair_scores(queries, items, score, owner, target, block)
    )
    if not all(bool(torch.isfinite(values).all()) for values in (*lengths, pairs)):
        raise ValueError("a score is not a number: check the embeddings for non-finite values")
    rows, columns = _Side(owner, pairs, number), _Side(target, pairs, gallery) if both else None
    _count(queries, items, score, rows, columns, block, group, prepared)

    def count_texts(chosen: Tensor, alone: _Side) -> None:
        _count(queries[..., owner[chosen], :], items, score, alone, None, block, group, prepared)

    def count_items(chosen: Tensor, alone: _Side) -> None:
        _count(queries, items[..., target[chosen], :], score, None, alone, block, group)

    found = [rows.ranks(seed, count_texts)]
    return found if columns is None else [*found, columns.ranks(seed, count_items)]


def _count(
    queries: Tensor,
    items: Tensor,
    score: Score,
    rows: "_Side | None",
    columns: "_Side | None",
    block: int,
    group: "dist.ProcessGroup | None",
    prepared: "_Items | None" = None,
) -> None:
    """Count the items above and around each threshold of the queries (`rows`), of the items (`columns`), or of both."""
    number, gallery = queries.shape[-2], items.shape[-2]
    sides = [(side, dim) for side, dim in ((rows, 1), (columns, 0)) if side is not None]
    screened = isinstance(score, Prepared) and torch.get_float32_matmul_precision() == "highest"
    if isinstance(score, Prepared) and screened:
        longest = float(torch.linalg.vector_norm(queries, dim=-1).max())
        largest = float(torch.linalg.vector_norm(items, dim=-1).amax(-1).clamp_min(1).prod())
        slack = score.slack(longest, queries.shape[-1], largest, len(items))
        for side, _ in sides:
            side.loosen(score.scale, slack)
        prepared = prepared or _Items(score, items, block)
    first, step = (0, 1) if group is None else (dist.get_rank(group), dist.get_world_size(group))
    for column in blocks(gallery, block)[first::step]:
        if prepared is None or not isinstance(score, Prepared) or not screened:
            part = items[..., column, :].double()
            for row in blocks(number, block):
                scores = score(queries[..., row, :].double(), part)
                for side, dim in sides:
                    side.count(scores, row if dim else column, dim)
            continue
        parts = prepared(column)
        quick = tuple(tensor.float() for tensor in parts)
        for row in blocks(number, block):
            texts = queries[row]
            scores = score.quick(texts.float(), quick)
            exact = _Exact(score, texts, parts)
            for side, dim in sides:
                side.screen(scores, row if dim else column, dim, exact)
    if group is not None:
        for side, _ in sides:
            dist.all_reduce(side.better, group=group)
            dist.all_reduce(side.reached, group=group)


class _Items:
    """Items prepared for a score in float64, a block at a time: once where all of them are small, else each time."""

    def __init__(self, score: Prepared, items: Tensor, block: int):
        self.score, self.items, self.block = score, items, block
        self.keeps = items.numel() * 8 <= KEPT
        self.kept: dict[int, Parts] = {}

    def __call__(self, part: slice) -> Parts:
        found = self.kept.get(part.start)
        if found is None:
            found = self.score.prepare(self.items[..., part, :].double())
            if self.keeps:
                self.kept[part.start] = found
        return found

    def pairs(self, queries: Tensor, owner: Tensor, target: Tensor) -> Tensor:
        """Score of each correct pair [P]."""
        found = torch.empty(len(owner), dtype=torch.float64, device=queries.device)
        for part in blocks(self.items.shape[-2], self.block):
            for some in ((target >= part.start) & (target < part.stop)).nonzero()[:, 0].split(self.block):
                texts = queries[owner[some]].double()
                found[some] = self.score.pairs(texts, self(part), target[some] - part.start)
        return found


class _Exact:
    """Float64 scores of some pairs of a block: pair by pair, or the whole block when they are many."""

    def __init__(self, score: Prepared, texts: Tensor, prepared: tuple[Tensor, ...]):
        self.score, self.texts, self.prepared = score, texts, prepared

    def __call__(self, row: Tensor, column: Tensor) -> Tensor:
        if len(row) * 16 > self.texts.shape[0] * self.prepared[0].shape[-2]:
            return self.score.apply(self.texts.double(), self.prepared)[row, column]
        return self.score.pairs(self.texts[row].double(), self.prepared, column)


class _Side:
    """Counts for the queries of one direction: items above the truth's best score, items not below it."""

    def __init__(self, owner: Tensor, pairs: Tensor, number: int):
        truth = torch.full((number,), -torch.inf, dtype=pairs.dtype, device=pairs.device)
        truth.scatter_reduce_(0, owner, pairs, "amax")
        self.owner, self.pairs = owner, pairs
        self.above, self.below = truth + TOLERANCE, truth - TOLERANCE
        self.better = torch.zeros(number, dtype=torch.int64, device=pairs.device)
        self.reached = torch.zeros_like(self.better)
        self.correct = torch.zeros_like(self.better).index_add_(0, owner, (pairs >= self.below[owner]).long())

    def count(self, scores: Tensor, part: slice, dim: int) -> None:
        above, below = self.above[part].unsqueeze(dim), self.below[part].unsqueeze(dim)
        # Bytes are summed faster than booleans; a block has fewer than 2^31 items.
        self.better[part] += (scores > above).view(torch.uint8).sum(dim, dtype=torch.int32)
        self.reached[part] += (scores >= below).view(torch.uint8).sum(dim, dtype=torch.int32)

    def loosen(self, scale: Callable[[Tensor], Tensor], slack: float) -> None:
        """Thresholds in float32, on the scale of the quick scores, beyond which rounding cannot change a decision."""
        self.surely, self.maybe = (scale(self.above) + slack).float(), (scale(self.below) - slack).float()

    def screen(self, scores: Tensor, part: slice, dim: int, exact: "_Exact") -> None:
        # The best score of each query is found at a tenth of what it costs to compare them all.
        open_ = (scores.amax(dim) >= self.maybe[part]).nonzero()[:, 0]
        if len(open_) == 0:
            return
        scores, queries = scores.index_select(1 - dim, open_), open_ + part.start
        maybe = scores >= self.maybe[queries].unsqueeze(dim)
        surely = scores > self.surely[queries].unsqueeze(dim)
        found = surely.view(torch.uint8).sum(dim, dtype=torch.int32)
        self.better[queries] += found
        self.reached[queries] += found
        row, column = maybe.logical_xor_(surely).nonzero(as_tuple=True)
        if len(row) == 0:
            return
        if dim == 1:
            row = open_[row]
        else:
            column = open_[column]
        values = exact(row, column)
        owner = (row if dim == 1 else column) + part.start
        self.better.index_add_(0, owner, (values > self.above[owner]).long())
        self.reached.index_add_(0, owner, (values >= self.below[owner]).long())

    def ranks(self, seed: int, count: Callable[[Tensor, "_Side"], None]) -> Ranks:
        """Ranks of what was counted; `count` counts for chosen pairs, each a query of its own."""
        tied = (self.reached - self.better - self.correct).clamp_min(0)
        better, reached = self.better[self.owner], self.reached[self.owner]
        several = torch.bincount(self.owner, minlength=len(tied))[self.owner] > 1
        if bool(several.any()):
            chosen = several.nonzero()[:, 0]
            alone = _Side(torch.arange(len(chosen), device=chosen.device), self.pairs[chosen], len(chosen))
            count(chosen, alone)
            better[chosen], reached[chosen] = alone.better, alone.reached
        precision = average_precision(self.owner, self.pairs, better, reached, len(tied))
        return Ranks(1 + self.better + places(tied, self.correct, seed), tied, precision)


def _pairs(correspondence: Correspondence, number: int, gallery: int) -> tuple[Tensor, Tensor]:
    """Query and item of each correct pair."""
    if isinstance(correspondence, Tensor):
        owner, target = torch.arange(len(correspondence)), correspondence.cpu().long()
    else:
        lengths = torch.tensor([len(right) for right in correspondence], dtype=torch.int64)
        owner = torch.arange(len(lengths)).repeat_interleave(lengths)
        target = torch.tensor([int(one) for right in correspondence for one in right], dtype=torch.int64)
    if len(correspondence) != number:
        raise ValueError(f"{number} queries but a correspondence of {len(correspondence)}")
    wrong = torch.bincount(owner, minlength=number).eq(0)
    wrong[owner[(target < 0) | (target >= gallery)]] = True
    if bool(wrong.any()):
        query = int(wrong.nonzero()[0])
        right = target[owner == query].tolist()[:5]
        raise ValueError(f"query {query}: correct items {right} are not in a gallery of {gallery}")
    return owner, target


def _pair_scores(queries: Tensor, items: Tensor, score: Score, owner: Tensor, target: Tensor, block: int) -> Tensor:
    """Score of each correct pair in float64; blocks are those that hold them."""
    found = []
    for part in blocks(len(owner), block):
        who, row = owner[part].unique(return_inverse=True)
        what, column = target[part].unique(return_inverse=True)
        found.append(score(queries[..., who, :].double(), items[..., what, :].double())[row, column])
    return torch.cat(found)
