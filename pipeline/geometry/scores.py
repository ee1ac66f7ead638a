"""Retrieval scores of texts with items, larger = better: `score(texts [n, D], items [K, n', D]) -> [n, n']`.

An item with a missing modality carries a zero row for it. `cosine`: the mean runs over what is present. `volume`: the
tuple is the text and what is present (fewer vectors span a larger volume, so such items rank lower at equal angles).
`residual`: the span of what is present. An item without any modality scores 0, -|text| and -1, the worst of each.
Volume and residual ignore signs. Queries that are tuples and items that are texts: `flipped(score)`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.geometry.precision import full, unit
from pipeline.geometry.residual import pairwise_residual
from pipeline.geometry.volume import directions, root, squared_distance_from_span

Score = Callable[[Tensor, Tensor], Tensor]
VOLUME_COSINE = 1.0 - 1e-14  # |cos| above this: an item's volume is 0


def cosine_score(texts: Tensor, items: Tensor) -> Tensor:
    """Cosine of the text with the normalised mean of the item's unit vectors."""
    return unit(texts) @ unit(unit(items).sum(0)).mT


def volume_score(texts: Tensor, items: Tensor) -> Tensor:
    """-sqrt(det G(text, item)) by the item's orthogonal directions: one product and one pass a modality.

    Nearly dependent items keep their small volumes (in float64 down to 1e-7), unlike in `residual`.
    """
    texts = full(texts)
    basis, height = directions(items, VOLUME_COSINE)
    own = torch.where((items == 0).all(-1), 1.0, height).prod(0)
    return root(squared_distance_from_span(texts, basis), texts.square().sum(-1, keepdim=True)) * -own


def residual_score(texts: Tensor, items: Tensor) -> Tensor:
    """-(1 - |Q^T t|^2) of unit texts."""
    return -pairwise_residual(texts, items)


def flipped(score: Score) -> Score:
    """The same score with tuples `[K, n, D]` as queries and texts `[n', D]` as items."""
    return lambda tuples, texts: score(texts, tuples).mT


SCORES: dict[str, Score] = {"cosine": cosine_score, "volume": volume_score, "residual": residual_score}
