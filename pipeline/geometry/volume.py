"""Gram volume of tuples: sqrt(det G), G_mn = <z_m, z_n> (GRAM, Cicchetti et al. 2024; UniAlign Eq. 12).

`det G(q, D) = det G(D) * (|q|^2 - |Q_D^T q|^2)`: the volume of a query with an item's vectors is the item's own volume
times the query's distance from their span. Two and three vectors use the expanded determinant of the cosine arrays,
more vectors the factorised form; no array is larger than queries x items.

Deviation from the releases (`sqrt(abs(det))`, no epsilon, infinite slope at dependent tuples): a tuple whose
determinant is below `EPSILON` times the product of its squared lengths counts as dependent and has volume 0 and
gradient 0, which is a subgradient, because 0 is the minimum. Zero volume means linear dependence, not collinearity.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.geometry.precision import exactly, full

EPSILON = 1e-10  # on det G / prod |z|^2: volumes below 1e-5 are below float32's rounding of the determinant (1e-7)
RANK_COSINE = 1.0 - 1e-6  # |cos| above this: the vector lies in the span of those before it


def root(determinant: Tensor, bound: Tensor | float = 1.0) -> Tensor:
    """sqrt(determinant), with value and gradient 0 where it is not above `EPSILON * bound`; NaN stays NaN."""
    dependent = determinant <= EPSILON * bound
    return torch.where(dependent, 1.0, determinant).sqrt() * ~dependent


def gram(z: Tensor) -> Tensor:
    """Gram matrices of tuples: `z [M, B, D] -> [B, M, M]`."""
    value: Tensor = _Gram.apply(full(z))
    return value


class _Gram(torch.autograd.Function):
    """Z Z^T of each tuple; the gradient (D + D^T) Z is one product where autograd takes two."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        tuples = z.transpose(0, 1)
        return tuples @ tuples.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        with exactly(z):
            return ((grad + grad.mT) @ z.transpose(0, 1)).transpose(0, 1)


def determinant(matrix: Tensor) -> Tensor:
    """Determinant of Gram matrices `[..., M, M] -> [...]` by elimination; 0 (gradient 0) at the first zero pivot.

    No pivoting is needed for a positive semidefinite matrix: a zero pivot means a zero row and column.
    """
    if matrix.shape[-1] == 3:  # a triple product: few operations, and the gradient is the adjugate
        return (matrix[..., 0, :] * torch.linalg.cross(matrix[..., 1, :], matrix[..., 2, :])).sum(-1)
    product = torch.ones_like(matrix[..., 0, 0])
    while matrix.shape[-1] > 1:
        pivot = matrix[..., 0, 0]
        usable = ~(pivot <= 0)  # NaN goes on
        column = matrix[..., 1:, 0]
        inverse = torch.where(usable, pivot, 1.0).reciprocal()
        matrix = matrix[..., 1:, 1:] - column[..., :, None] * (column * inverse[..., None])[..., None, :]
        product = product * torch.where(usable, pivot, 0.0)
    return product * matrix[..., 0, 0]


def volume(z: Tensor) -> Tensor:
    """Volume of each tuple: `z [M, B, D] -> [B]`, M >= 2."""
    if z.dim() != 3 or z.shape[0] < 2:
        raise ValueError(f"volume needs at least two modalities [M, B, D], got {list(z.shape)}")
    return gram_volume(gram(z))


def gram_volume(matrix: Tensor) -> Tensor:
    """Volume of each tuple from its Gram matrix: `[B, M, M] -> [B]`."""
    return root(determinant(matrix), matrix.diagonal(dim1=-2, dim2=-1).prod(-1))


def directions(items: Tensor, rank_cosine: float = RANK_COSINE) -> tuple[Tensor, Tensor]:
    """Orthonormal directions of each item's vectors by Gram-Schmidt, with the numerical-rank rule.

    `items [K, N, D] -> (Q [K, N, D], height [K, N])`. `height` is the length of what is left of vector k after the
    directions before it. A vector with |cos| > `rank_cosine` to the span before it (or a zero vector) adds none:
    its row of Q and its height are zero.
    """
    found: list[Tensor] = []
    heights: list[Tensor] = []
    for vector in full(items):
        squared = vector.square().sum(-1)
        rest = vector
        for _ in range(2):  # once more than in exact arithmetic: keeps Q orthogonal for nearly dependent vectors
            for q in found:
                rest = torch.addcmul(rest, (rest * q).sum(-1, keepdim=True), q, value=-1)
        left = rest.square().sum(-1) if found else squared
        independent = ~(left <= (1.0 - rank_cosine**2) * squared)  # NaN goes on
        height = torch.where(independent, left, 1.0).sqrt()
        found.append(rest * (independent / height)[:, None])
        heights.append(height * independent)
    return torch.stack(found), torch.stack(heights)


def squared_distance_from_span(queries: Tensor, basis: Tensor) -> Tensor:
    """|q|^2 - |Q^T q|^2, not below 0: `queries [N, D]`, orthonormal `basis [K, N', D] -> [N, N']`."""
    rest = queries.square().sum(-1, keepdim=True).expand(-1, basis.shape[1])
    for q in basis:
        cosine = queries @ q.mT
        rest = torch.addcmul(rest, cosine, cosine, value=-1)
    return rest.clamp_min(0.0)


def factorised_volume(queries: Tensor, items: Tensor) -> Tensor:
    """`pairwise_volume` by orthogonal directions of the items, for any K: K products of queries and items."""
    queries, items = full(queries), full(items)
    basis, height = directions(items)
    own = height.prod(0)
    squared = squared_distance_from_span(queries, basis)
    lengths = queries.square().sum(-1, keepdim=True)
    return root(squared, lengths) * own


def pairwise_volume(queries: Tensor, items: Tensor) -> Tensor:
    """Volume of every query with every item's vectors.

    `queries [N, D]`, `items [K, N', D] -> [N, N']`, K >= 1, of any lengths (of triples of unit rows: `unit_volume`).
    """
    check_pairs(queries, items)
    queries, items = full(queries), full(items)
    if len(items) > 2:
        return factorised_volume(queries, items)
    bound = queries.square().sum(-1)[:, None] * items.square().sum(-1).prod(0)
    if len(items) == 1:
        return root(bound - (queries @ items[0].mT).square(), bound)
    v, w = items
    vv, ww, vw = v.square().sum(-1), w.square().sum(-1), (v * w).sum(-1)
    a, b = queries @ v.mT, queries @ w.mT
    qq = queries.square().sum(-1, keepdim=True)
    return root(qq * (vv * ww - vw.square()) - a * (a * ww - 2 * b * vw) - b.square() * vv, bound)


def check_pairs(queries: Tensor, items: Tensor) -> None:
    """ValueError unless `queries [N, D]` and `items [K >= 1, N', D]` fit together."""
    if queries.dim() != 2 or items.dim() != 3 or len(items) < 1 or queries.shape[-1] != items.shape[-1]:
        raise ValueError(f"need queries [N, D] and items [K, N', D], got {list(queries.shape)}, {list(items.shape)}")
