"""Decoded clips of several corpora as VAST's inputs: pixels and log-mel slices, read from shards by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline import paths
from pipeline.errors import UserError
from pipeline.loop import generator
from pipeline.models.pixels import flipped, prepare
from pipeline.models.released import config
from pipeline.models.spectrograms import heard, vast_slice
from pipeline.settings import Settings
from pipeline.shards import Shard

if TYPE_CHECKING:
    from pandas import DataFrame


class Clips:
    """Clips in the order of the tables given, corpus after corpus; row i is clip i of all of them."""

    def __init__(self, settings: Settings, tables: Mapping[str, DataFrame]) -> None:
        self.settings = settings
        self.size = config(settings).vision.image
        self.where: list[tuple[Path, int, str]] = []
        self.captions: list[list[str]] = []
        self.heard: list[bool] = []
        self.flips: list[bool] = []
        heard = {settings.slices(corpus) for corpus in tables}
        if len(heard) > 1:
            raise UserError(
                f"params/corpora.yaml: {', '.join(tables)}: slices differ ({sorted(heard)}), so that their clips fit "
                "in no batch; give them one number"
            )
        self.slices = max(heard, default=settings.audio.slices)
        for corpus, table in tables.items():
            for clip in table.to_dict("records"):
                self.where.append((paths.shard(settings, corpus, clip["shard"]), int(clip["row"]), clip["clip_id"]))
                self.captions.append([str(caption) for caption in clip["captions"]])
                self.heard.append("audio" in clip["modalities"])
                self.flips.append(settings.geometry(corpus) == "crop")

    def __len__(self) -> int:
        return len(self.where)

    def read(self, row: int) -> tuple[Tensor, Tensor]:
        """Stored frames uint8 [chunks, slots, H, W, 3] and the whole sound int16 [samples] of a clip."""
        shard, place = self._stored(row)
        wave = shard.wave(place) if self.heard[row] else torch.zeros(0, dtype=torch.int16)
        return shard.frames([place])[0], wave

    def inputs(
        self, rows: Sequence[int], frames: int | None = None, draw: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pixels [B, F, 3, S, S] and log-mel slices [B, slices, 1024, bins] of clips.

        `draw` (seed, epoch): training's view, random stored frames, slices and (geometry `crop`) flips, a function of
        (seed, epoch, row); none: the middles. `frames`: fewer than are stored, evenly spread.
        """
        vision, audio = [], []
        for row in rows:
            shard, place = self._stored(row)
            source = None if draw is None else generator(*draw, row)
            pixels = prepare(self._chosen(shard.frames([place])[0], frames, source), self.size)
            vision.append(pixels if source is None or not self.flips[row] else flipped(pixels, source))
            sound = place if self.heard[row] else None
            audio.append(slices(shard, sound, self.slices, self.settings.audio.bins, source))
        return torch.stack(vision), torch.stack(audio)

    def _stored(self, row: int) -> tuple[Shard, int]:
        """The shard that holds a clip, and the clip's row in it."""
        path, place, name = self.where[row]
        shard = _shard(path)
        if place >= len(shard) or shard.ids[place] != name:
            raise UserError(f"{path}: row {place} is not clip '{name}'; delete the shard and decode again")
        return shard, place

    def _chosen(self, stored: Tensor, frames: int | None, source: torch.Generator | None) -> Tensor:
        """Frames [F, H, W, 3] of stored ones [chunks, slots, H, W, 3]."""
        chunks, slots = stored.shape[:2]
        kept = torch.arange(chunks)
        if frames is not None and frames != chunks:
            # As if the clip had been split into `frames` chunks: the middle of each, or in training a random one.
            groups = torch.tensor_split(kept, frames)
            if any(not len(group) for group in groups):
                raise UserError(f"training.frames: {frames} frames asked, media.chunks stores {chunks}")
            places = [
                (len(g) + 1) // 2 - 1 if source is None else int(torch.randint(len(g), (), generator=source))
                for g in groups
            ]
            kept = torch.stack([group[place] for group, place in zip(groups, places, strict=True)])
        slot = (
            torch.zeros(len(kept), dtype=torch.long)
            if source is None
            else torch.randint(slots, (len(kept),), generator=source)
        )
        return stored[kept, slot]


def slices(shard: Shard, row: int | None, count: int, bins: int, source: torch.Generator | None = None) -> Tensor:
    """VAST's log-mel slices [count, 1024, bins] of a stored clip's sound (none: zeros); reads no other part of it."""
    spans = heard(0 if row is None else shard.samples(row), count, source)
    parts = [torch.zeros(0) if row is None else shard.wave(row, start, stop) for start, stop in spans]
    return torch.stack([vast_slice(part, bins) for part in parts])


@lru_cache(maxsize=256)
def _shard(path: Path) -> Shard:
    return Shard(path)
