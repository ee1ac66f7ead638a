"""Weighted centroid of a tuple on the sphere, UniAlign Eq. 11."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.geometry.precision import full, unit


def centroid(z: Tensor, weights: Sequence[float] | None = None) -> Tensor:
    """Normalised weighted mean of the modalities: `z [M, B, D] -> [B, D]`; weights >= 0 with sum 1, 1/M by default.

    A tuple whose weighted vectors cancel has no centroid: its row is zero, with zero gradient.
    """
    z = full(z)
    if weights is None:
        return unit(z.sum(0))
    w = torch.as_tensor(weights, dtype=z.dtype, device=z.device)
    if w.shape != z.shape[:1] or bool((w < 0).any()) or abs(float(w.sum()) - 1) > 1e-6:
        raise ValueError(f"centroid needs {len(z)} weights >= 0 with sum 1, got {list(weights)}")
    return unit((w[:, None, None] * z).sum(0))
