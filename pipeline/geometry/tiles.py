"""Tiles of a contrast: blocks of the scores of all pairs, their sums by row and column, their gradients.

Logits that lie close enough together share one e^x between the sums of rows and of columns, and their gradient. A score
that brings its own gradient (`Explicit`) is used without a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.geometry.explicit import Explicit, Kept, Pair, spare
from pipeline.geometry.precision import exponential_, log_sum_exp

SHARED = 80.0  # logits of a tile in this range share one exponential: e^-80 and e^80 are normal numbers in float32
# queries [n, D], items [K, n', D] -> [n, n']; larger = closer, or, at a negative temperature, smaller
Score = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Tile:
    """Block `i` of the queries with block `j` of the items: the logits, the scores and what they derive from.

    With a `shift`, `logits` are e^(logit - shift). `kept`: what an explicit score keeps for its gradient, else empty.
    """

    i: slice
    j: slice
    score: Score
    inputs: tuple[Tensor, Tensor]
    scores: Tensor
    kept: Kept
    temperature: Tensor
    left_out: Tensor | None
    shift: Tensor | None = None
    made: Tensor | None = None

    def logits(self) -> Tensor:
        """The logits, -inf where a pair is left out; or e^(logit - shift)."""
        if self.made is None:
            self.made = self.scores.detach() / self.temperature
            if self.left_out is not None:
                self.made.masked_fill_(self.left_out, -torch.inf)
            if self.shift is not None:
                self.made.sub_(self.shift).exp_()
        return self.made

    def log_sums(self) -> tuple[Tensor, Tensor]:
        """log sum e^logit of each row and of each column."""
        logits = self.logits()
        low, high = torch.aminmax(logits)
        if not bool(high - low <= SHARED):  # NaN and logits left out (-inf) too
            return log_sum_exp(logits, 1), log_sum_exp(logits, 0)
        self.shift = high
        logits.sub_(high).exp_()  # no underflow: no need for `exponential_`
        return logits.sum(1).log_().add_(high), logits.sum(0).log_().add_(high)

    def weights(self, sides: list[Side], push: Tensor, pull: Tensor) -> Tensor:
        """push * gradient of the sides' sums by the logits, with pull for each pair's own logit.

        They take the place of the logits, which are made afresh if they are wanted again.
        """
        logs = [side.logs[self._of(side)].unsqueeze(side.dim) for side in sides]
        logits, self.made = self.logits(), None
        if self.shift is None:
            others = [exponential_(logits - log) for log in logs[1:]]
            soft = exponential_(logits.sub_(logs[0]))
            for other in others:
                soft += other
            soft *= push
        else:
            shares = [(self.shift - log).exp_() * push for log in logs]
            soft = logits.mul_(sum(shares[1:], shares[0]))
        if sides[0].smoothing:
            shares = [push * side.smoothing / side.counts(self._of(side)) for side in sides]
            soft -= sum(shares[1:], shares[0])
        if self.left_out is not None:
            soft.masked_fill_(self.left_out, 0.0)
        if self.i == self.j:
            soft.diagonal().add_(pull * len(sides))
        return soft

    def gradients(self, weights: Tensor, of: tuple[bool, bool], summed: bool) -> tuple[Tensor, Pair]:
        """sum(weights * scores), or 0 if it is not `summed`, and its gradients by queries and items where `of` asks for
        them. The weights are used up, and with them the tile of an explicit score.
        """
        total = torch.dot(self.scores.detach().flatten(), weights.flatten()) if summed else weights.new_zeros(())
        if isinstance(self.score, Explicit):
            # No reference may stay here: `gradient` frees what it no longer needs, the scores first.
            kept, self.kept, self.scores = list(self.kept), (), total
            return total, self.score.gradient(*self.inputs, kept, weights, of)
        wanted = [one for one, asked in zip(self.inputs, of, strict=True) if asked]
        with torch.enable_grad():
            found = iter(torch.autograd.grad(_Weighted.apply(self.scores, weights), wanted, retain_graph=True))
        return total, (next(found) if of[0] else None, next(found) if of[1] else None)

    def twin(self) -> Tile:
        """The same tile, which may be used up before this one; it takes the logits."""
        twin = replace(self, kept=spare(self.kept))
        self.made = None
        return twin

    def _of(self, side: Side) -> slice:
        return self.i if side.dim == 1 else self.j


class _Weighted(torch.autograd.Function):
    """Zero with the gradient of sum(weights * scores): autograd's own weighting imports sympy (1.4 s)."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, weights: Tensor) -> Tensor:
        ctx.weights = weights
        return scores.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None]:
        return ctx.weights, None


@dataclass
class Tiles:
    """The tiles of queries [B, D] and items [K, B, D] in turn; `alone`: the only one, kept for the gradient."""

    score: Score
    temperature: Tensor
    left_out: Tensor | None
    parts: list[slice]
    alone: Tile | None = None
    shift: Tensor | None = None

    def __call__(self, queries: Tensor, items: Tensor, derive: bool) -> Iterator[Tile]:
        """The tile that is kept, if there is one, or all of them, evaluated.

        That of an explicit score, which is used up, is given once and then evaluated afresh, with the same shift.
        """
        if (tile := self.alone) is not None:
            if tile.kept:
                self.alone = None
            yield tile
            return
        for i in self.parts:
            for j in self.parts:
                yield self._tile(i, j, (queries[i], items[:, j]), derive)

    def _tile(self, i: slice, j: slice, inputs: tuple[Tensor, Tensor], derive: bool) -> Tile:
        kept: Kept = ()
        if isinstance(self.score, Explicit):
            kept = self.score.value(*inputs)
            scores = kept[0]
        else:
            inputs = inputs[0].detach().requires_grad_(derive), inputs[1].detach().requires_grad_(derive)
            with torch.set_grad_enabled(derive):
                scores = self.score(*inputs)
        left_out = None if self.left_out is None else self.left_out[i, j]
        return Tile(i, j, self.score, inputs, scores, kept, self.temperature, left_out, self.shift)


class Side:
    """Log-sum-exp and sum of the logits of each row (dim 1) or column (dim 0), over the tiles so far."""

    def __init__(self, like: Tensor, left_out: Tensor | None, smoothing: float, dim: int) -> None:
        self.dim, self.smoothing = dim, smoothing
        self.logs = torch.full_like(like[:, 0], -torch.inf)
        self.plain = torch.zeros_like(self.logs)
        self.size = len(like)
        self.missing = None if left_out is None else left_out.sum(dim)

    def add_mean(self, where: slice, tile: Tile) -> None:
        """Take in a tile's logits; nothing without smoothing."""
        if self.smoothing:
            known = tile.logits() if tile.left_out is None else tile.logits().masked_fill(tile.left_out, 0.0)
            self.plain[where] += known.sum(self.dim)

    def add(self, where: slice, logs: Tensor) -> None:
        """Take in a tile's log-sum-exp."""
        self.logs[where] = torch.logaddexp(self.logs[where], logs)

    def mean(self) -> Tensor:
        """Mean of (log sum e^logit - smoothing * mean logit)."""
        return (self.logs - self.smoothing * self.plain / self.counts(slice(None)).squeeze()).mean()

    def counts(self, where: slice) -> Tensor:
        """Candidates of each row or column, as it broadcasts over a tile."""
        if self.missing is None:
            return self.logs.new_tensor(float(self.size))
        return (self.size - self.missing[where]).unsqueeze(self.dim)
