"""Scores whose gradient is written out: inside `contrast` they need no graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.geometry.precision import exactly, full
from pipeline.geometry.volume import check_pairs

Kept = Sequence[Tensor]
Pair = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Explicit:
    """`score(queries [N, D], items [K, N', D]) -> [N, N']`, once differentiable.

    `value` gives the scores and then what the gradient needs beside them. `gradient(queries, items, kept, weights, of)`
    gives the gradients of sum(weights * scores) by queries and by items, where `of` asks for them; `kept` is all that
    `value` gave. It uses them up: the weights and all that is kept but the scores may be overwritten, the list emptied.
    """

    value: Callable[[Tensor, Tensor], Kept]
    gradient: Callable[[Tensor, Tensor, list[Tensor], Tensor, tuple[bool, bool]], Pair]

    def __call__(self, queries: Tensor, items: Tensor) -> Tensor:
        """Scores `[N, N']`; ValueError if the shapes do not fit."""
        check_pairs(queries, items)
        scores: Tensor = _Scored.apply(full(queries), full(items), self)
        return scores


def spare(kept: Kept) -> list[Tensor]:
    """What was kept, of which a gradient may use up the copies; the scores, first of it, are only read."""
    return [*kept[:1], *(one.clone() for one in kept[1:])]


class _Scored(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, items: Tensor, score: Explicit) -> Tensor:
        kept = score.value(queries, items)
        ctx.save_for_backward(queries, items, *kept)
        ctx.score = score
        return kept[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        queries, items, *kept = ctx.saved_tensors
        with exactly(queries):
            of = ctx.needs_input_grad[:2]
            return *ctx.score.gradient(queries, items, spare(kept), grad.clone(), of), None


def _products(queries: Tensor, items: Tensor) -> Kept:
    if len(items) != 1:
        raise ValueError(f"dot is with one vector an item: items [1, N', D], got {list(items.shape)}")
    return (queries @ items[0].mT,)


def _by_products(queries: Tensor, items: Tensor, _: list[Tensor], weights: Tensor, of: tuple[bool, bool]) -> Pair:
    return weights @ items[0] if of[0] else None, (weights.mT @ queries)[None] if of[1] else None


#: Inner products of queries with the items' only vector: `[n, D], [1, n', D] -> [n, n']`.
dot = Explicit(_products, _by_products)
