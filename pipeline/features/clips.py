"""Decoded clips of a corpus in the order of its manifest, read from its shards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline import manifest, paths
from pipeline.errors import UserError
from pipeline.settings import Settings
from pipeline.shards import Shard

if TYPE_CHECKING:
    from pandas import DataFrame


def usable(settings: Settings, corpus: str, split: str) -> DataFrame:
    """The split's usable clips, in the manifest's order; a UserError if there is none."""
    path = paths.manifest(settings, corpus)
    table = manifest.usable(manifest.read(path), split)
    if not len(table):
        raise UserError(f"{path}: no usable clip in split {split}; see the reasons in its rows")
    return table


def shards(settings: Settings, corpus: str, table: DataFrame) -> Iterator[tuple[list[int], Shard, list[int]]]:
    """(places in the table, shard, rows in the shard) for each shard that holds clips of the table."""
    for name, part in table.groupby("shard", sort=False):
        shard = Shard(paths.shard(settings, corpus, str(name)))
        rows = part["row"].tolist()
        for clip, row in zip(part["clip_id"], rows, strict=True):
            if row >= len(shard) or shard.ids[row] != clip:
                raise UserError(f"{shard.path}: row {row} is not clip '{clip}'; delete the shard and decode again")
        yield part.index.tolist(), shard, rows


def waves(settings: Settings, corpus: str, table: DataFrame) -> Tensor:
    """Waveforms int16 [n, samples] of the table's clips, in its order."""
    places, blocks = [], []
    for place, shard, rows in shards(settings, corpus, table):
        places += place
        blocks.append(shard.audio(rows))
    return torch.cat(blocks)[torch.tensor(places).argsort()]
