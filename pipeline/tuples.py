"""Stored embeddings of a corpus as tuples: text, vision and audio of each caption's clip, row by row."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.errors import UserError

MODALITIES = ("text", "vision", "audio")


def read(path: Path, split: str = "test", limit: int | None = None) -> Tensor:
    """Unit embeddings [M, C, D], one row a caption, modalities in the order of `MODALITIES` as far as there are.

    Captions of a clip that lacks a modality (a row of zeros) are left out; `limit` keeps the first captions. A
    UserError names a file that is missing or lacks the split.
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
    whole = z.ne(0).any(-1).all(0)
    return z[:, whole][:, :limit]
