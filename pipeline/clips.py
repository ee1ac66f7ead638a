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
from pipeline.models.pixels import prepare, random_crop
from pipeline.models.released import config
from pipeline.models.spectrograms import vast_slices
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
        #: Samples that a clip lasts: shards pad all sounds to one length, and silence would shift VAST's middle slice.
        self.samples: list[int] = []
        for corpus, table in tables.items():
            for clip in table.to_dict("records"):
                self.where.append((paths.shard(settings, corpus, clip["shard"]), int(clip["row"]), clip["clip_id"]))
                self.captions.append([str(caption) for caption in clip["captions"]])
                self.heard.append("audio" in clip["modalities"])
                self.samples.append(round(float(clip["duration"]) * settings.media.sample_rate))

    def __len__(self) -> int:
        return len(self.where)

    def read(self, row: int) -> tuple[Tensor, Tensor]:
        """Stored frames uint8 [chunks, slots, H, W, 3] and the sound int16 [samples] of a clip, of its own length."""
        path, place, name = self.where[row]
        shard = _shard(path)
        if place >= len(shard) or shard.ids[place] != name:
            raise UserError(f"{path}: row {place} is not clip '{name}'; delete the shard and decode again")
        wave = shard.audio([place])[0] if self.heard[row] else torch.zeros(0, dtype=torch.int16)
        return shard.frames([place])[0], wave[: self.samples[row]]

    def inputs(
        self, rows: Sequence[int], frames: int | None = None, draw: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pixels [B, F, 3, S, S] and log-mel slices [B, slices, 1024, bins] of clips.

        `draw` (seed, epoch): training's view, random stored frames, crops (geometry `crop`) and slices, a function of
        (seed, epoch, row); none: the middles. `frames`: fewer than are stored, evenly spread.
        """
        vision, audio = [], []
        for row in rows:
            stored, wave = self.read(row)
            source = None if draw is None else generator(*draw, row)
            vision.append(self._pixels(stored, frames, source))
            audio.append(vast_slices(wave, self.settings.audio.slices, source, self.settings.audio.bins))
        return torch.stack(vision), torch.stack(audio)

    def _pixels(self, stored: Tensor, frames: int | None, source: torch.Generator | None) -> Tensor:
        """[F, 3, S, S] of stored frames [chunks, slots, H, W, 3]."""
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
        chosen = stored[kept, slot]
        geometry = self.settings.vision.geometry
        if source is not None and geometry == "crop":
            return random_crop(chosen, self.size, source)
        return prepare(chosen, self.size, geometry)


@lru_cache(maxsize=256)
def _shard(path: Path) -> Shard:
    return Shard(path)
