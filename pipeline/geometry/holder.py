"""Global Hölder divergence of M embedding distributions, UniAlign Eq. 20-24, by kernel density estimates.

D = (1/M) sum_m log mean_i s_i^(m)^(M-1) - log mean_i prod_{m != a} mean_k K(z_i^(a), z_k^(m)), all in log space. With
one common width the kernels' constants cancel exactly (the paper: "additive constant"); with a width a modality they
do not, and are included. Only exact densities give D >= 0: this plug-in estimate can be negative, and far more so
with leave-one-out.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.geometry.kernels import BLOCK, log_kernel_means
from pipeline.geometry.precision import full


def holder_terms(
    z: Tensor,
    width: Tensor | float | Sequence[float],
    leave_one_out: bool = False,
    anchors: Sequence[int] = (0,),
    block: int = BLOCK,
) -> tuple[Tensor, Tensor]:
    """The uniformity term and the alignment term (with its sign) of Eq. 24: `z [M, B, D] -> ([], [])`.

    `width`: one for all, or one a modality (a list, or a tensor [M]). `anchors`: the joint estimate is the mean over
    these modalities (Eq. 23 takes the first). `leave_one_out` drops k = i from the within-modality sums of Eq. 22.
    """
    if z.dim() != 3 or z.shape[0] < 2:
        raise ValueError(f"the Hölder divergence needs at least two modalities [M, B, D], got {list(z.shape)}")
    modalities, batch, dimensions = z.shape
    common = not isinstance(width, Sequence) and torch.as_tensor(width).dim() == 0
    each = [width] * modalities if common else list(width)  # type: ignore[arg-type]
    z = full(z)
    widths = [torch.as_tensor(w, dtype=z.dtype, device=z.device) for w in each]
    if len(widths) != modalities or not anchors or any(w.dim() for w in widths):
        raise ValueError(f"need {modalities} widths and an anchor, got {len(widths)} and {len(anchors)}")
    constants = [z.new_zeros(()) if common else -dimensions / 2 * (2 * math.pi * w.square()).log() for w in widths]
    own = []
    for m in range(modalities):
        within = log_kernel_means(z[m], z[m], widths[m], leave_one_out=leave_one_out, block=block) + constants[m]
        own.append(((modalities - 1) * within).logsumexp(0) - math.log(batch))
    joint = []
    for a in anchors:
        across = [
            log_kernel_means(z[a], z[m], widths[m], block=block) + constants[m]
            for m in range(modalities)
            if m != range(modalities)[a]
        ]
        joint.append(torch.stack(across).sum(0))
    together = torch.stack(joint).flatten().logsumexp(0) - math.log(batch * len(anchors))
    return torch.stack(own).mean(), -together


def holder_divergence(
    z: Tensor,
    width: Tensor | float | Sequence[float],
    leave_one_out: bool = False,
    anchors: Sequence[int] = (0,),
    block: int = BLOCK,
) -> Tensor:
    """Eq. 24: `z [M, B, D] -> []`; see `holder_terms` for the settings."""
    uniform, aligned = holder_terms(z, width, leave_one_out, anchors, block)
    return uniform + aligned
