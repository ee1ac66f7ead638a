"""Anchor-based alignment, UniAlign Eq. 10, and its forms of Table 4: Euclidean, geodesic, volume."""

from typing import Literal

from torch import Tensor

from pipeline.geometry.kernels import squared_geodesic
from pipeline.geometry.precision import full
from pipeline.geometry.volume import volume

Form = Literal["euclidean", "geodesic", "volume"]


def alignment(z: Tensor, anchor: int = 0, form: Form = "euclidean") -> Tensor:
    """Mean over rows and other modalities of the squared distance to the anchor: `z [M, B, D] -> []`.

    `volume` is the mean of sqrt(det G) of the tuples, in which no modality is special. Geodesic needs unit rows.
    """
    if z.dim() != 3 or z.shape[0] < 2:
        raise ValueError(f"alignment needs at least two modalities [M, B, D], got {list(z.shape)}")
    z = full(z)
    if form == "volume":
        return volume(z).mean()
    modalities, batch = z.shape[:2]
    anchor = range(modalities)[anchor]
    total = z.new_zeros(())
    for n in range(modalities):
        if n != anchor and form == "euclidean":
            total = total + (z[anchor] - z[n]).square().sum()
        elif n != anchor and form == "geodesic":
            total = total + squared_geodesic((z[anchor] * z[n]).sum(-1)).sum()
        elif n != anchor:
            raise ValueError(f"alignment form must be euclidean, geodesic or volume, got {form!r}")
    return total / (batch * (modalities - 1))
