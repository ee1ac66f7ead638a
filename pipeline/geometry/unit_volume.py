"""Gram volume of unit rows, the form of GRAM's training: with lengths of one the determinant of a triple is

    1 - a^2 - b^2 - c^2 + 2 a b c,    a = <q, v>, b = <q, w>, c = <v, w>.

The gradient is written by hand for the sake of memory traffic: autograd makes some forty passes over [N, N'] arrays of
this expression, this makes fourteen.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.geometry.precision import full
from pipeline.geometry.volume import EPSILON, check_pairs, pairwise_volume


def pairwise_unit_volume(queries: Tensor, items: Tensor) -> Tensor:
    """`pairwise_volume` of rows whose length is one: `queries [N, D]`, `items [K, N', D] -> [N, N']`, K >= 1.

    Lengths are not looked at. With K = 2 the gradient is that of the expression above, in which they do not occur:
    across the rows that of `pairwise_volume`, along them another. What normalises its rows before does not see the
    difference. Once differentiable.
    """
    check_pairs(queries, items)
    if len(items) != 2:
        return pairwise_volume(queries, items)
    value: Tensor = _UnitTriple.apply(full(queries), full(items))
    return value


class _UnitTriple(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, items: Tensor) -> Tensor:
        a, b = torch.bmm(queries.expand(2, -1, -1), items.mT)
        c = torch.linalg.vecdot(*items)
        value = torch.mul(b, 2 * c).sub_(a)
        torch.addcmul(1 - c.square(), a, value, out=value)
        value.addcmul_(b, b, value=-1)
        ctx.dependent = value <= EPSILON if bool(value.amin() <= EPSILON) else None
        if ctx.dependent is not None:
            value.masked_fill_(ctx.dependent, 0.0)
        value.sqrt_()
        ctx.save_for_backward(queries, items, a, b, c, value)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        queries, items, a, b, c, value = ctx.saved_tensors
        v, w = items
        by_det = grad / value  # twice the gradient by the determinant
        if ctx.dependent is not None:
            by_det.masked_fill_(ctx.dependent, 0.0)
        minus = value.new_empty(2, *value.shape)  # the gradients by a and b, negated
        by_c = -c * by_det.sum(0)
        along_b = torch.mul(by_det, b, out=minus[1])
        along_a = by_det.mul_(a)
        torch.addcmul(along_a, along_b, c, value=-1, out=minus[0])
        by_c += (along_a * b).sum(0)
        along_b.addcmul_(along_a, c, value=-1)
        del by_det, along_a, along_b
        by_queries = by_items = None
        if ctx.needs_input_grad[1]:
            by_items = torch.empty_like(items)
            for other, part in zip((w, v), by_items, strict=True):
                torch.mul(other, by_c[:, None], out=part)
            by_items.baddbmm_(minus.mT, queries.expand(2, -1, -1), alpha=-1)
        if ctx.needs_input_grad[0]:
            by_queries = torch.addmm(queries, minus[0], v, beta=0, alpha=-1).addmm_(minus[1], w, alpha=-1)
        return by_queries, by_items
