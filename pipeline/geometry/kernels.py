"""Kernels of UniAlign Eq. 9 (Gaussian) and Eq. 14 (geodesic) in log space, and their means over a batch in blocks.

At the paper's width 0.07 two orthogonal unit vectors have kernel e^-204: below float32's smallest number, so nothing
here ever leaves log space.

arccos has an infinite slope at both ends. d(theta^2)/d(cos) = -2 theta / sin(theta) is finite at cos = 1 (its limit -2
is taken by series there) and infinite only for antipodes, where the slope is held at its value for cos = -1 + 1e-6.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.geometry.precision import blocks, exponential_, full, log_sum_exp

Space = Literal["euclidean", "geodesic"]
BLOCK = 2048  # rows a block


def geodesic_slope(cosine: Tensor) -> Tensor:
    """theta / sin(theta) for theta = arccos(cosine): -1/2 of the slope of theta^2."""
    x = 1.0 - cosine
    inner = cosine.clamp(-1.0 + 1e-6, 1.0 - 1e-4)
    return torch.where(x < 1e-3, 1.0 + x / 3 + 2 * x.square() / 15, inner.arccos() * (1.0 - inner.square()).rsqrt())


class _SquaredGeodesic(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cosine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine)
        return cosine.clamp(-1.0, 1.0).arccos().square()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (cosine,) = ctx.saved_tensors
        return -2 * grad * geodesic_slope(cosine)


def squared_geodesic(cosine: Tensor) -> Tensor:
    """arccos(cosine)^2, any shape, with the finite slopes described above."""
    value: Tensor = _SquaredGeodesic.apply(cosine)
    return value


def squared_distance(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2, not below 0: `x [N, D]`, `y [N', D] -> [N, N']`."""
    return (x.square().sum(-1)[:, None] + y.square().sum(-1) - 2 * x @ y.mT).clamp_min(0.0)


def log_kernel(x: Tensor, y: Tensor, width: Tensor | float, space: Space = "euclidean") -> Tensor:
    """log kernel = -distance^2 / (2 width^2): `x [N, D]`, `y [N', D] -> [N, N']`; geodesic needs unit rows."""
    if space not in ("euclidean", "geodesic"):
        raise ValueError(f"space must be euclidean or geodesic, got {space!r}")
    x, y = full(x), full(y)
    squared = squared_distance(x, y) if space == "euclidean" else squared_geodesic(x @ y.mT)
    return squared / (-2 * width * width)


class _LogMeans(torch.autograd.Function):
    """Row-wise log mean exp of a log kernel; backward recomputes the blocks, so that no [N, N'] array is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, width: Tensor, space: Space, leave: bool, block: int) -> Tensor:
        out = x.new_empty(len(x))
        for rows in blocks(len(x), block):
            out[rows] = log_sum_exp(_block(x[rows], y, width, space, rows if leave else None), 1)
        ctx.save_for_backward(x, y, width, out)
        ctx.space, ctx.leave, ctx.block = space, leave, block
        return out - math.log(len(y) - leave)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, width, sums = ctx.saved_tensors
        gx, gy, gw = torch.zeros_like(x), torch.zeros_like(y), torch.zeros_like(width)
        for rows in blocks(len(x), ctx.block):
            with torch.enable_grad():
                part, other, wide = leaves = [t.detach().requires_grad_() for t in (x[rows], y, width)]
                logs = _block(part, other, wide, ctx.space, rows if ctx.leave else None)
            weights = exponential_(logs.detach() - sums[rows, None]).mul_(grad[rows, None])
            a, b, c = torch.autograd.grad(logs, leaves, weights)
            gx[rows] += a
            gy += b
            gw += c
        return gx, gy, gw, None, None, None


def _block(x: Tensor, y: Tensor, width: Tensor, space: Space, own: slice | None) -> Tensor:
    logs = log_kernel(x, y, width, space)
    if own is None:
        return logs
    mask = torch.zeros(logs.shape, dtype=torch.bool, device=logs.device)
    mask[:, own] = torch.eye(len(x), dtype=torch.bool, device=logs.device)
    return logs.masked_fill(mask, -torch.inf)


def log_kernel_means(
    x: Tensor,
    y: Tensor,
    width: Tensor | float,
    space: Space = "euclidean",
    leave_one_out: bool = False,
    block: int = BLOCK,
) -> Tensor:
    """log of the mean over j of kernel(x_i, y_j): `x [N, D]`, `y [N', D] -> [N]`.

    `leave_one_out` drops j = i (x and y are then the same batch of at least two rows).
    """
    if leave_one_out and (len(x) != len(y) or len(x) < 2):
        raise ValueError(f"leave-one-out needs one batch of at least two rows, got {len(x)} and {len(y)}")
    x, y = full(x), full(y)
    value: Tensor = _LogMeans.apply(
        x, y, torch.as_tensor(width, dtype=x.dtype, device=x.device), space, leave_one_out, block
    )
    return value
