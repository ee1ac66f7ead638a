"""Hubness (Radovanović et al. 2010): how unevenly items are retrieved."""

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.geometry.precision import blocks
from pipeline.geometry.scores import Score


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
    """k-occurrence of the items (`queries`, `items`, `score` as in `ranking.ranks`), in blocks of both sides."""
    number, gallery = queries.shape[-2], items.shape[-2]
    if not 1 <= k <= gallery:
        raise ValueError(f"k must be between 1 and the gallery's size {gallery}, got {k}")
    occurrences = torch.zeros(gallery, dtype=torch.int64, device=items.device)
    first = torch.zeros_like(occurrences)
    for rows in blocks(number, block):
        values, indices = [], []
        for columns in blocks(gallery, block):
            scores = score(queries[..., rows, :], items[..., columns, :])
            top = scores.topk(min(k, scores.shape[1]), dim=1)
            values.append(top.values)
            indices.append(top.indices + columns.start)
        best = torch.cat(values, 1).topk(k, dim=1).indices
        found = torch.cat(indices, 1).gather(1, best)
        occurrences += found.flatten().bincount(minlength=gallery)
        first += found[:, 0].bincount(minlength=gallery)
    centred = occurrences.double() - occurrences.double().mean()
    spread = centred.square().mean().sqrt()
    skewness = float(centred.pow(3).mean() / spread.pow(3)) if float(spread) > 0 else 0.0
    orphans, winner = float((occurrences == 0).double().mean()), float(first.max()) / number
    return Hubness(occurrences, skewness, int(occurrences.max()), orphans, first, winner)
