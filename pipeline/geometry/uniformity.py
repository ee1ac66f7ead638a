"""Intra-modality uniformity, UniAlign Eq. 9: U(Z) = mean_i log mean_{j != i} kernel(z_i, z_j).

Wang and Isola's uniformity takes the log of the mean over all pairs with exp(-2 d^2); here the log is inside and the
exponent is -d^2 / (2 width^2). The gradient has reciprocal terms (row i is also a neighbour of its neighbours) that
the paper's sample-wise gradient leaves out; with P the row-softmax it is (P + P^T) Z - diag(row sums) Z over width^2.

The gradient is written by hand as that one product and taken in the forward pass, in tiles above the diagonal only
(the kernel is symmetric): two products of [B, B, D] in all where autograd needs three, and no [B, B] array remains.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.geometry.kernels import Space, geodesic_slope
from pipeline.geometry.precision import blocks, exponential_, full, log_sum_exp

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
        counted, total, others = None, batch if batch > 1 else 0, batch - 1
        if same is not None:
            left = batch - (same | torch.eye(batch, dtype=torch.bool, device=z.device)).sum(1)
            counted, total = left > 0, int((left > 0).sum())
        if total == 0:
            raise ValueError(f"uniformity needs two rows that differ, got a batch of {batch}")
        kernel = _Kernel(z, width, space, same, total)
        sums, gradients = (_whole if batch <= block else _tiled)(kernel, counted, block, derive)
        if derive:
            by_z, by_width = gradients
            ctx.gradients = by_z, by_width * (-2 / (width.detach() * total))
        if counted is None:
            return sums.mean() - math.log(others)
        return torch.where(counted, sums - left.to(z).log(), 0.0).sum() / total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        by_z, by_width = ctx.gradients
        return grad * by_z, grad * by_width, None, None, None, None


class _Kernel:
    """Log kernels of blocks of rows, and how they turn weights of pairs into gradients."""

    def __init__(self, z: Tensor, width: Tensor, space: Space, same: Tensor | None, counted: int) -> None:
        self.z, self.space, self.same = z, space, same
        self.inverse, self.learn_width = width.item() ** -2, width.requires_grad
        self.scale = self.inverse / counted
        self.half = torch.zeros_like(z[:, 0])
        if space == "euclidean":
            self.half = torch.linalg.vecdot(z, z) * (-0.5 * self.inverse)

    def logs(self, i: slice, j: slice) -> tuple[Tensor, Tensor | None]:
        """-distance^2 / (2 width^2) `[|i|, |j|]` less `half[i]` of each row, own and same-caption pairs -inf; and
        theta / sin(theta) or None.
        """
        slope = None
        if self.space == "euclidean":
            logs = self.products(i, j, self.inverse).add_(self.half[j])
        else:
            logs = self.products(i, j, 1.0)
            slope = geodesic_slope(logs)
            logs = logs.clamp_(-1.0, 1.0).arccos_().square_().mul_(-0.5 * self.inverse)
        if i == j:
            logs.fill_diagonal_(-torch.inf)
        if self.same is not None:
            logs.masked_fill_(self.same[i, j], -torch.inf)
        return logs, slope

    def products(self, i: slice, j: slice, scale: float) -> Tensor:
        """scale z_i z_j^T; of a block with itself the lower left quarter is copied from the upper right."""
        x, y = self.z[i], self.z[j]
        products = x.new_empty(len(x), len(y))
        if i != j:
            return torch.addmm(products, x, y.mT, beta=0, alpha=scale, out=products)
        half = len(x) // 2
        for rows, columns in ((slice(0, half), slice(0, None)), (slice(half, None), slice(half, None))):
            part = products[rows, columns]
            torch.addmm(part, x[rows], x[columns].mT, beta=0, alpha=scale, out=part)
        products[half:, :half] = products[:half, half:].mT
        return products

    def pull(self, i: slice, j: slice, weights: Tensor) -> Tensor:
        """What `weights [|i|, |j|]` of pairs (slope included) make of rows j for rows i."""
        if self.space == "euclidean" and i == j:
            weights.diagonal().sub_(weights.sum(1))
        pulled = torch.addmm(self.z[i], weights, self.z[j], beta=0, alpha=self.scale)
        if self.space == "euclidean" and i != j:
            pulled.addcmul_(weights.sum(1, keepdim=True), self.z[i], value=-self.scale)
        return pulled


def _whole(kernel: _Kernel, counted: Tensor | None, block: int, derive: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """log sums [B]; gradients by z and by the log kernel's scale, from one array that is worked on in place."""
    rows = slice(0, len(kernel.z))
    p, slope = kernel.logs(rows, rows)
    top = p.amax(1, keepdim=True)
    if counted is not None:  # rows without any pair are -inf throughout
        top = torch.where(counted[:, None], top, 0.0)
    total = exponential_(p.sub_(top)).sum(1, keepdim=True)
    sums = (top + total.log()).squeeze(1) + kernel.half
    by_z, by_scale = kernel.z, torch.zeros_like(top[0, 0])
    if derive:
        p.div_(total if counted is None else torch.where(counted[:, None], total, 1.0))
        if kernel.learn_width:  # sum p log kernel = sum p (log p + sums)
            by_scale = (sums if counted is None else torch.where(counted, sums, 0.0)).sum() - torch.special.entr(
                p
            ).sum()
        weights = p.mT.contiguous().add_(p)
        by_z = kernel.pull(rows, rows, weights if slope is None else weights.mul_(slope))
    return sums, (by_z, by_scale)


def _tiled(kernel: _Kernel, counted: Tensor | None, block: int, derive: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The same in tiles on and above the diagonal, each computed once for the sums and once for the gradients."""
    parts = blocks(len(kernel.z), block)
    tiles = [(i, j) for i in parts for j in parts if i.start <= j.start]
    sums = torch.full_like(kernel.half, -torch.inf)
    for i, j in tiles:
        logs = kernel.logs(i, j)[0].add_(kernel.half[i, None])
        sums[i] = torch.logaddexp(sums[i], log_sum_exp(logs, 1))
        if i != j:
            sums[j] = torch.logaddexp(sums[j], log_sum_exp(logs, 0))
    by_z = torch.zeros_like(kernel.z) if derive else kernel.z
    by_scale = torch.zeros_like(kernel.half[0])
    if derive:
        norms = (
            sums if counted is None else torch.where(counted, sums, torch.inf)
        )  # rows that do not count weigh exp(-inf)
        for i, j in tiles:
            logs, slope = kernel.logs(i, j)
            logs += kernel.half[i, None]
            p = exponential_(logs - norms[i, None])
            weights = p + p.mT if i == j else p.add_(exponential_(logs - norms[j]))
            if kernel.learn_width:
                by_scale += torch.where(weights > 0, weights * logs, 0.0).sum() * (0.5 if i == j else 1.0)
            if slope is not None:
                weights.mul_(slope)
            by_z[i] += kernel.pull(i, j, weights)
            if i != j:
                by_z[j] += kernel.pull(j, i, weights.mT)
    return sums, (by_z, by_scale)
