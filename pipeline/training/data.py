"""Batches of pooled features: distinct clips, a random caption of each, a random stored frame of each chunk.

Order and draws are functions of (seed, epoch, row), so that a resumed training sees the same batches. Clips that lack
a modality are left out: an objective of M modalities has no term for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from pipeline.dealing import deal
from pipeline.errors import UserError
from pipeline.loop import batch_indices, generator
from pipeline.pooled import read


@dataclass(frozen=True)
class TrainSet:
    """n clips with their captions in a row: those of clip i are `text[first[i] : first[i] + count[i]]`.

    `text` [C, Dt], `equal` [C] (captions with the same text share a number), `items`: modality → [n, chunks, slots, D]
    or [n, D]; `sizes`: captions a corpus; `incomplete`: clips left out.
    """

    text: Tensor
    equal: Tensor
    first: Tensor
    count: Tensor
    items: dict[str, Tensor]
    sizes: tuple[int, ...]
    incomplete: int

    def widths(self) -> dict[str, int]:
        """Features a modality."""
        return {"text": self.text.shape[1]} | {name: tensor.shape[-1] for name, tensor in self.items.items()}

    def batch(self, size: int, seed: int, step: int) -> tuple[dict[str, Tensor], Tensor]:
        """Features [size, width] by modality, text first, and the batch's `equal` numbers [size]."""
        n = len(self.first)
        rows = batch_indices(n, size, seed, step)
        epoch = step // (n // size)
        captions = self.first[rows] + (_draws(n, 1, seed, epoch, 0)[rows, 0] * self.count[rows]).long()
        features = {"text": self.text[captions]}
        for key, (name, tensor) in enumerate(self.items.items(), start=1):
            features[name] = _drawn(tensor, rows, seed, epoch, key)
        return features, self.equal[captions]

    def dealt(self, seed: int) -> TrainSet:
        """The same clips with captions of others of their corpus."""
        clip = torch.repeat_interleave(self.count)
        parts = torch.arange(len(clip)).split(list(self.sizes))
        order = torch.cat(
            [rows[deal(self.equal[rows], clip[rows], generator(seed, 7, k))] for k, rows in enumerate(parts)]
        )
        return replace(self, text=self.text[order], equal=self.equal[order])


def load(files: Sequence[Path], modalities: Sequence[str]) -> TrainSet:
    """The train splits of several corpora in a row."""
    splits = [read(file, "train", modalities) for file in files]
    offsets = torch.tensor([0] + [len(split.ids) for split in splits]).cumsum(0)
    clip = torch.cat([split.clip + offset for split, offset in zip(splits, offsets, strict=False)])
    text = torch.cat([split.text for split in splits])
    items = {}
    for name in splits[0].items:
        shapes = {tuple(split.items[name].shape[1:]) for split in splits}
        if len(shapes) > 1:
            raise UserError(f"{files[0].parent}: {name} has shapes {sorted(shapes)}; train corpora of one shape")
        items[name] = torch.cat([split.items[name] for split in splits])

    whole = torch.bincount(clip, minlength=int(offsets[-1])) > 0
    for tensor in items.values():
        whole &= tensor.flatten(1).any(1)
    kept = whole[clip]
    text, clip = text[kept], (whole.cumsum(0) - 1)[clip[kept]]
    order = clip.argsort(stable=True)
    text, count = text[order], torch.bincount(clip, minlength=int(whole.sum()))
    if not whole.all():
        items = {name: tensor[whole] for name, tensor in items.items()}
    equal = torch.unique(text, dim=0, return_inverse=True)[1]
    sizes = tuple(int(part.sum()) for part in kept.split([len(split.text) for split in splits]))
    return TrainSet(text, equal, count.cumsum(0) - count, count, items, sizes, int((~whole).sum()))


def _drawn(tensor: Tensor, rows: Tensor, seed: int, epoch: int, key: int) -> Tensor:
    """Mean over the chunks of one drawn slot each: [B, D]."""
    if tensor.ndim == 2:
        return tensor[rows]
    n, chunks, slots, width = tensor.shape
    slot = (_draws(n, chunks, seed, epoch, key)[rows] * slots).long()
    chunk = rows[:, None] * chunks + torch.arange(chunks)
    return embedding_bag(chunk * slots + slot, tensor.view(-1, width), mode="mean")


@lru_cache(maxsize=8)
def _draws(n: int, columns: int, seed: int, epoch: int, key: int) -> Tensor:
    """Uniform draws [n, columns] in [0, 1) of an epoch."""
    return torch.rand(n, columns, generator=generator(seed, epoch, 1, key))
