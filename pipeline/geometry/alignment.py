"""Anchor-based alignment, UniAlign Eq. 10, and its forms of Table 4: Euclidean, geodesic, volume.

All are functions of the tuples' Gram matrices: |z_a - z_n|^2 = G_aa + G_nn - 2 G_an, arccos(G_an)^2, sqrt(det G).
"""

from typing import Literal

import torch
from torch import Tensor

from pipeline.geometry.kernels import squared_geodesic
from pipeline.geometry.volume import gram, gram_volume

Form = Literal["euclidean", "geodesic", "volume"]


def alignment(z: Tensor, anchor: int = 0, form: Form = "euclidean") -> Tensor:
    """Mean over rows and other modalities of the squared distance to the anchor: `z [M, B, D] -> []`.

    `volume` is the mean of sqrt(det G) of the tuples, in which no modality is special. Geodesic needs unit rows.
    """
    if z.dim() != 3 or z.shape[0] < 2:
        raise ValueError(f"alignment needs at least two modalities [M, B, D], got {list(z.shape)}")
    return gram_alignment(gram(z), anchor, form)


def gram_alignment(matrix: Tensor, anchor: int = 0, form: Form = "euclidean") -> Tensor:
    """`alignment` from the tuples' Gram matrices: `[B, M, M] -> []`."""
    batch, modalities = matrix.shape[:2]
    if form == "volume":
        return gram_volume(matrix).mean()
    if form == "euclidean":
        weights = torch.eye(modalities, dtype=matrix.dtype)
        weights[anchor] -= 2.0
        weights[anchor, anchor] += modalities  # M - 1: the anchor's own length counts with each other modality
        total = (matrix * weights.to(matrix.device)).sum()
    elif form == "geodesic":
        others = [n for n in range(modalities) if n != range(modalities)[anchor]]
        total = squared_geodesic(matrix[:, anchor, others]).sum()
    else:
        raise ValueError(f"alignment form must be euclidean, geodesic or volume, got {form!r}")
    return total / (batch * (modalities - 1))
