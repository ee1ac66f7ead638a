"""Hubness (Radovanović et al. 2010): how unevenly items are retrieved."""

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.geometry.precision import blocks
from pipeline.geometry.scores import Prepared, Score


class Hubness(NamedTuple):
    """`occurrences [N']`: in how many queries' first k an item is; its skewness, its maximum, the share of zeros.

    `first [N']`: how many queries an item wins; `winner`: the share that the most frequent one wins.
    """

    occurrences: Tensor
    skewness: float
    largest: int
    orphans: float
    first: Tensor
    winner: float


def hubness(queries: Tensor, items: Tensor, score: Score, k: int = 1, block: int = 1024) -> Hubness:
    """k-occurrence of the items (`queries`, `items`, `score` as in `ranking.ranks`), in blocks of both sides.

    In the precision of the embeddings. ValueError unless 1 <= k <= items.
    """
    return _hubness(queries, items, score, k, block, False)[0]


def hubness_both(texts: Tensor, items: Tensor, score: Score, k: int = 1, block: int = 1024) -> tuple[Hubness, Hubness]:
    """k-occurrence of the items among the texts' first and of the texts among the items', from one pass."""
    forward, backward = _hubness(texts, items, score, k, block, True)
    return forward, backward


@torch.no_grad()
def _hubness(queries: Tensor, items: Tensor, score: Score, k: int, block: int, both: bool) -> list[Hubness]:
    rows, columns = blocks(queries.shape[-2], block), blocks(items.shape[-2], block)
    sides = [_First(rows, items.shape[-2], k)] + ([_First(columns, queries.shape[-2], k)] if both else [])
    for column, what in enumerate(columns):
        prepared = score.prepare(items[..., what, :]) if isinstance(score, Prepared) else None
        for row, who in enumerate(rows):
            part = queries[..., who, :]
            # `quick` orders as the score does, in fewer passes.
            if isinstance(score, Prepared) and prepared is not None:
                scores = score.quick(score.ask(part), prepared)
            else:
                scores = score(part, items[..., what, :])
            sides[0].add(row, scores, what.start)
            if both:
                sides[1].add(column, scores.mT, who.start)
    return [side.hubness() for side in sides]


class _First:
    """The first k items of each block of queries, found block by block of items."""

    def __init__(self, queries: list[slice], items: int, k: int):
        if not 1 <= k <= items:
            raise ValueError(f"k must be between 1 and the gallery's size {items}, got {k}")
        self.k, self.items = k, items
        self.number = queries[-1].stop if queries else 0
        self.found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in queries]

    def add(self, block: int, scores: Tensor, start: int) -> None:
        values, indices = scores.topk(min(self.k, scores.shape[1]), dim=1)
        self.found[block].append((values, indices + start))

    def hubness(self) -> Hubness:
        parts = [(torch.cat([v for v, _ in one], 1), torch.cat([i for _, i in one], 1)) for one in self.found]
        best = torch.cat([indices.gather(1, values.topk(self.k, dim=1).indices) for values, indices in parts])
        occurrences, first = (x.flatten().bincount(minlength=self.items) for x in (best, best[:, 0]))
        centred = occurrences.double() - occurrences.double().mean()
        spread = centred.square().mean().sqrt()
        skewness = float(centred.pow(3).mean() / spread.pow(3)) if float(spread) > 0 else 0.0
        orphans, winner = float((occurrences == 0).double().mean()), float(first.max()) / self.number
        return Hubness(occurrences, skewness, int(occurrences.max()), orphans, first, winner)
