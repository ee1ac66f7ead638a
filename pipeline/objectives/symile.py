"""Symile (Saporta et al. 2024): contrast of multilinear inner products sum_d prod_m z_m[d], each modality as anchor.

`n`: the release shuffles each other modality's rows once; here modality k of the others is shifted by k + 1 rows,
which for a batch in random order is the same draw and needs no random state. `n_squared`: all combinations of rows.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.objectives import settings as options
from pipeline.objectives.inputs import Result, objective, several, summed


def partners(batch: int, others: int, negatives: str, device: torch.device) -> Tensor:
    """Rows of the other modalities that make up each candidate: `[others, candidates]`."""
    rows = torch.arange(batch, device=device)
    if negatives == "n":
        return torch.stack([rows.roll(k + 1) for k in range(others)])
    return torch.cartesian_prod(*[rows] * others).reshape(-1, others).mT


@objective
def symile(
    embeddings: Mapping[str, Tensor],
    fused: Mapping[str, Tensor],
    temperature: Tensor,
    settings: options.Symile,
    same: Tensor | None = None,
) -> Result:
    """Mean over anchors of CE(MIP / T); M >= 2 modalities `[B, D]`; candidates of an anchor: B, or B^(M-1)."""
    z = several(embeddings)
    batch = len(z[0])
    index = partners(batch, len(z) - 1, settings.negatives, z[0].device)
    own = torch.arange(batch, device=index.device)[:, None]
    if settings.negatives == "n":
        right = torch.arange(index.shape[1], device=index.device) == own  # column i is replaced by row i's own tuple
    else:
        right = (index[:, None, :] == own).all(0)
    twins = None if same is None else same[:, index].all(1) & ~right
    positive = torch.stack(z).prod(0).sum(-1) / temperature
    pushes = []
    for a, anchor in enumerate(z):
        others = [z[m] for m in range(len(z)) if m != a]
        candidates = torch.stack([x[rows] for x, rows in zip(others, index, strict=True)]).prod(0)
        logits = torch.where(right, positive[:, None], anchor @ candidates.mT / temperature)
        pushes.append((logits if twins is None else logits.masked_fill(twins, -torch.inf)).logsumexp(1).mean())
    return summed(-positive.mean(), torch.stack(pushes).mean())
