"""The normaliser of a symmetric contrast (InfoNCE and its relatives) for any score, in tiles.

InfoNCE of row i is -(score_ii / T) + log sum_k exp(score_ik / T): attraction of the pair plus repulsion from the batch.
`attraction` is the first half, `repulsion` the second, each the mean of both directions (queries to items, items to
queries), so that `attraction + repulsion` is the loss `(CE(L) + CE(L^T)) / 2` with label smoothing s: the smoothed
target takes 1 - s of the pair's logit and s of the mean logit of all candidates.

`detach_candidates` gives the gradient of the GRAM, VAST and TRIANGLE releases, whose gather is without gradient: the
query-to-item direction then trains the queries alone, the item-to-query direction the items alone. Values are equal.

Scores are evaluated a tile at a time: once for the normalisers and, where more than one tile is needed, once more for
the gradient, which is taken in the forward pass. Memory is a few tiles; derivatives are available once.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.geometry.precision import blocks, full

BLOCK = 2048
Score = Callable[[Tensor, Tensor], Tensor]  # queries [n, D], items [K, n', D] -> [n, n'], larger = closer


def dot(queries: Tensor, items: Tensor) -> Tensor:
    """Inner products of queries with the items' only vector: `[n, D], [1, n', D] -> [n, n']`."""
    return queries @ items[0].mT


def attraction(
    pairs: Callable[[Tensor, Tensor], Tensor],
    queries: Tensor,
    items: Tensor,
    temperature: Tensor,
    smoothing: float = 0.0,
    detach_candidates: bool = False,
) -> Tensor:
    """-(1 - smoothing) * mean_i pair_i / T, where `pairs(queries [B, D], items [K, B, D]) -> [B]`."""
    if detach_candidates:
        scores = (pairs(queries, items.detach()) + pairs(queries.detach(), items)) / 2
    else:
        scores = pairs(queries, items)
    return -(1.0 - smoothing) * (scores / temperature).mean()


def repulsion(
    score: Score,
    queries: Tensor,
    items: Tensor,
    temperature: Tensor,
    smoothing: float = 0.0,
    same: Tensor | None = None,
    detach_candidates: bool = False,
    block: int = BLOCK,
) -> Tensor:
    """Mean of (log sum_k exp(score_ik / T) - smoothing * mean_k score_ik / T) over rows and over columns.

    `queries [B, D]`, `items [K, B, D]`, `same [B, B]` bool: pairs i != j that are no negatives, left out of both sums.
    """
    if queries.dim() != 2 or items.dim() != 3 or len(queries) != items.shape[1] or len(queries) == 0:
        raise ValueError(f"need queries [B, D] and items [K, B, D], got {list(queries.shape)}, {list(items.shape)}")
    queries, items = full(queries), full(items)
    temperature = torch.as_tensor(temperature, dtype=queries.dtype, device=queries.device)
    derive = torch.is_grad_enabled() and any(t.requires_grad for t in (queries, items, temperature))
    left_out = None
    if same is not None:
        left_out = same & ~torch.eye(len(queries), dtype=torch.bool, device=same.device)
    value: Tensor = _Repulsion.apply(
        queries, items, temperature, score, smoothing, left_out, detach_candidates, block, derive
    )
    return value


class _Repulsion(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        items: Tensor,
        temperature: Tensor,
        score: Score,
        smoothing: float,
        left_out: Tensor | None,
        detach_candidates: bool,
        block: int,
        derive: bool,
    ) -> Tensor:
        batch = len(queries)
        tiles = [(i, j) for i in blocks(batch, block) for j in blocks(batch, block)]
        tile = _Tile(score, queries, items, temperature, left_out, derive and len(tiles) == 1)
        rows, columns = (_Sums(queries, left_out, smoothing, dim) for dim in (1, 0))
        for i, j in tiles:
            logits = tile(i, j)[0]
            rows.add(i, logits)
            columns.add(j, logits)
        if derive:
            tile.derive = True
            ctx.gradients = _gradients(tile, tiles, rows, columns, detach_candidates)
        return (rows.mean() + columns.mean()) / 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*(grad * g for g in ctx.gradients), None, None, None, None, None, None)


