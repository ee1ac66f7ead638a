"""PMRL (arXiv 2507.17343): softmax over singular values, and contrast of the leading directions.

Per sample, the singular values s_1 >= ... >= s_M of the M x D matrix: -log softmax(s / tau_1)_1 pulls the tuple to
rank one; CE(U U^T / T) with the leading right directions u_i pushes samples apart. `temperature` is the script's tau_2.

Deviations: eigenvectors of the M x M Gram matrix in place of a full SVD, the release's random signs fixed (u points to
the side of the tuple's mean or, orthogonal to it, of its first modality), and gradients that stay finite: eigenvalues
that (nearly) coincide count as `GAP` apart, singular values below 1e-5 have no gradient.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.geometry.contrast import contrast
from pipeline.geometry.explicit import dot
from pipeline.geometry.precision import unit
from pipeline.geometry.volume import gram, root
from pipeline.objectives import settings as options
from pipeline.objectives.inputs import Result, objective, several, summed

GAP = 1e-4


def singular(z: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values, largest first, and leading directions of tuples: `z [M, B, D] -> ([B, M], [B, D])`.

    Values and vectors come from `eigh` without gradient; their first-order changes are v_i^T dG v_i and
    sum_j v_j (v_j^T dG v_1) / (l_1 - l_j), written so that autograd gives exactly these.
    """
    g = gram(z)
    with torch.no_grad():
        values, vectors = torch.linalg.eigh(g)
        values, vectors = values.flip(-1), vectors.flip(-1)
        total = vectors[:, :, 0].sum(-1)
        side = torch.where(total.abs() > 1e-6, total, vectors[:, 0, 0])
        vectors[..., 0] *= torch.where(side < 0, -1.0, 1.0)[:, None]
        distance = (values[:, :1] - values[:, 1:]).clamp_min(GAP)
    turned = vectors.mT @ g @ vectors
    change = (turned[:, 1:, 0] / distance)[:, None, :] * vectors[..., 1:]
    leading = vectors[..., 0] + (change - change.detach()).sum(-1)
    return root(turned.diagonal(dim1=-2, dim2=-1)), unit(torch.einsum("bm,mbd->bd", leading, z))


@objective
def pmrl(
    embeddings: Mapping[str, Tensor],
    fused: Mapping[str, Tensor],
    temperature: Tensor,
    settings: options.Pmrl,
    same: Tensor | None = None,
) -> Result:
    """Rank-one pull plus `lambda_inter` times the contrast of leading directions; M >= 2 modalities `[B, D]`."""
    values, directions = singular(torch.stack(several(embeddings)))
    intra = -(values / settings.singular_temperature).log_softmax(1)[:, 0].mean()
    pull, push = contrast(dot, directions, directions[None], temperature, same=same)
    inter = settings.lambda_inter
    return summed(intra + inter * pull, inter * push, intra=intra, inter=pull + push)
