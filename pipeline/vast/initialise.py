"""A start for the new parts in closed form: ridge regressions on the training captions' frozen activations.

Condition tokens begin in the space of the text activations that meet them; the contrastive heads begin at the captions'
principal directions and at regressions to them; output biases at the pieces' frequencies. Few steps can then be spent
on what needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline import low_precision
from pipeline.models.vast import Vast, pool
from pipeline.vast.data import Split

#: Ridge weight relative to the mean eigenvalue.
RIDGE = 0.03
#: Output bias of pieces that no training caption has: the captioner never writes them, so training need not score them
#: (a quarter of a step's time).
NEVER = -1e4


@torch.no_grad()
def initialise(model: Vast, splits: Sequence[Split], lowers: Sequence[Tensor]) -> None:
    """Set `model`'s projections, heads and biases; `lowers`: activations [C, L, width] of each split's captions."""
    features = [split.features(split.clip) for split in splits]
    masks = [(torch.arange(split.ids.shape[1]) < split.lengths[:, None])[:, :, None] for split in splits]
    means = [(lower * mask).float().sum(1) / mask.sum(1) for lower, mask in zip(lowers, masks, strict=True)]
    # Tokens get the pieces' mean and deviation too: attention that was trained on pieces saturates on larger ones.
    pieces = torch.cat([lower[mask[:, :, 0]].float() for lower, mask in zip(lowers, masks, strict=True)])
    # Centred a corpus: what distinguishes clips within a corpus is to be found, not the corpus.
    target = torch.cat([mean - mean.mean(0) for mean in means])
    projections: dict[str, Any] = dict(model.condition.items())
    for modality, projection in projections.items():
        inputs = torch.cat([part[modality].float() for part in features])
        weight, bias = ridge(inputs.flatten(0, 1), target.repeat_interleave(inputs.shape[1], 0))
        projection.linear.weight.copy_(weight)
        projection.linear.bias.copy_(bias)
        projection.norm.weight.copy_(pieces.std(0))
        projection.norm.bias.copy_(pieces.mean(0))
    text = torch.cat([_text(model, lower, split.lengths) for lower, split in zip(lowers, splits, strict=True)])
    heads: Any = model.contrast.heads
    centred = text - text.mean(0)
    directions = torch.linalg.svd(centred, full_matrices=False)[2][: len(heads["text"].weight)]
    common = text.mean(0) / text.mean(0).norm()
    # Without bias, the common direction of all captions must be projected out of the head.
    heads["text"].weight.copy_(directions - (directions @ common)[:, None] * common)
    code = text @ heads["text"].weight.T
    pooled = {name: torch.cat([pool(part)[name] for part in features]) for name in model.condition}
    for name, value in pooled.items():
        heads[name].weight.copy_(ridge(value, code, centre=False)[0])
    for name, parts in model.contrast.joint.items():
        weight, bias = ridge(torch.cat([pooled[part] for part in parts], 1), code)
        heads[f"fused_{name}"].weight.copy_(weight)
        heads[f"fused_{name}"].bias.copy_(bias)
    counts = torch.cat([split.ids.flatten() for split in splits]).bincount(minlength=len(model.bert.bias)).float()
    counts[0] = 0
    model.bert.bias.copy_(torch.where(counts > 0, (counts / counts.sum()).log(), NEVER))


def ridge(inputs: Tensor, target: Tensor, centre: bool = True) -> tuple[Tensor, Tensor]:
    """Weight [E, D] and bias [E] of the ridge regression of target [n, E] on inputs [n, D]."""
    mean_in, mean_out = inputs.mean(0) * centre, target.mean(0) * centre
    x, y = (inputs - mean_in).double(), (target - mean_out).double()
    gram = x.T @ x
    penalty = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weight = torch.linalg.solve(gram + penalty, x.T @ y).T.float()
    return weight, mean_out - weight @ mean_in


def _text(model: Vast, lower: Tensor, lengths: Tensor) -> Tensor:
    with low_precision.autocast(lower.device):
        blocks = zip(lower.split(256), lengths.split(256), strict=True)
        return torch.cat([model.text(block, length).float() for block, length in blocks])
