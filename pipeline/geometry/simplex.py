"""Simplex of a query and an item's vectors as vertices (TRIANGLE: the triangle of text, vision and audio).

The release's `area` for three vectors is (|u|^2 |w|^2 - (u.w)^2) / 2 with u = t - v, w = t - a: twice the squared
triangle area. Here: det G(edges) / 2 for any number of vertices. The determinant does not depend on the vertex that
the edges leave from, so edges leave from the item's last vector: all but one of them are the item's alone, and no
queries x items x D array is needed.
"""

from torch import Tensor

from pipeline.geometry.precision import full
from pipeline.geometry.volume import check_pairs, directions


def pairwise_area(queries: Tensor, items: Tensor) -> Tensor:
    """det G(edges) / 2 of every query with every item: `queries [N, D]`, `items [K, N', D] -> [N, N']`.

    K = 1: half the squared distance; K = 2: TRIANGLE's area. Vertices that (nearly) coincide or lie in the span of
    the others by the numerical-rank rule give 0.
    """
    check_pairs(queries, items)
    queries, items = full(queries), full(items)
    base = items[-1]
    squared = queries.square().sum(-1)[:, None] + base.square().sum(-1) - 2 * queries @ base.mT
    if len(items) == 1:
        return squared.clamp_min(0.0) / 2
    basis, height = directions(items[:-1] - base)
    for q in basis:
        squared = squared - (queries @ q.mT - (base * q).sum(-1)).square()
    return squared.clamp_min(0.0) * (height.prod(0).square() / 2)
