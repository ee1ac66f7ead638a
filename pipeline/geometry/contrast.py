"""A symmetric contrast (InfoNCE and its relatives) of any score, in tiles.

InfoNCE of row i is -(score_ii / T) + log sum_k exp(score_ik / T): attraction of the pair plus repulsion from the batch.
`contrast` returns both, each the mean of both directions (queries to items, items to queries), so that their sum is
the loss `(CE(L) + CE(L^T)) / 2` with label smoothing s: the smoothed target takes 1 - s of the pair's logit and s of
the mean logit of all candidates.

`detach_candidates` gives the gradient of the GRAM, VAST and TRIANGLE releases, whose gather is without gradient: the
query-to-item direction then trains the queries alone, the item-to-query direction the items alone. Values are equal.

Scores are evaluated a tile at a time, and where there are several tiles once more for the gradient: memory is a few
tiles. The gradients of attraction and repulsion go through the scores together, as one array of weights.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.geometry.precision import blocks, exponential_, full, log_sum_exp

BLOCK = 2048
# queries [n, D], items [K, n', D] -> [n, n']; larger = closer, or, at a negative temperature, smaller
Score = Callable[[Tensor, Tensor], Tensor]


def dot(queries: Tensor, items: Tensor) -> Tensor:
    """Inner products of queries with the items' only vector: `[n, D], [1, n', D] -> [n, n']`."""
    return queries @ items[0].mT


def contrast(
    score: Score,
    queries: Tensor,
    items: Tensor,
    temperature: Tensor,
    smoothing: float = 0.0,
    same: Tensor | None = None,
    detach_candidates: bool = False,
    block: int = BLOCK,
) -> tuple[Tensor, Tensor]:
    """Attraction -(1 - smoothing) * mean_i score_ii / T, and repulsion: mean over rows and over columns of
    (log sum_k exp(score_ik / T) - smoothing * mean_k score_ik / T).

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
    tiles = _Tiles(score, queries.detach(), items.detach(), temperature.detach(), left_out, blocks(len(queries), block))
    attraction, repulsion = _Contrast.apply(queries, items, temperature, tiles, smoothing, detach_candidates, derive)
    return attraction, repulsion


class _Contrast(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        items: Tensor,
        temperature: Tensor,
        tiles: "_Tiles",
        smoothing: float,
        detach_candidates: bool,
        derive: bool,
    ) -> tuple[Tensor, Tensor]:
        rows, columns = (_Sums(queries, tiles.left_out, smoothing, dim) for dim in (1, 0))
        own = torch.empty_like(rows.logs)
        for tile in tiles(derive and len(tiles.parts) == 1):
            rows.add(tile.i, tile.logits)
            columns.add(tile.j, tile.logits)
            if tile.i == tile.j:
                own[tile.i] = tile.logits.diagonal()
        if derive:
            ctx.state = tiles, (rows, columns), smoothing, detach_candidates
        return (smoothing - 1) * own.mean(), (rows.mean() + columns.mean()) / 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_attraction: Tensor, by_repulsion: Tensor) -> tuple[Tensor | None, ...]:
        tiles, sums, smoothing, detach_candidates = ctx.state
        inverse = 1 / tiles.temperature
        push, pull = (by / (2 * len(tiles.queries)) for by in (by_repulsion, (smoothing - 1) * by_attraction))
        by_temperature = torch.zeros_like(inverse)
        if len(tiles.parts) > 1:
            by_queries, by_items = torch.zeros_like(tiles.queries), torch.zeros_like(tiles.items)
        for tile in tiles(True):
            rows, columns = (side.weights(part, tile, push, pull) for side, part in zip(sums, tile[:2], strict=True))
            if detach_candidates:
                (q,) = tile.gradients(rows, inverse, slice(0, 1))
                (k,) = tile.gradients(columns, inverse, slice(1, 2))
                rows += columns
            else:
                rows += columns
                q, k = tile.gradients(rows, inverse, slice(0, 2))
            if ctx.needs_input_grad[2]:
                by_temperature -= inverse * torch.dot(rows.flatten(), _finite(tile.logits, tiles.left_out).flatten())
            if len(tiles.parts) == 1:
                return q, k, by_temperature, None, None, None, None
            by_queries[tile.i] += q
            by_items[:, tile.j] += k
        return by_queries, by_items, by_temperature, None, None, None, None


class _Tile(NamedTuple):
    """Logits of block `i` of the queries with block `j` of the items, the scores and the leaves they derive from."""

    i: slice
    j: slice
    logits: Tensor
    scores: Tensor
    leaves: tuple[Tensor, Tensor]

    @torch.enable_grad()
    def gradients(self, weights: Tensor, scale: Tensor, of: slice) -> tuple[Tensor, ...]:
        """Gradients of scale * sum(weights * scores): autograd's own weighting would import sympy (1.4 s a process)."""
        total = torch.dot(self.scores.flatten(), weights.flatten()) * scale
        return torch.autograd.grad(total, self.leaves[of], retain_graph=True)


class _Tiles:
    """The tiles one after the other; a tile that is alone is kept for the gradient."""

    def __init__(
        self,
        score: Score,
        queries: Tensor,
        items: Tensor,
        temperature: Tensor,
        left_out: Tensor | None,
        parts: list[slice],
    ) -> None:
        self.score, self.queries, self.items, self.temperature = score, queries, items, temperature
        self.left_out, self.parts = left_out, parts
        self.kept: _Tile | None = None

    def __call__(self, derive: bool) -> Iterator[_Tile]:
        if self.kept is not None:
            yield self.kept
            return
        for i in self.parts:
            for j in self.parts:
                tile = self._tile(i, j, derive)
                self.kept = tile if derive and len(self.parts) == 1 else None
                yield tile

    def _tile(self, i: slice, j: slice, derive: bool) -> _Tile:
        leaves = self.queries[i].detach().requires_grad_(derive), self.items[:, j].detach().requires_grad_(derive)
        with torch.set_grad_enabled(derive):
            scores = self.score(*leaves)
        logits = scores.detach() / self.temperature
        if self.left_out is not None:
            logits.masked_fill_(self.left_out[i, j], -torch.inf)
        return _Tile(i, j, logits, scores, leaves)


class _Sums:
    """Running log-sum-exp and sum of the logits of each row (dim 1) or column (dim 0)."""

    def __init__(self, like: Tensor, left_out: Tensor | None, smoothing: float, dim: int) -> None:
        self.dim, self.smoothing, self.left_out = dim, smoothing, left_out
        self.logs = torch.full_like(like[:, 0], -torch.inf)
        self.plain = torch.zeros_like(self.logs)
        count = torch.full_like(self.logs, float(len(like)))
        self.count = count if left_out is None else count - left_out.sum(dim)

    def add(self, where: slice, logits: Tensor) -> None:
        self.logs[where] = torch.logaddexp(self.logs[where], log_sum_exp(logits, self.dim))
        if self.smoothing:
            self.plain[where] += _finite(logits, self.left_out).sum(self.dim)

    def mean(self) -> Tensor:
        return (self.logs - self.smoothing * self.plain / self.count).mean()

    def weights(self, where: slice, tile: _Tile, push: Tensor, pull: Tensor) -> Tensor:
        """d (push * sum of repulsions + pull * sum of own logits) / d logits of a tile."""
        soft = exponential_(tile.logits - self.logs[where].unsqueeze(self.dim))
        if self.smoothing:
            soft -= self.smoothing / self.count[where].unsqueeze(self.dim)
        if self.left_out is not None:
            soft.masked_fill_(tile.logits == -torch.inf, 0.0)
        soft *= push
        if tile.i == tile.j:
            soft.diagonal().add_(pull)
        return soft


def _finite(logits: Tensor, left_out: Tensor | None) -> Tensor:
    return logits if left_out is None else logits.masked_fill(logits == -torch.inf, 0.0)
