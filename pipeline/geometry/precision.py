"""Number formats and zero vectors: the two things every function of embeddings must settle first.

Half and bfloat16 inputs are computed in float32 (a Gram determinant in bfloat16 has no correct digit); float32 and
float64 stay what they are.
"""

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """`x` in float32, or unchanged when it is float32 or float64 already."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def unit(x: Tensor) -> Tensor:
    """`x [..., D]` with rows of length one; a zero row stays zero (and has zero gradient)."""
    x = full(x)
    squared = x.square().sum(-1, keepdim=True)
    return x * torch.where(squared > 0, torch.where(squared > 0, squared, 1.0).rsqrt(), 0.0)


def blocks(size: int, block: int) -> list[slice]:
    """Consecutive slices of at most `block` rows that cover `size` rows."""
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    return [slice(start, min(start + block, size)) for start in range(0, size, block)]