class _Tile:
    """Logits of a block of queries with a block of items; the leaves and scores are kept for the gradient."""

    def __init__(
        self, score: Score, queries: Tensor, items: Tensor, temperature: Tensor, left_out: Tensor | None, derive: bool
    ) -> None:
        self.score, self.queries, self.items = score, queries, items
        self.temperature, self.left_out, self.derive = temperature, left_out, derive
        self.key: tuple[slice, slice] | None = None
        self.value: tuple[Tensor, Tensor, list[Tensor]]

    def __call__(self, i: slice, j: slice) -> tuple[Tensor, Tensor, list[Tensor]]:
        if self.key == (i, j) and (not self.derive or self.value[1].requires_grad):
            return self.value
        leaves = [self.queries[i].detach(), self.items[:, j].detach()]
        with torch.set_grad_enabled(self.derive):
            scores = self.score(*(leaf.requires_grad_(self.derive) for leaf in leaves))
        logits = scores.detach() / self.temperature.detach()
        if self.left_out is not None:
            logits.masked_fill_(self.left_out[i, j], -torch.inf)
        self.key, self.value = (i, j), (logits, scores, leaves)
        return self.value


class _Sums:
    """Running log-sum-exp and sum of the logits of each row (dim 1) or column (dim 0)."""

    def __init__(self, like: Tensor, left_out: Tensor | None, smoothing: float, dim: int) -> None:
        self.dim, self.smoothing, self.masked = dim, smoothing, left_out is not None
        self.logs = torch.full_like(like[:, 0], -torch.inf)
        self.plain = torch.zeros_like(self.logs)
        count = torch.full_like(self.logs, float(len(like)))
        self.count = count if left_out is None else count - left_out.sum(dim)

    def add(self, where: slice, logits: Tensor) -> None:
        self.logs[where] = torch.logaddexp(self.logs[where], logits.logsumexp(self.dim))
        if self.smoothing:
            self.plain[where] += _finite(logits, self.masked).sum(self.dim)

    def mean(self) -> Tensor:
        return (self.logs - self.smoothing * self.plain / self.count).mean()

    def weights(self, where: slice, logits: Tensor) -> Tensor:
        """d mean / d logits of a tile (before division by the number of rows)."""
        soft = (logits - self.logs[where].unsqueeze(self.dim)).exp_()
        if self.smoothing:
            soft -= self.smoothing / self.count[where].unsqueeze(self.dim)
        return soft.masked_fill_(logits == -torch.inf, 0.0) if self.masked else soft


def _finite(logits: Tensor, masked: bool) -> Tensor:
    return logits.masked_fill(logits == -torch.inf, 0.0) if masked else logits


def _gradients(
    tile: _Tile,
    tiles: list[tuple[slice, slice]],
    rows: _Sums,
    columns: _Sums,
    detach_candidates: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    by_queries, by_items = torch.zeros_like(tile.queries), torch.zeros_like(tile.items)
    by_temperature = torch.zeros_like(tile.temperature)
    scale = 1 / (2 * len(tile.queries) * tile.temperature.detach())
    for i, j in tiles:
        logits, scores, leaves = tile(i, j)
        along_rows = rows.weights(i, logits)
        along_columns = columns.weights(j, logits)
        if detach_candidates:
            (q,) = torch.autograd.grad(_dot(scores, along_rows), leaves[:1], retain_graph=True)
            (k,) = torch.autograd.grad(_dot(scores, along_columns), leaves[1:])
            along_rows += along_columns
        else:
            along_rows += along_columns
            q, k = torch.autograd.grad(_dot(scores, along_rows), leaves)
        by_queries[i] += q
        by_items[:, j] += k
        if tile.temperature.requires_grad:
            by_temperature -= (along_rows * _finite(logits, rows.masked)).sum()
    return by_queries.mul_(scale), by_items.mul_(scale), by_temperature.mul_(scale)


@torch.enable_grad()
def _dot(scores: Tensor, weights: Tensor) -> Tensor:
    """Their product's sum, []: autograd's own weighting of outputs would import sympy (1.4 s a process)."""
    return torch.dot(scores.flatten(), weights.flatten())
