"""The classical angle between a vector and a subspace: 1 - |Q_D^T t|^2 / |t|^2.

The Gram determinant of a query with an item is det G(item) times this residual (times |t|^2); leaving the first factor
out removes the hubs that items with nearly dependent modalities become. Used by no release of a compared system.

Numerical rank: a vector with |cos| > 1 - 1e-6 to the span of those before it gives one direction fewer; a missing
modality (zero vector) gives none, so such an item compares by the directions it has, and never gains by lacking one.
"""

import torch
from torch import Tensor

from pipeline.geometry.precision import full
from pipeline.geometry.volume import check_pairs, directions, squared_distance_from_span


def pairwise_residual(queries: Tensor, items: Tensor) -> Tensor:
    """Squared sine of the angle between each query and each item's span.

    `queries [N, D]`, `items [K, N', D] -> [N, N']` in [0, 1]; a zero query has residual 1 with everything.
    """
    check_pairs(queries, items)
    return residual_to_span(full(queries), directions(items)[0])


def residual_to_span(queries: Tensor, basis: Tensor) -> Tensor:
    """The same from orthonormal directions of the items, `basis [K, N', D]` (`volume.directions`)."""
    lengths = queries.square().sum(-1, keepdim=True)
    rest = squared_distance_from_span(queries, basis)
    zero = lengths == 0
    return torch.where(zero, 1.0, rest / torch.where(zero, 1.0, lengths))
