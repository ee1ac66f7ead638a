"""The initial model's view of a split: frozen activations, [CLS], unit embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline import low_precision
from pipeline.models.vast import Vast, pool
from pipeline.vast.data import Split

BLOCK = 256


@torch.no_grad()
def lower(model: Vast, split: Split, dtype: torch.dtype | None = None) -> Tensor:
    """Activations [C, L, width] of all captions after the frozen layers; equal captions are computed once.

    Without a dtype in bf16 where the processor multiplies it.
    """
    dtype = dtype or low_precision.chosen("auto", split.ids.device)
    rows = split.distinct()
    ids, lengths = split.ids[rows], split.lengths[rows]
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        parts = [
            model.lower(block, length).to(dtype)
            for block, length in zip(ids.split(BLOCK), lengths.split(BLOCK), strict=True)
        ]
    return torch.cat(parts)[split.number]


@torch.no_grad()
def text(model: Vast, split: Split, activations: Tensor | None = None) -> Tensor:
    """[CLS] [C, width] of all captions, fp32; equal captions have equal rows."""
    activations = lower(model, split) if activations is None else activations
    rows = split.distinct()
    parts = []
    with low_precision.autocast(activations.device):
        for block in rows.split(BLOCK):
            longest = int(split.lengths[block].max())
            parts.append(model.text(activations[block, :longest], split.lengths[block]).float())
    return torch.cat(parts)[split.number]


@torch.no_grad()
def embeddings(model: Vast, split: Split, activations: Tensor | None = None) -> dict[str, Tensor]:
    """Unit embeddings: text [C, D], vision, audio and fused_v, fused_a, fused_va [n, D]."""
    items = pool(split.features(torch.arange(len(split.clips))))
    with torch.autocast("cpu", enabled=False):
        found, fused = model.contrast({"text": text(model, split, activations), **items})
    return found | {f"fused_{name}": value for name, value in fused.items()}
