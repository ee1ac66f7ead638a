"""Scores between any subsets of modalities, larger = better: `score(queries [L, n, D], items [K, n', D]) -> [n, n']`.

A query is a tuple like an item: picture and sound ask for a text, text and sound for a picture. With one vector a query
they are the scores of `scores`. `cosine`: of the normalised means of what each side has. `volume`: -sqrt(det G(query,
item)). `residual`: minus the product of the squared sines of the principal angles between the two spans (Miao and
Ben-Israel 1992), since det G(Q, D) = det G(Q) det G(D) prod sin^2: the two own volumes are left out, as for a text.

A missing modality is a zero row and adds nothing to its side. A side without any scores as in `scores`.
"""

import torch
from torch import Tensor

from pipeline.geometry.precision import full, unit
from pipeline.geometry.scores import VOLUME_COSINE, Score
from pipeline.geometry.volume import determinant, directions, root


def squared_sines(queries: Tensor, items: Tensor) -> Tensor:
    """Product of the squared sines of the principal angles, `[L, n, D], [K, n', D] -> [n, n']`.

    Both sides are orthonormal directions (`volume.directions`); det(I - C C^T) of their cosines C, the smaller way.
    """
    few, many = (queries, items) if len(queries) <= len(items) else (items, queries)
    cosines = torch.einsum("lnd,kmd->nmlk", few, many)
    identity = torch.eye(len(few), dtype=cosines.dtype, device=cosines.device)
    value = determinant(identity - cosines @ cosines.mT).clamp_min(0.0)
    return value if few is queries else value.mT


def cosine(queries: Tensor, items: Tensor) -> Tensor:
    """Cosine of the normalised means."""
    _check(queries, items)
    return unit(unit(queries).sum(0)) @ unit(unit(items).sum(0)).mT


def residual(queries: Tensor, items: Tensor) -> Tensor:
    """Minus the product of the squared sines of the principal angles."""
    _check(queries, items)
    return -squared_sines(directions(full(queries))[0], directions(full(items))[0])


def volume(queries: Tensor, items: Tensor) -> Tensor:
    """Minus the volume of query and item together."""
    _check(queries, items)
    (of_queries, own), (of_items, theirs) = _spanned(queries), _spanned(items)
    return -own[:, None] * theirs * root(squared_sines(of_queries, of_items))


def _spanned(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Directions and own volume of each tuple; what is missing has length one, so that it changes no volume."""
    basis, height = directions(full(vectors), VOLUME_COSINE)
    return basis, torch.where(torch.linalg.vector_norm(vectors, dim=-1) == 0, 1.0, height).prod(0)


def _check(queries: Tensor, items: Tensor) -> None:
    if queries.dim() != 3 or items.dim() != 3 or queries.shape[-1] != items.shape[-1]:
        raise ValueError(f"need queries [L, n, D] and items [K, n', D], got {list(queries.shape)}, {list(items.shape)}")


SUBSET_SCORES: dict[str, Score] = {"cosine": cosine, "volume": volume, "residual": residual}
