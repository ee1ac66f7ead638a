"""Retrieval scores of texts with items, larger = better: `score(texts [n, D], items [K, n', D]) -> [n, n']`.

An item with a missing modality carries a zero row for it. `cosine`: the mean runs over what is present. `volume`: the
tuple is the text and what is present (fewer vectors span a larger volume, so such items rank lower at equal angles).
`residual`: the span of what is present. An item without any modality scores 0, -|text| and -1, the worst of each.
Volume and residual ignore signs. Queries that are tuples and items that are texts: `flipped(score)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.geometry.precision import full, unit
from pipeline.geometry.residual import residual_to_span
from pipeline.geometry.ties import TOLERANCE
from pipeline.geometry.volume import check_pairs, directions, root, squared_distance_from_span

Score = Callable[[Tensor, Tensor], Tensor]
VOLUME_COSINE = 1.0 - 1e-14  # |cos| above this: an item's volume is 0
#: Lengths whose squares float32 holds with all of its digits, subnormal numbers flushed to zero or not.
SHORTEST, LONGEST = 1e-12, 1e18
RESOLUTION = 1e-11  # of the largest score: float64 has no more where directions are nearly dependent

Parts = tuple[Tensor, ...]


class Precision(NamedTuple):
    """How near scores are ties, and how far those in float32 may stray.

    The slack is None where float32 cannot be used: where lengths leave its range, so that a score were infinite or
    zero, and where its products are not its own (TF32).
    """

    tolerance: float = TOLERANCE
    slack: float | None = None


@dataclass(frozen=True)
class Prepared:
    """A score in parts, so that ranking can do each as rarely and as cheaply as it may.

    `apply(texts, prepare(items))` is the score of all pairs; `pairs(texts [P, D], prepared, index [P])` that of each
    text with the item at its index. `quick` orders as `apply` does on a scale that costs fewer passes, and `scale`
    takes scores to it; `slack(longest, D, largest, K)` bounds how far `quick` in float32 may stray from float64 there,
    and `size(longest, largest)` bounds a score; `longest`: longest text, `largest`: largest volume of an item.
    """

    prepare: Callable[[Tensor], Parts]
    apply: Callable[[Tensor, Parts], Tensor]
    quick: Callable[[Tensor, Parts], Tensor]
    pairs: Callable[[Tensor, Parts, Tensor], Tensor]
    scale: Callable[[Tensor], Tensor]
    slack: Callable[[float, int, float, int], float]
    size: Callable[[float, float], float]

    def __call__(self, texts: Tensor, items: Tensor) -> Tensor:
        """Scores `[n, n']`; ValueError if the shapes do not fit."""
        check_pairs(texts, items)
        return self.apply(texts, self.prepare(items))

    def precision(self, texts: Tensor, items: Tensor, width: int) -> Precision:
        """What scores of texts and items of these lengths, `[n]` and `[K, n']`, can tell apart."""
        longest, largest = float(texts.max()), float(items.amax(-1).clamp_min(1).prod())
        shortest = float(texts.masked_fill(texts == 0, 1.0).min())
        tolerance = max(TOLERANCE, RESOLUTION * self.size(longest, largest))
        inside = shortest >= SHORTEST and max(longest, 1.0) * largest <= LONGEST
        if not inside or torch.get_float32_matmul_precision() != "highest":
            return Precision(tolerance, None)
        return Precision(tolerance, self.slack(longest, width, largest, len(items)))


def _mean_direction(items: Tensor) -> Parts:
    return (unit(unit(items).sum(0)),)


def _cosine(texts: Tensor, parts: Parts) -> Tensor:
    return unit(texts) @ parts[0].mT


def _cosine_pairs(texts: Tensor, parts: Parts, index: Tensor) -> Tensor:
    return (unit(texts) * parts[0][index]).sum(-1)


def _basis(items: Tensor) -> Parts:
    return (directions(items)[0],)


def _residual(texts: Tensor, parts: Parts) -> Tensor:
    return -residual_to_span(full(texts), parts[0])


def _residual_quick(texts: Tensor, parts: Parts) -> Tensor:
    return _less_shadow(unit(texts), parts[0], texts.new_ones(()))


def _residual_pairs(texts: Tensor, parts: Parts, index: Tensor) -> Tensor:
    lengths = texts.square().sum(-1)
    rest = _distance_pairs(texts, parts[0], index)
    return -torch.where(lengths > 0, rest / torch.where(lengths > 0, lengths, 1.0), 1.0)


def _basis_and_volume(items: Tensor) -> Parts:
    basis, height = directions(items, VOLUME_COSINE)
    return basis, torch.where(torch.linalg.vector_norm(items, dim=-1) == 0, 1.0, height).prod(0)


def _volume(texts: Tensor, parts: Parts) -> Tensor:
    basis, own = parts
    texts = full(texts)
    return root(squared_distance_from_span(texts, basis), texts.square().sum(-1, keepdim=True)) * -own


def _volume_quick(texts: Tensor, parts: Parts) -> Tensor:
    basis, own = parts
    squared = torch.linalg.vector_norm(texts, dim=-1, keepdim=True).square()  # no array of squares
    return _less_shadow(texts, basis, squared).mul_(own.square())


def _volume_scale(scores: Tensor) -> Tensor:
    return scores * scores.abs()


def _volume_pairs(texts: Tensor, parts: Parts, index: Tensor) -> Tensor:
    basis, own = parts
    return root(_distance_pairs(texts, basis, index), texts.square().sum(-1)) * -own[index]


def _less_shadow(texts: Tensor, basis: Tensor, squared: Tensor) -> Tensor:
    """|Q^T t|^2 - `squared` of every text with every item, a pass a direction."""
    total = -squared
    for q in basis:
        cosine = texts @ q.mT
        total = torch.addcmul(total, cosine, cosine, out=cosine)
    return total


def _distance_pairs(texts: Tensor, basis: Tensor, index: Tensor) -> Tensor:
    rest = texts.square().sum(-1)
    for q in basis:
        rest = rest - (texts * q[index]).sum(-1).square()
    return rest.clamp_min(0.0)


def _product_slack(width: int) -> float:
    """Twice the worst rounding of a float32 product of unit vectors whatever the order of summation."""
    return 2 * (width + 8) * torch.finfo(torch.float32).eps


def _same(scores: Tensor) -> Tensor:
    return scores


def _one(longest: float, largest: float) -> float:
    return 1.0


def _product(longest: float, largest: float) -> float:
    return longest * largest


def _cosine_slack(longest: float, width: int, largest: float, modalities: int) -> float:
    return _product_slack(width)


def _residual_slack(longest: float, width: int, largest: float, modalities: int) -> float:
    return (2 * modalities + 1) * _product_slack(width)


def _volume_slack(longest: float, width: int, largest: float, modalities: int) -> float:
    return (2 * modalities + 1) * _product_slack(width) * (longest * largest) ** 2


#: Cosine of the text with the normalised mean of the item's unit vectors.
cosine_score = Prepared(_mean_direction, _cosine, _cosine, _cosine_pairs, _same, _cosine_slack, _one)
#: -sqrt(det G(text, item)) by the item's orthogonal directions: one product and one pass a modality. Nearly dependent
#: items keep their small volumes (in float64 down to 1e-7), unlike in `residual`. Screened by its square.
volume_score = Prepared(
    _basis_and_volume, _volume, _volume_quick, _volume_pairs, _volume_scale, _volume_slack, _product
)
#: -(1 - |Q^T t|^2) of unit texts.
residual_score = Prepared(_basis, _residual, _residual_quick, _residual_pairs, _same, _residual_slack, _one)


def flipped(score: Score) -> Score:
    """The same score with tuples `[K, n, D]` as queries and texts `[n', D]` as items."""
    return lambda tuples, texts: score(texts, tuples).mT


SCORES: dict[str, Score] = {"cosine": cosine_score, "volume": volume_score, "residual": residual_score}
