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

UNIT = torch.finfo(torch.float32).eps / 2  # the largest relative rounding of one operation in float32
SAFE = 1.5  # the bounds below are worst cases already

Parts = tuple[Tensor, ...]
Slack = Callable[[Tensor], Tensor]


class Precision(NamedTuple):
    """How near scores are ties, and how far those in float32 may stray at a threshold.

    The slack is None where float32 cannot be used: where lengths leave its range, so that a score were infinite or
    zero, and where its products are not its own (TF32).
    """

    tolerance: float = TOLERANCE
    slack: Slack | None = None


@dataclass(frozen=True)
class Prepared:
    """A score in parts, so that ranking can do each as rarely and as cheaply as it may.

    `apply(texts, prepare(items))` is the score of all pairs; `pairs(texts [P, D], prepared, index [P])` that of each
    text with the item at its index. `quick(ask(texts), prepared)` orders as `apply` does on a scale that costs fewer
    passes, and `scale` takes scores to it. `slack(scores, longest, D, largest, K)` bounds there, at scores that are
    thresholds, how far `quick` in float32 may stray from float64 on the wrong side: what it finds above a threshold by
    more than that is above it. `size(longest, largest)` bounds a score; `longest`: longest text, `largest`: largest
    volume of an item.
    """

    prepare: Callable[[Tensor], Parts]
    apply: Callable[[Tensor, Parts], Tensor]
    ask: Callable[[Tensor], Parts]
    quick: Callable[[Parts, Parts], Tensor]
    pairs: Callable[[Tensor, Parts, Tensor], Tensor]
    scale: Callable[[Tensor], Tensor]
    slack: Callable[[Tensor, float, int, float, int], Tensor]
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
        return Precision(tolerance, lambda scores: self.slack(scores, longest, width, largest, len(items)))


def _mean_direction(items: Tensor) -> Parts:
    return (unit(unit(items).sum(0)),)


def _ask_direction(texts: Tensor) -> Parts:
    """Unit texts, each number of them within two roundings; a zero text stays zero."""
    length = torch.linalg.vector_norm(texts, dim=-1, keepdim=True, dtype=torch.float64)
    return (texts / torch.where(length > 0, length, 1.0).to(texts.dtype),)


def _ask_length(texts: Tensor) -> Parts:
    """Texts and their squared lengths [n, 1]."""
    length = torch.linalg.vector_norm(texts, dim=-1, keepdim=True, dtype=torch.float64)
    return texts, length.square().to(texts.dtype)


def _cosine(texts: Tensor, parts: Parts) -> Tensor:
    return unit(texts) @ parts[0].mT


def _cosine_quick(asked: Parts, parts: Parts) -> Tensor:
    return asked[0] @ parts[0].mT


def _cosine_pairs(texts: Tensor, parts: Parts, index: Tensor) -> Tensor:
    return (unit(texts) * parts[0][index]).sum(-1)


def _basis(items: Tensor) -> Parts:
    return (directions(items)[0],)


def _residual(texts: Tensor, parts: Parts) -> Tensor:
    return -residual_to_span(full(texts), parts[0])


def _residual_quick(asked: Parts, parts: Parts) -> Tensor:
    return _less_shadow(asked[0], parts[0], asked[0].new_ones(()))


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


def _volume_quick(asked: Parts, parts: Parts) -> Tensor:
    (texts, squared), (basis, own) = asked, parts
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


def _product_error(width: int) -> float:
    """Worst error of a float32 product of unit vectors, whatever the order of summation, inputs rounded to float32."""
    return (width + 8) * UNIT


def _shadow_error(shadow: Tensor, longest: float, width: int, modalities: int) -> Tensor:
    """Worst error of `_less_shadow` at a shadow |Q^T t|^2: that of a square is 2 |x| that of x, and sum |x| is at most
    the root of K times the sum of squares. It grows with the shadow, and less so: hence it holds at a threshold.
    """
    each = _product_error(width) * longest
    rounding = (modalities + 8) * UNIT * longest**2
    return 2 * each * (modalities * shadow).sqrt() + modalities * each**2 + rounding


def _same(scores: Tensor) -> Tensor:
    return scores


def _one(longest: float, largest: float) -> float:
    return 1.0


def _product(longest: float, largest: float) -> float:
    return longest * largest


def _cosine_slack(scores: Tensor, longest: float, width: int, largest: float, modalities: int) -> Tensor:
    return torch.full_like(scores, SAFE * _product_error(width))


def _residual_slack(scores: Tensor, longest: float, width: int, largest: float, modalities: int) -> Tensor:
    return SAFE * _shadow_error((scores + 1).clamp(0, 1), 1.0, width, modalities)


def _volume_slack(scores: Tensor, longest: float, width: int, largest: float, modalities: int) -> Tensor:
    # Of all items with this score the largest has the largest shadow, and weighs its error most.
    shadow = (longest**2 + scores / largest**2).clamp(0, longest**2)
    return SAFE * largest**2 * _shadow_error(shadow, longest, width, modalities)


#: Cosine of the text with the normalised mean of the item's unit vectors.
cosine_score = Prepared(
    _mean_direction, _cosine, _ask_direction, _cosine_quick, _cosine_pairs, _same, _cosine_slack, _one
)
#: -sqrt(det G(text, item)) by the item's orthogonal directions: one product and one pass a modality. Nearly dependent
#: items keep their small volumes (in float64 down to 1e-7), unlike in `residual`. Screened by its square.
volume_score = Prepared(
    _basis_and_volume, _volume, _ask_length, _volume_quick, _volume_pairs, _volume_scale, _volume_slack, _product
)
#: -(1 - |Q^T t|^2) of unit texts.
residual_score = Prepared(
    _basis, _residual, _ask_direction, _residual_quick, _residual_pairs, _same, _residual_slack, _one
)


def flipped(score: Score) -> Score:
    """The same score with tuples `[K, n, D]` as queries and texts `[n', D]` as items."""
    return lambda tuples, texts: score(texts, tuples).mT


SCORES: dict[str, Score] = {"cosine": cosine_score, "volume": volume_score, "residual": residual_score}
