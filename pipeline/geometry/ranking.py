"""Rank of the truth of each query, streaming both sides in blocks; both directions share one pass over the scores.

Ties (`ties`): items whose score lies within 1e-7 of the truth's best score are tied with it. The truth takes a random
place among the tied, seeded: its draw is a function of seed and query number alone.

Average precision needs the place of every right answer: those of queries with several are counted in a second pass as
queries of their own; where each query has one, the counts of its rank are all that is needed.

Ranks are those of float64, so that block sizes (which change the order of summation by 1e-16) cannot move one. Our own
scores are screened in float32 first: only pairs within its worst rounding of a truth's score are computed again. Where
lengths leave the range of float32, all pairs are computed in float64. A score that is not a number is an error.

Several processes: with a process group each takes every n-th block of items and the counts are added up, so that
every process returns the ranks that one alone would have found.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from pipeline.geometry.correspondence import Correspondence, correct_pairs
from pipeline.geometry.precision import blocks
from pipeline.geometry.refusals import check_pair_scores, check_scores, check_shapes, finite_lengths
from pipeline.geometry.scores import Parts, Precision, Prepared, Score, Slack
from pipeline.geometry.ties import average_precision, places

BLOCK = 512
PAIRS = 2**14  # pairs whose embeddings are copied at a time
KEPT = 2**27  # bytes of prepared items that are kept between the passes: a benchmark's gallery fits


class Ranks(NamedTuple):
    """`rank [N]` int64 from 1, `ties [N]`: wrong items tied with the truth, `precision [N]`: average precision."""

    rank: Tensor
    ties: Tensor
    precision: Tensor


class _How(NamedTuple):
    """The score and its precision, rows and columns of a block, processes."""

    score: Score
    precision: Precision
    block: int
    group: "dist.ProcessGroup | None"


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
    correct item of each query `[N]`, or a list of them a query (several captions an item; named twice it counts once).
    Memory: block x block scores and the embeddings of `PAIRS` pairs. ValueError for shapes that do not fit, no
    queries, no items, a query without a correct item, an index outside the gallery; and, naming query and item, for a
    score that is not a number or infinite.
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


@torch.no_grad()
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
    check_shapes(queries, items, score)
    number, gallery = queries.shape[-2], items.shape[-2]
    owner, target = (side.to(queries.device) for side in correct_pairs(correspondence, number, gallery))
    if both and len(alone := torch.bincount(target, minlength=gallery).eq(0).nonzero()):
        raise ValueError(f"item {int(alone[0])} answers no query")
    lengths = finite_lengths("query", queries), finite_lengths("item", items)
    precision = score.precision(*lengths, queries.shape[-1]) if isinstance(score, Prepared) else Precision()
    how = _How(score, precision, block, group)
    prepared = _Items(score, items, block) if isinstance(score, Prepared) else None
    pairs = (
        prepared.pairs(queries, owner, target)
        if prepared
        else _pair_scores(queries, items, score, owner, target, block)
    )
    check_pair_scores(pairs, owner, target)
    rows = _Side(owner, pairs, number, precision.tolerance)
    columns = _Side(target, pairs, gallery, precision.tolerance) if both else None
    _count(queries, items, how, rows, columns, prepared)

    def count_texts(chosen: Tensor, alone: _Side) -> None:
        _count(queries[..., owner[chosen], :], items, how, alone, None, prepared)

    def count_items(chosen: Tensor, alone: _Side) -> None:
        _count(queries, items[..., target[chosen], :], how, None, alone)

    found = [rows.ranks(seed, count_texts)]
    return found if columns is None else [*found, columns.ranks(seed, count_items)]


def _count(
    queries: Tensor,
    items: Tensor,
    how: _How,
    rows: "_Side | None",
    columns: "_Side | None",
    prepared: "_Items | None" = None,
) -> None:
    """Count the items above and around each threshold of the queries (`rows`), of the items (`columns`), or of both."""
    score, (_, slack), block, group = how
    sides = [(side, dim) for side, dim in ((rows, 1), (columns, 0)) if side is not None]
    first, step = (0, 1) if group is None else (dist.get_rank(group), dist.get_world_size(group))
    mine = blocks(items.shape[-2], block)[first::step]
    if isinstance(score, Prepared) and slack is not None:
        for side, _ in sides:
            side.loosen(score.scale, slack)
        # What the caller's autocast would make of the products is not within the slack.
        with torch.autocast(queries.device.type, enabled=False):
            _screen(queries, prepared or _Items(score, items, block), score, sides, mine)
    else:
        for column in mine:
            part = items[..., column, :].double()
            for row in blocks(queries.shape[-2], block):
                scores = score(queries[..., row, :].double(), part)
                check_scores(scores, row.start, column.start)
                for side, dim in sides:
                    side.count(scores, row if dim else column, dim)
    if group is not None:
        for side, _ in sides:
            dist.all_reduce(side.better, group=group)
            dist.all_reduce(side.reached, group=group)


def _screen(
    queries: Tensor, items: "_Items", score: Prepared, sides: list[tuple["_Side", int]], mine: list[slice]
) -> None:
    """Count in float32, and in float64 what float32 does not decide."""
    rows, keeps = blocks(len(queries), items.block), queries.numel() * 4 <= KEPT
    asked = [score.ask(queries[row].float()) for row in rows] if keeps else []
    for column in mine:
        parts = items(column)
        quick = tuple(tensor.float() for tensor in parts)
        for number, row in enumerate(rows):
            scores = score.quick(asked[number] if keeps else score.ask(queries[row].float()), quick)
            exact = _Exact(score, queries[row], parts, row.start, column.start)
            for side, dim in sides:
                side.screen(scores, row if dim else column, dim, exact)


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
    """Float64 scores of some pairs of a block: pair by pair, or the whole block when they are many.

    `query`, `item`: where the block begins. ValueError for a score that is not a number or infinite.
    """

    def __init__(self, score: Prepared, texts: Tensor, prepared: Parts, query: int, item: int):
        self.score, self.texts, self.prepared = score, texts, prepared
        self.query, self.item = query, item

    def __call__(self, row: Tensor, column: Tensor) -> Tensor:
        if len(row) * 16 > self.texts.shape[0] * self.prepared[0].shape[-2]:
            values = self.score.apply(self.texts.double(), self.prepared)[row, column]
        else:
            some = zip(row.split(PAIRS), column.split(PAIRS), strict=True)
            values = torch.cat([self.score.pairs(self.texts[r].double(), self.prepared, c) for r, c in some])
        check_pair_scores(values, row + self.query, column + self.item)
        return values


class _Side:
    """Counts for the queries of one direction: items above the truth's best score, items not below it."""

    def __init__(self, owner: Tensor, pairs: Tensor, number: int, tolerance: float):
        truth = torch.full((number,), -torch.inf, dtype=pairs.dtype, device=pairs.device)
        truth.scatter_reduce_(0, owner, pairs, "amax")
        self.owner, self.pairs, self.tolerance = owner, pairs, tolerance
        self.above, self.below = truth + tolerance, truth - tolerance
        self.better = torch.zeros(number, dtype=torch.int64, device=pairs.device)
        self.reached = torch.zeros_like(self.better)
        self.correct = torch.zeros_like(self.better).index_add_(0, owner, (pairs >= self.below[owner]).long())

    def count(self, scores: Tensor, part: slice, dim: int) -> None:
        above, below = self.above[part].unsqueeze(dim), self.below[part].unsqueeze(dim)
        # Bytes are summed faster than booleans; a block has fewer than 2^31 items.
        self.better[part] += (scores > above).view(torch.uint8).sum(dim, dtype=torch.int32)
        self.reached[part] += (scores >= below).view(torch.uint8).sum(dim, dtype=torch.int32)

    def loosen(self, scale: Callable[[Tensor], Tensor], slack: Slack) -> None:
        """Thresholds in float32, on the scale of the quick scores, beyond which rounding cannot change a decision."""
        above, below = scale(self.above), scale(self.below)
        self.surely, self.maybe = (above + slack(above)).float(), (below - slack(below)).float()

    def screen(self, scores: Tensor, part: slice, dim: int, exact: "_Exact") -> None:
        # The best score of each query is found at a tenth of what it costs to compare them all; NaN is the best of any.
        best = scores.amax(dim)
        open_ = (~(best < self.maybe[part])).nonzero()[:, 0]
        if len(open_) == 0:
            return
        if 2 * len(open_) > len(best):  # comparing them all costs less than copying most
            open_ = torch.arange(len(best), device=best.device)
        else:
            scores = scores.index_select(1 - dim, open_)
        queries = open_ + part.start
        maybe = scores >= self.maybe[queries].unsqueeze(dim)
        surely = scores > self.surely[queries].unsqueeze(dim)
        broken = ~best[open_].isfinite().unsqueeze(dim)
        if bool(broken.any()):  # NaN or beyond float32: all scores of such a query are computed again
            maybe, surely = maybe | broken, surely & ~broken
        found, reached = (which.view(torch.uint8).sum(dim, dtype=torch.int32) for which in (surely, maybe))
        self.better[queries] += found
        self.reached[queries] += found
        unsure = (reached != found).nonzero()[:, 0]
        if len(unsure) == 0:
            return
        doubts = maybe.index_select(1 - dim, unsure).logical_xor_(surely.index_select(1 - dim, unsure))
        row, column = doubts.nonzero(as_tuple=True)
        if dim == 1:
            row = open_[unsure[row]]
        else:
            column = open_[unsure[column]]
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
            for chosen in several.nonzero()[:, 0].split(PAIRS):
                each = torch.arange(len(chosen), device=chosen.device)
                alone = _Side(each, self.pairs[chosen], len(chosen), self.tolerance)
                count(chosen, alone)
                better[chosen], reached[chosen] = alone.better, alone.reached
        precision = average_precision(self.owner, self.pairs, better, reached, len(tied), self.tolerance)
        return Ranks(1 + self.better + places(tied, self.correct, seed), tied, precision)


def _pair_scores(queries: Tensor, items: Tensor, score: Score, owner: Tensor, target: Tensor, block: int) -> Tensor:
    """Score of each correct pair in float64; blocks are those that hold them."""
    found = []
    for part in blocks(len(owner), block):
        who, row = owner[part].unique(return_inverse=True)
        what, column = target[part].unique(return_inverse=True)
        found.append(score(queries[..., who, :].double(), items[..., what, :].double())[row, column])
    return torch.cat(found)
