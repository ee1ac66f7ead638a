"""A symmetric contrast (InfoNCE and its relatives) of any score.

InfoNCE of row i is -(score_ii / T) + log sum_k exp(score_ik / T): attraction of the pair plus repulsion from the batch.
`contrast` returns both, each the mean of both directions (queries to items, items to queries), so that their sum is
the loss `(CE(L) + CE(L^T)) / 2` with label smoothing s: the smoothed target takes 1 - s of the pair's logit and s of
the mean logit of all candidates.

`detach_candidates` gives the gradient of the GRAM, VAST and TRIANGLE releases, whose gather is without gradient: the
query-to-item direction then trains the queries alone, the item-to-query direction the items alone. Values are equal.

Scores are evaluated a tile at a time, and where there are several tiles once more for the gradient: memory is a few
tiles (tiles.py). The gradients of attraction and repulsion go through the scores together, as one array of weights.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.geometry.precision import blocks, exactly, full
from pipeline.geometry.tiles import Score, Side, Tiles
from pipeline.geometry.volume import check_pairs

WHOLE, BLOCK = 4096, 2048  # batches up to the first are one tile, evaluated once; tiles of the second beyond


def contrast(
    score: Score,
    queries: Tensor,
    items: Tensor,
    temperature: Tensor,
    smoothing: float = 0.0,
    same: Tensor | None = None,
    detach_candidates: bool = False,
    block: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Attraction -(1 - smoothing) * mean_i score_ii / T, and repulsion: mean over rows and over columns of
    (log sum_k exp(score_ik / T) - smoothing * mean_k score_ik / T).

    `queries [B, D]`, `items [K, B, D]`, `same [B, B]` bool: pairs i != j that are no negatives, left out of both sums.
    """
    check_pairs(queries, items)
    if len(queries) != items.shape[1] or len(queries) == 0:
        raise ValueError(f"need queries [B, D] and items [K, B, D], got {list(queries.shape)}, {list(items.shape)}")
    queries, items = full(queries), full(items)
    temperature = torch.as_tensor(temperature, dtype=queries.dtype, device=queries.device)
    derive = torch.is_grad_enabled() and any(t.requires_grad for t in (queries, items, temperature))
    left_out = None
    if same is not None:
        left_out = same & ~torch.eye(len(queries), dtype=torch.bool, device=same.device)
    if block is None:
        block = WHOLE if len(queries) <= WHOLE else BLOCK
    parts = blocks(len(queries), block)
    tiles = Tiles(score, temperature.detach(), left_out, parts)
    attraction, repulsion = _Contrast.apply(queries, items, temperature, tiles, smoothing, detach_candidates, derive)
    return attraction, repulsion


class _Contrast(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        items: Tensor,
        temperature: Tensor,
        tiles: Tiles,
        smoothing: float,
        detach_candidates: bool,
        derive: bool,
    ) -> tuple[Tensor, Tensor]:
        rows, columns = (Side(queries, tiles.left_out, smoothing, dim) for dim in (1, 0))
        own = torch.empty_like(rows.logs)
        for tile in tiles(queries, items, derive and len(tiles.parts) == 1):
            if tile.i == tile.j:
                own[tile.i] = tile.logits().diagonal()
            rows.add_mean(tile.i, tile)
            if tiles.left_out is not None:
                columns.add_mean(tile.j, tile)
            by_row, by_column = tile.log_sums()
            rows.add(tile.i, by_row)
            columns.add(tile.j, by_column)
        if tiles.left_out is None:
            columns.plain = rows.plain  # only their mean counts: that of all logits
        if derive:
            if len(tiles.parts) == 1:
                tiles.alone, tiles.shift = tile, tile.shift
            ctx.state = tiles, (rows, columns), smoothing, detach_candidates
            ctx.save_for_backward(queries, items)
        return (smoothing - 1) * own.mean(), (rows.mean() + columns.mean()) / 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_attraction: Tensor, by_repulsion: Tensor) -> tuple[Tensor | None, ...]:
        with exactly(by_attraction):
            return _Contrast.gradients(ctx, by_attraction, by_repulsion)

    @staticmethod
    def gradients(ctx: Any, by_attraction: Tensor, by_repulsion: Tensor) -> tuple[Tensor | None, ...]:
        """By queries, items and temperature, nothing for the rest."""
        tiles, (rows, columns), smoothing, detach_candidates = ctx.state
        queries, items = ctx.saved_tensors
        each = 1 / (2 * len(queries) * tiles.temperature)
        push, pull = by_repulsion * each, (smoothing - 1) * by_attraction * each
        by_temperature, learnt = torch.zeros_like(each), ctx.needs_input_grad[2]
        if len(tiles.parts) > 1:
            by_queries, by_items = torch.zeros_like(queries), torch.zeros_like(items)
        for tile in tiles(queries, items, True):
            if detach_candidates:
                first = tile.twin()
                along, (q, _) = first.gradients(first.weights([rows], push, pull), (True, False), learnt)
                across, (_, k) = tile.gradients(tile.weights([columns], push, pull), (False, True), learnt)
                by_temperature -= (along + across) / tiles.temperature
            else:
                total, (q, k) = tile.gradients(tile.weights([rows, columns], push, pull), (True, True), learnt)
                by_temperature -= total / tiles.temperature
            if len(tiles.parts) == 1:
                return q, k, by_temperature, None, None, None, None
            by_queries[tile.i] += q
            by_items[:, tile.j] += k
        return by_queries, by_items, by_temperature, None, None, None, None
