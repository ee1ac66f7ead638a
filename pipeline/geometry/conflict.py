"""The conflicts of multimodal InfoNCE, UniAlign Eq. 3-4, and a measure that every objective has.

V = sum_n z_i^(n) / T pulls the anchor to its positives, Phi = sum_n sum_k p_ik z_k^(n) / T pushes it.
zeta = cos(V, Phi), chi = 1 - |V| / ((M - 1) / T). Weights w are 1.

As printed, Phi contains k = i, so that zeta tends to 1 at InfoNCE's own optimum, where p_ii = 1 and Phi = V. With
`exclude_self` the sum runs over k != i with the same p. Eq. 3 is only the anchor-to-other half of Eq. 1's gradient.
"""

import torch
from torch import Tensor

from pipeline.geometry.precision import full


def cosine(x: Tensor, y: Tensor) -> Tensor:
    """Cosine along the last axis, 0 where either vector is zero (no force, no conflict)."""
    product = x.norm(dim=-1) * y.norm(dim=-1)
    zero = product == 0
    return torch.where(zero, 0.0, (x * y).sum(-1) / torch.where(zero, 1.0, product))


def conflict(z: Tensor, anchor: int, temperature: Tensor | float, exclude_self: bool = False) -> tuple[Tensor, Tensor]:
    """zeta and chi of each row: `z [M, B, D]` of unit rows, `anchor` a modality's index `-> (zeta [B], chi [B])`."""
    if z.dim() != 3 or z.shape[0] < 2:
        raise ValueError(f"conflict needs at least two modalities [M, B, D], got {list(z.shape)}")
    z = full(z)
    anchor = range(len(z))[anchor]
    others = [z[n] for n in range(len(z)) if n != anchor]
    pull = torch.stack(others).sum(0)
    push = torch.zeros_like(pull)
    for other in others:
        p = (z[anchor] @ other.mT / temperature).softmax(1)
        if exclude_self:
            p = p - p.diagonal().diag()
        push = push + p @ other
    return cosine(pull, push), 1 - pull.norm(dim=-1) / len(others)


def force_conflict(attraction: Tensor, repulsion: Tensor, z: Tensor) -> Tensor:
    """cos(-grad attraction, grad repulsion) by autograd: scalars that depend on leaf `z [..., D] -> [...]`.

    For InfoNCE's half of Eq. 3 this is zeta as printed. Any objective's `terms` carry the two scalars.
    """
    forces = [torch.autograd.grad(t, z, retain_graph=True, materialize_grads=True)[0] for t in (attraction, repulsion)]
    return cosine(-forces[0], forces[1])


def conflict_bound(modalities: int, mean_cosine: Tensor | float) -> Tensor:
    """Corollary 2: the least E[chi] for M modalities whose positives have this mean cosine (Eq. 7)."""
    mu = torch.as_tensor(mean_cosine)
    return 1 - ((1 + (modalities - 2) * mu) / (modalities - 1)).clamp_min(0).sqrt()
