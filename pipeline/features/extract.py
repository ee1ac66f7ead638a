"""Outputs of a frozen tower on a corpus, cached by the tower's digest.

By split: vision [n, chunks, slots, width] (training clips have several stored frames a chunk, others one), audio
[n, tokens, width], both bf16, zeros for an absent modality; metadata `ids`: clips by split, in the manifest's order,
`manifest`: its digest.
"""

from __future__ import annotations

import torch
from torch import Tensor
from tqdm import tqdm

from pipeline import files, paths
from pipeline.errors import UserError
from pipeline.features import clips
from pipeline.models import audio, efficientnet
from pipeline.models.tower import Tower
from pipeline.settings import Settings

#: Waveforms that pass the audio tower at once.
WAVES = 64


def extract(settings: Settings, modality: str, corpus: str) -> None:
    """Write a corpus's features of one modality; fails on non-finite or constant features."""
    if modality not in ("vision", "audio"):
        raise UserError(f"modality {modality}: expected vision or audio")
    tower: Tower = efficientnet.load(settings) if modality == "vision" else audio.load(settings)
    features: dict[str, Tensor] = {}
    ids: dict[str, list[str]] = {}
    for split in paths.SPLITS:
        table = clips.usable(settings, corpus, split)
        ids[split] = table["clip_id"].tolist()
        blocks: list[Tensor] = [torch.empty(0)] * len(table)
        with tqdm(total=len(table), desc=f"{modality} {corpus} {split}", unit="clip", mininterval=1.0) as bar:
            for places, shard, rows in clips.shards(settings, corpus, table):
                step = WAVES if modality == "audio" else max(settings.vision.batch // settings.media.chunks, 1)
                for start in range(0, len(rows), step):
                    some = rows[start : start + step]
                    batch = shard.audio(some) if modality == "audio" else shard.frames(some)
                    for place, block in zip(places[start:], _encode(tower, batch, modality), strict=False):
                        present = modality in table["modalities"][place]
                        blocks[place] = block if present else torch.zeros_like(block)
                    bar.update(len(some))
        features[split] = torch.stack(blocks)
        _check(features[split], f"{modality} features of {corpus}, split {split}")
    about = {"ids": ids, "tower": paths.tower_digest(settings, modality)}
    about["manifest"] = files.sha256(paths.manifest(settings, corpus))
    files.save_tensors(paths.features(settings, modality, corpus), features, about)


def _encode(tower: Tower, batch: Tensor, modality: str) -> Tensor:
    if modality == "audio":
        return tower.encode(batch)
    n, chunks, slots = batch.shape[:3]
    return tower.encode(batch.flatten(0, 2)).view(n, chunks, slots, -1)


def _check(features: Tensor, what: str) -> None:
    values = features.float().flatten(1)
    if not bool(values.isfinite().all()):
        raise UserError(f"{what}: not finite; delete the tower's weights and make them again")
    if len(values) > 1 and float(values.std(0).max()) < 1e-6:
        raise UserError(f"{what}: all clips have the same features; look at the decoded clips")
