"""How far apart modalities lie and how much of the space they fill.

Modality gap: Liang et al. 2022. Fréchet distance: of Gaussians with the sets' means and covariances. Effective rank:
Roy and Vetterli 2007 (RankMe without its epsilon). lambda_1(G)/M: 1 when a tuple is collinear, whatever its signs.
"""

import torch
from torch import Tensor

from pipeline.geometry.precision import full
from pipeline.geometry.volume import gram


def modality_gap(x: Tensor, y: Tensor) -> Tensor:
    """|mean(x) - mean(y)|: `x [N, D]`, `y [N', D] -> []`."""
    return (full(x).mean(0) - full(y).mean(0)).norm()


def frechet_distance(x: Tensor, y: Tensor) -> Tensor:
    """|mu_x - mu_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)), unbiased covariances, float64: `[N, D], [N', D] -> []`.

    ValueError with fewer than two rows. With fewer rows than dimensions it is finite but strongly biased: give N.
    """
    if len(x) < 2 or len(y) < 2:
        raise ValueError(f"the Fréchet distance needs two rows a set, got {len(x)} and {len(y)}")
    x, y = x.double(), y.double()
    cx, cy = x.mT.cov(), y.mT.cov()
    cx, cy = cx.reshape(x.shape[1], -1), cy.reshape(y.shape[1], -1)
    values, vectors = torch.linalg.eigh(cx)
    half = vectors * values.clamp_min(0).sqrt() @ vectors.mT
    cross = torch.linalg.eigvalsh(half @ cy @ half).clamp_min(0).sqrt().sum()
    means = (x.mean(0) - y.mean(0)).square().sum()
    return (means + cx.trace() + cy.trace() - 2 * cross).clamp_min(0)


def effective_rank(z: Tensor) -> Tensor:
    """exp of the entropy of the normalised singular values, between 1 and min(B, D): `z [B, D] -> []`.

    ValueError if all rows are zero.
    """
    values = torch.linalg.svdvals(full(z))
    if not bool(values.sum() > 0):
        raise ValueError("effective rank of zero (or non-finite) embeddings is undefined")
    p = values / values.sum()
    return torch.special.entr(p).sum().exp()


def collinearity(z: Tensor) -> Tensor:
    """lambda_1(G)/M of each tuple of unit vectors, in [1/M, 1]: `z [M, B, D] -> [B]`."""
    return torch.linalg.eigvalsh(gram(z))[:, -1] / len(z)
