"""Stored embeddings of a corpus as tuples: text, vision and audio of each caption's clip, row by row."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.errors import UserError

MODALITIES = ("text", "vision", "audio")


def read(path: Path, split: str = "test", limit: int | None = None) -> Tensor:
    """Unit embeddings [M, C, D], one row a distinct caption, modalities in the order of `MODALITIES` as far as present.

    A caption that stands by several clips is taken with the first of them: a twin is no negative. Captions of a clip
    that lacks a modality (a row of zeros) are left out; `limit` keeps the first captions. A UserError names a file
    that is missing or lacks the split.
    """
    if not path.is_file():
        raise UserError(f"{path}: missing; embed the run first")
    try:
        with safe_open(path, framework="pt") as stream:
            stored = set(stream.keys())
            clip = stream.get_tensor(f"{split}/text_clip").long()
            found = {
                name: stream.get_tensor(f"{split}/{name}").float() for name in MODALITIES if f"{split}/{name}" in stored
            }
    except SafetensorError as error:
        raise UserError(f"{path}: split {split}: {error}; embed the run again") from None
    z = torch.stack([tensor if name == "text" else tensor[clip] for name, tensor in found.items()])
    z = z[:, z.ne(0).any(-1).all(0)]
    return z[:, distinct(z[0])][:, :limit]


def distinct(rows: Tensor) -> Tensor:
    """Places [n], ascending, of the first of each group of equal rows [C, D]."""
    group = rows.unique(dim=0, return_inverse=True)[1]
    first = torch.full((int(group.max()) + 1 if len(group) else 0,), len(rows))
    return first.scatter_reduce(0, group, torch.arange(len(rows)), "amin").sort().values
