"""Number formats and zero vectors: the two things every function of embeddings must settle first.

Half and bfloat16 inputs are computed in float32 (a Gram determinant in bfloat16 has no correct digit); float32 and
float64 stay what they are.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def full(x: Tensor) -> Tensor:
    """`x` in float32, or unchanged when it is float32 or float64 already."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def exactly(x: Tensor) -> torch.autocast:
    """A block without the caller's autocast: a backward pass by hand may be called inside one."""
    return torch.autocast(x.device.type, enabled=False)


def unit(x: Tensor) -> Tensor:
    """`x [..., D]` with rows of length one; a zero row stays zero (and has zero gradient)."""
    return unit_and_length(x)[0]


def unit_and_length(x: Tensor) -> tuple[Tensor, Tensor]:
    """`unit(x)` and the rows' lengths `[..., 1]` without gradient."""
    value, length = _Unit.apply(full(x))
    return value, length


class _Unit(torch.autograd.Function):
    """x / |x|; the gradient is what is left of the incoming one beside the row itself, over the length."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = torch.where(length > 0, length.reciprocal(), 0.0)
        ctx.save_for_backward(x, inverse)  # who gave the rows often keeps them anyway, the unit ones nobody need
        ctx.mark_non_differentiable(length)
        return x * inverse, length

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> Tensor:
        x, inverse = ctx.saved_tensors
        with exactly(x):
            along = torch.linalg.vecdot(grad, x).unsqueeze(-1) * inverse * inverse
            return torch.addcmul(grad, x, along, value=-1).mul_(inverse)


def exponential_(x: Tensor) -> Tensor:
    """e^x, in place, as a power of two: torch's float32 exp takes a hundred times as long where it underflows (in MKL,
    denormals flushed or not), and kernels of width 0.07 underflow nearly everywhere.
    """
    return x.mul_(math.log2(math.e)).exp2_()


def log_sum_exp(x: Tensor, dim: int) -> Tensor:
    """log sum e^x along `dim` by `exponential_`, without gradient; -inf where all are."""
    top = x.amax(dim, keepdim=True)
    top.masked_fill_(top == -torch.inf, 0.0)
    return exponential_(x - top).sum(dim).log_().add_(top.squeeze(dim))


def blocks(size: int, block: int) -> list[slice]:
    """Consecutive slices of at most `block` rows that cover `size` rows."""
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    return [slice(start, min(start + block, size)) for start in range(0, size, block)]
