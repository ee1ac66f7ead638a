"""Intra-modality uniformity, UniAlign Eq. 9: U(Z) = mean_i log mean_{j != i} kernel(z_i, z_j).

Wang and Isola's uniformity takes the log of the mean over all pairs with exp(-2 d^2); here the log is inside and the
exponent is -d^2 / (2 width^2). The gradient has reciprocal terms (row i is also a neighbour of its neighbours) that
the paper's sample-wise gradient leaves out; with P the row-softmax it is (P + P^T) Z - diag(row sums) Z over width^2.

The gradient is written by hand as that one product and taken in the forward pass, in tiles above the diagonal only
(the kernel is symmetric): two products of [B, B, D] in all where autograd needs three, and no [B, B] array remains.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.geometry.kernels import Space, geodesic_slope
from pipeline.geometry.precision import blocks, full

BLOCK = 1024  # a tile of 4 MB in float32 stays in a processor's cache


def uniformity(
    z: Tensor,
    width: Tensor | float,
    space: Space = "euclidean",
    same: Tensor | None = None,
    block: int = BLOCK,
) -> Tensor:
    """U(Z) of one batch: `z [B, D] -> []`, kernel exp(-distance^2 / (2 width^2)).

    `same [B, B]` bool, symmetric: pairs that carry the same caption, left out beside j = i; a row without any other
    pair left does not count. ValueError if no row counts (a batch of one). Once differentiable in `z` and `width`.
    """
    if z.dim() != 2:
        raise ValueError(f"uniformity needs one batch [B, D], got {list(z.shape)}")
    if space not in ("euclidean", "geodesic"):
        raise ValueError(f"space must be euclidean or geodesic, got {space!r}")
    z = full(z)
    width = torch.as_tensor(width, dtype=z.dtype, device=z.device)
    derive = torch.is_grad_enabled() and (z.requires_grad or width.requires_grad)
    value: Tensor = _Uniformity.apply(z, width, space, same, block, derive)
    return value


class _Uniformity(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, z: Tensor, width: Tensor, space: Space, same: Tensor | None, block: int, derive: bool
    ) -> Tensor:
        batch = len(z)
        left = torch.full((batch,), batch - 1, device=z.device)
        if same is not None:
            left = batch - (same | torch.eye(batch, dtype=torch.bool, device=z.device)).sum(1)
        counted = left > 0
        total = int(counted.sum())
        if total == 0:
            raise ValueError(f"uniformity needs two rows that differ, got a batch of {batch}")
        tiles = [(i, j) for i in blocks(batch, block) for j in blocks(batch, block) if i.start <= j.start]
        kept = _tile(z, width, space, same, *tiles[0]) if len(tiles) == 1 else None

        top = torch.full_like(z[:, 0], -torch.inf)
        sums = torch.zeros_like(top)
        for i, j in tiles:
            logs = kept[0] if kept else _tile(z, width, space, same, i, j)[0]
            _accumulate(top, sums, i, logs, 1)
            if i != j:
                _accumulate(top, sums, j, logs, 0)
        log_sums = torch.where(counted, top + sums.log(), torch.inf)
        rows = torch.where(counted, log_sums - left.clamp_min(1).to(z).log(), 0.0)
        if derive:
            ctx.gradients = _gradients(z, width, space, same, tiles, kept, log_sums, total)
        return rows.sum() / total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        by_z, by_width = ctx.gradients
        return grad * by_z, grad * by_width, None, None, None, None


def _tile(
    z: Tensor, width: Tensor, space: Space, same: Tensor | None, i: slice, j: slice
) -> tuple[Tensor, Tensor | None]:
    """Log kernel of rows i with rows j (own and same-caption pairs -inf), and theta/sin(theta) where it is needed."""
    inverse = width.item() ** -2
    slope = None
    if space == "euclidean":
        half = z.square().sum(-1) * (-0.5 * inverse)
        logs = torch.addmm(half[j], z[i], z[j].mT, alpha=inverse).add_(half[i, None])
    else:
        cosine = z[i] @ z[j].mT
        slope = geodesic_slope(cosine)
        logs = cosine.clamp_(-1.0, 1.0).arccos_().square_().mul_(-0.5 * inverse)
    if i == j:
        logs.fill_diagonal_(-torch.inf)
    if same is not None:
        logs.masked_fill_(same[i, j], -torch.inf)
    return logs, slope


def _accumulate(top: Tensor, sums: Tensor, rows: slice, logs: Tensor, dim: int) -> None:
    """Add a tile to the running (maximum, sum of exp) of `rows`."""
    new = torch.maximum(top[rows], logs.amax(dim))
    safe = new.clamp_min(torch.finfo(logs.dtype).min)  # rows that have met only -inf
    shifted = (logs - safe.unsqueeze(dim)).exp_().sum(dim)
    sums[rows] = sums[rows] * (top[rows] - safe).exp() + shifted
    top[rows] = new


def _gradients(
    z: Tensor,
    width: Tensor,
    space: Space,
    same: Tensor | None,
    tiles: list[tuple[slice, slice]],
    kept: tuple[Tensor, Tensor | None] | None,
    log_sums: Tensor,
    total: int,
) -> tuple[Tensor, Tensor]:
    by_z, by_width = torch.zeros_like(z), torch.zeros_like(width)
    inverse = width.item() ** -2
    for i, j in tiles:
        logs, slope = kept or _tile(z, width, space, same, i, j)
        weights = (logs - log_sums[i, None]).exp_()
        weights = weights + weights.mT if i == j else weights.add_((logs - log_sums[j]).exp_())
        if width.requires_grad:
            share = 0.5 if i == j else 1.0
            by_width += torch.where(weights > 0, weights * logs, 0.0).sum() * share
        if slope is not None:
            weights = weights * slope
        by_z[i].addmm_(weights, z[j])
        if space == "euclidean":
            by_z[i] -= weights.sum(1, keepdim=True) * z[i]
        if i != j:
            by_z[j].addmm_(weights.mT, z[i])
            if space == "euclidean":
                by_z[j] -= weights.sum(0)[:, None] * z[j]
    return by_z.mul_(inverse / total), by_width * (-2.0 / (width.detach() * total))
