"""Features at paper scale, by the towers that the stage vast takes out of the released checkpoint.

The features are resumed a shard: a shard that is done lies in `state/`. Features of vision [n, chunks, slots, width]
and of audio [n, 1, width] have the layout of mini's (pipeline/features/extract.py).
"""

from __future__ import annotations

import shutil

import torch
from torch import Tensor
from tqdm import tqdm

from pipeline import files, low_precision, manifest, paths
from pipeline.clips import slices
from pipeline.digests import code_digest, digest
from pipeline.errors import UserError
from pipeline.features import clips
from pipeline.models import released
from pipeline.settings import Settings

MODALITIES = ("vision", "audio")


def extract(settings: Settings, modality: str, corpus: str) -> None:
    """Write a corpus's features of one modality."""
    if modality not in MODALITIES:
        raise UserError(f"modality {modality}: expected vision or audio")
    tower = released.tower(settings, modality)
    name = paths.tower_digest(settings, modality)
    path = paths.manifest(settings, corpus)
    whole = manifest.read(path)
    made_of = [files.sha256(file) for file in (path, paths.tower_weights(settings, modality))]
    precision = low_precision.name("auto", released.device())
    code = code_digest("pipeline.features.released")
    heard = settings.slices(corpus)
    key = digest([*made_of, paths.decode_digest(settings, corpus), heard, precision, code])
    state = paths.state(settings, "features", name, f"{corpus}-{key}")
    features: dict[str, Tensor] = {}
    ids: dict[str, list[str]] = {}
    for split in paths.SPLITS:
        table = manifest.usable(whole, split)
        if not len(table):
            raise UserError(f"{path}: no usable clip in split {split}; see the reasons in its rows")
        ids[split] = table["clip_id"].tolist()
        blocks: list[Tensor] = [torch.empty(0)] * len(table)
        for number, (places, shard, rows) in enumerate(clips.shards(settings, corpus, table)):
            part = state / f"{split}-{number:04d}.safetensors"
            if not part.is_file():
                step = (
                    max(settings.vision.batch // settings.media.chunks, 1)
                    if modality == "vision"
                    else settings.audio.batch
                )
                starts = tqdm(range(0, len(rows), step), f"{modality} {corpus} {split} {number}", mininterval=2.0)
                sounds = ["audio" in table["modalities"][place] for place in places]
                found = [
                    _encode(tower, shard, rows[some], sounds[some], heard, settings.audio.bins)
                    for some in (slice(start, start + step) for start in starts)
                ]
                files.save_tensors(part, {"features": torch.cat(found)})
            for place, block in zip(places, files.load_tensors(part)["features"], strict=True):
                blocks[place] = block
        features[split] = torch.stack(blocks)
        if not bool(features[split].isfinite().all()):
            raise UserError(f"{modality} features of {corpus}, split {split}: not finite; check the tower's weights")
    about = {"ids": ids, "tower": name, "manifest": made_of[0]}
    files.save_tensors(paths.features(settings, modality, corpus), features, about)
    shutil.rmtree(state, ignore_errors=True)


def _encode(
    tower: released.FrozenVision | released.FrozenAudio,
    shard: clips.Shard,
    rows: list[int],
    heard: list[bool],
    count: int,
    bins: int,
) -> Tensor:
    """Features of some clips of a shard; audio features of a clip without sound are zeros."""
    if isinstance(tower, released.FrozenVision):
        frames = shard.frames(rows)
        return tower.encode(frames.flatten(0, 2)).view(*frames.shape[:3], -1)
    mel = [slices(shard, row if sounds else None, count, bins) for row, sounds in zip(rows, heard, strict=True)]
    return tower.encode(torch.stack(mel)) * torch.tensor(heard)[:, None, None]
