"""Retrieval scores of texts with items, larger = better: `score(texts [n, D], items [K, n', D]) -> [n, n']`.

An item with a missing modality carries a zero row for it. `cosine`: the mean runs over what is present. `volume`: the
tuple is the text and what is present (fewer vectors span a larger volume, so such items rank lower at equal angles).
`residual`: the span of what is present. An item without any modality scores 0, -|text| and -1, the worst of each.
Volume and residual ignore signs. Queries that are tuples and items that are texts: `flipped(score)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.geometry.precision import full, unit
from pipeline.geometry.residual import residual_to_span
from pipeline.geometry.volume import check_pairs, directions, root, squared_distance_from_span

Score = Callable[[Tensor, Tensor], Tensor]
VOLUME_COSINE = 1.0 - 1e-14  # |cos| above this: an item's volume is 0


@dataclass(frozen=True)
class Prepared:
    """A score whose work on the items alone is done once for many blocks of texts: `apply(texts, prepare(items))`."""

    prepare: Callable[[Tensor], Any]
    apply: Callable[[Tensor, Any], Tensor]

    def __call__(self, texts: Tensor, items: Tensor) -> Tensor:
        """Scores `[n, n']`; ValueError if the shapes do not fit."""
        check_pairs(texts, items)
        return self.apply(texts, self.prepare(items))


def _mean_direction(items: Tensor) -> Tensor:
    return unit(unit(items).sum(0))


def _cosine(texts: Tensor, mean: Tensor) -> Tensor:
    return unit(texts) @ mean.mT


def _basis_and_volume(items: Tensor) -> tuple[Tensor, Tensor]:
    basis, height = directions(items, VOLUME_COSINE)
    return basis, torch.where((items == 0).all(-1), 1.0, height).prod(0)


def _volume(texts: Tensor, prepared: tuple[Tensor, Tensor]) -> Tensor:
    basis, own = prepared
    texts = full(texts)
    return root(squared_distance_from_span(texts, basis), texts.square().sum(-1, keepdim=True)) * -own


def _basis(items: Tensor) -> Tensor:
    return directions(items)[0]


def _residual(texts: Tensor, basis: Tensor) -> Tensor:
    return -residual_to_span(full(texts), basis)


#: Cosine of the text with the normalised mean of the item's unit vectors.
cosine_score = Prepared(_mean_direction, _cosine)
#: -sqrt(det G(text, item)) by the item's orthogonal directions: one product and one pass a modality. Nearly dependent
#: items keep their small volumes (in float64 down to 1e-7), unlike in `residual`.
volume_score = Prepared(_basis_and_volume, _volume)
#: -(1 - |Q^T t|^2) of unit texts.
residual_score = Prepared(_basis, _residual)


def flipped(score: Score) -> Score:
    """The same score with tuples `[K, n, D]` as queries and texts `[n', D]` as items."""
    return lambda tuples, texts: score(texts, tuples).mT


SCORES: dict[str, Score] = {"cosine": cosine_score, "volume": volume_score, "residual": residual_score}
