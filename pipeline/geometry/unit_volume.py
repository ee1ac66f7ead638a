"""Gram volume of triples of unit rows, the form of GRAM's training: with lengths of one the determinant is

    1 - a^2 - b^2 - c^2 + 2 a b c,    a = <q, v>, b = <q, w>, c = <v, w>.

The gradient is written by hand for the sake of memory traffic: autograd makes some forty passes over [N, N'] arrays of
this expression, this makes some fourteen beside the products.
"""

import torch
from torch import Tensor

from pipeline.geometry.explicit import Explicit, Kept, Pair
from pipeline.geometry.volume import EPSILON


def _value(queries: Tensor, items: Tensor) -> Kept:
    if len(items) != 2:
        raise ValueError(f"unit_volume is that of triples: items [2, N', D], got {list(items.shape)}")
    v, w = items
    a, b = torch.bmm(queries.expand(2, -1, -1), items.mT)
    c = torch.linalg.vecdot(v, w)
    value = torch.mul(b, 2 * c).sub_(a)
    torch.addcmul(1 - c.square(), a, value, out=value)
    value.addcmul_(b, b, value=-1)
    # Empty: no triple is dependent. A NaN among them says nothing about the others.
    dependent = c.new_empty(0, dtype=torch.bool) if bool(value.amin() > EPSILON) else value <= EPSILON
    if len(dependent):
        value.masked_fill_(dependent, 0.0)
    return value.sqrt_(), a, b, c, dependent


def _gradient(queries: Tensor, items: Tensor, kept: list[Tensor], weights: Tensor, of: tuple[bool, bool]) -> Pair:
    value, a, b, c, dependent = kept
    kept.clear()
    v, w = items
    by_det = weights.div_(value)  # twice the gradient by the determinant
    if len(dependent):
        by_det.masked_fill_(dependent, 0.0)
    del value
    along_b = b.mul_(by_det)
    by_c = torch.addcmul((along_b * a).sum(0), by_det.sum(0), c, value=-1) if of[1] else c
    along_a = by_det.mul_(a)
    minus_b = torch.addcmul(along_b, along_a, c, value=-1, out=a)  # the gradients by a and b, negated
    minus_a = along_a.addcmul_(along_b, c, value=-1)
    by_queries = by_items = None
    if of[1]:
        by_items = torch.empty_like(items)
        for part, other, minus in zip(by_items, (w, v), (minus_a, minus_b), strict=True):
            torch.mul(other, by_c[:, None], out=part).addmm_(minus.mT, queries, alpha=-1)
    if of[0]:
        by_queries = torch.addmm(queries, minus_a, v, beta=0, alpha=-1).addmm_(minus_b, w, alpha=-1)
    return by_queries, by_items


#: `pairwise_volume` of rows whose length is one: `queries [N, D]`, `items [2, N', D] -> [N, N']`. Lengths are not
#: looked at (a zero row, which would come out as far from everything, is not allowed), and the gradient is that of the
#: expression above, in which they do not occur: across the rows that of `pairwise_volume`, along them another. What
#: normalises its rows before does not see the difference.
unit_volume = Explicit(_value, _gradient)
