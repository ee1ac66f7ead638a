"""Pooled features of a corpus by the initial model: what the runs train on and what they embed.

One file a corpus, written by the stage `vast`; by split: `text-<split>` [C, Dt], one row a caption, `text-clip-<split>`
[C], the row of the clip it describes, `<modality>-<split>` [n, chunks, slots, D] (stored frames) or [n, D]; metadata
`ids`: clips by split, and `origin`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline import paths, written
from pipeline.errors import UserError
from pipeline.files import load_metadata, sha256
from pipeline.settings import Settings


@dataclass(frozen=True)
class Pooled:
    """A split: n clip ids, text [C, Dt], clip [C] (rows of clips), items: [n, chunks, slots, D] or [n, D] each."""

    ids: list[str]
    text: Tensor
    clip: Tensor
    items: dict[str, Tensor]

    def features(self) -> dict[str, Tensor]:
        """Features a model sees in evaluation: text [C, Dt], every other modality [n, D]."""
        return {"text": self.text} | {name: dense(tensor) for name, tensor in self.items.items()}

    def equal(self) -> Tensor:
        """[C] numbers; captions with the same text (hence the same features) share one."""
        return torch.unique(self.text, dim=0, return_inverse=True)[1]

    def hits(self) -> Tensor:
        """[C, n] bool: which clips a caption describes, itself or by an equal caption of theirs."""
        equal = self.equal()
        owns = torch.zeros(int(equal.max()) + 1, len(self.ids), dtype=torch.bool)
        owns[equal, self.clip] = True
        return owns[equal]


def dense(tensor: Tensor) -> Tensor:
    """Mean over the chunks' first slots: [n, chunks, slots, D] -> [n, D]; [n, D] as it is."""
    return tensor[:, :, 0].mean(1) if tensor.ndim == 4 else tensor


def read(path: Path, split: str, modalities: Sequence[str]) -> Pooled:
    """Read a split in float32; a UserError names the file and the tensor that is missing or of another length."""
    if not path.is_file():
        raise UserError(f"{path}: missing; run the stage pool first")
    try:
        ids = load_metadata(path)["ids"][split]
        with safe_open(path, framework="pt") as stream:
            text, clip = stream.get_tensor(f"text-{split}").float(), stream.get_tensor(f"text-clip-{split}")
            names = [name for name in modalities if name != "text"]
            items = {name: stream.get_tensor(f"{name}-{split}").float() for name in names}
    except (SafetensorError, KeyError) as error:
        raise UserError(f"{path}: split {split}: {error}; run the stage pool again") from None
    lengths: Mapping[str, int] = {name: len(tensor) for name, tensor in items.items()}
    for name, length in lengths.items():
        if length != len(ids):
            raise UserError(f"{path}: {name}-{split} has {length} rows for {len(ids)} clips; run the stage pool again")
    if len(text) != len(clip) or len(clip) == 0 or int(clip.max()) >= len(ids):
        raise UserError(f"{path}: text-{split} and text-clip-{split} do not fit {len(ids)} clips; run pool again")
    return Pooled(ids, text, clip, items)


def origin(settings: Settings, corpus: str, initial: str) -> dict[str, str]:
    """What the file is made of: digests of the manifest and of the initial model's weights; a UserError names a gap."""
    sources = {"manifest": paths.manifest(settings, corpus)}
    sources["model"] = paths.model(settings, initial, 0) / "weights.safetensors"
    for name, path in sources.items():
        if not path.is_file():
            raise UserError(f"{path}: missing; run the stage {'manifest' if name == 'manifest' else initial} first")
    return {"manifest": written.digest(settings, corpus), "model": sha256(sources["model"])}
