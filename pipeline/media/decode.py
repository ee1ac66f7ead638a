"""Stage `decode`: a shard's media files become frames and waveforms, and each clip a row that says how it went.

Frames come from decord in worker processes under a time limit, sound from ffmpeg, many clips a process. What comes back
is checked: file digest, number and shape of frames, length of the sound (decoders shorten damaged files silently).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
from tqdm import tqdm

from pipeline import parquet, paths
from pipeline.errors import UserError
from pipeline.media.video import read_frames
from pipeline.media.waves import NoAudio, read_waves
from pipeline.media.workers import Failure, Workers
from pipeline.settings import Settings
from pipeline.shards import Writer

BATCH = 32
"""Clips an ffmpeg process."""
SHORTER = 0.1
"""Seconds by which a sound may be shorter than its clip's plan."""


def decode(settings: Settings, corpus: str, shard: str, reader: Any = read_frames, workers: int | None = None) -> None:
    """Write a shard and its table (clip_id, status, reason, duration, row); rows of bad clips are -1.

    `reader` is `read_frames`, or a stand-in for it in tests. `workers`: processes, no more than the job's cores, since
    a clip's time limit is one of the clock; none: the setting.
    """
    media = settings.media
    table = _clips(settings, corpus, shard)
    samples = round(media.seconds * media.sample_rate)
    name = paths.decode_digest(settings, corpus)
    writer = Writer(paths.shard(settings, corpus, shard), name, media.sample_rate, samples)
    outcome: list[dict[str, Any]] = []
    with (
        Workers(reader, workers or media.workers, media.time_limit) as readers,
        tqdm(total=len(table), unit="clip", desc=f"decode {corpus} {shard}", mininterval=2) as bar,
    ):
        for start in range(0, len(table), BATCH):
            batch = table[start : start + BATCH]
            outcome += _batch(settings, corpus, shard, batch, readers, writer)
            bar.update(len(batch))
    writer.close()
    parquet.write(paths.decoded(settings, corpus, shard), pandas.DataFrame(outcome))


def _clips(settings: Settings, corpus: str, shard: str) -> list[dict[str, Any]]:
    plan, rendered = paths.plan(settings, corpus), paths.rendered(settings, corpus, shard)
    table = parquet.read(plan)[["index", "clip_id", "shard", "duration"]]
    table = table[table["shard"] == shard].merge(parquet.read(rendered), on="clip_id", how="left", validate="1:1")
    if not len(table):
        raise UserError(f"{plan}: no shard '{shard}'; there are {', '.join(paths.shards(settings, corpus))}")
    unknown = table[table["status"].isna()]
    if len(unknown):
        raise UserError(f"{rendered}: clip '{unknown.clip_id.iloc[0]}' is missing; delete the file and run again")
    folder = paths.media(settings, corpus)
    return [
        {str(k): v for k, v in row.items()} | {"path": folder / f"{row['clip_id']}.mp4"}
        for row in table.to_dict("records")
    ]


def _batch(
    settings: Settings, corpus: str, shard: str, batch: list[dict[str, Any]], workers: Workers, writer: Writer
) -> list[dict[str, Any]]:
    media = settings.media
    slots = media.train_slots if shard.startswith("train-") else 1
    for clip in batch:
        if clip["status"] == "ok" and not clip["path"].is_file():
            clip["status"], clip["reason"] = "gone", "the media file is missing"
    usable = {clip["clip_id"]: clip for clip in batch if clip["status"] == "ok"}
    frames = dict(
        workers.map(
            (
                name,
                (
                    str(c["path"]),
                    c["sha256"],
                    media.chunks,
                    slots,
                    media.size,
                    settings.seed,
                    int(c["index"]),
                    _expected(settings, c),
                    settings.geometry(corpus),
                ),
            )
            for name, c in usable.items()
        )
    )
    readable: list[str] = []
    for name, clip in usable.items():
        result = frames[name]
        if isinstance(result, Failure):
            clip["status"], clip["reason"] = "decode_error", result.reason
        else:
            readable.append(name)
    files: list[Path] = [usable[name]["path"] for name in readable]
    heard = read_waves(files, media.sample_rate, media.time_limit, media.channels, media.seconds)
    waves = dict(zip(readable, heard, strict=True))
    rows = []
    for clip in batch:
        row, duration = -1, float(clip["duration"])
        if clip["clip_id"] in waves:
            pixels, duration = frames[clip["clip_id"]]
            wave = _checked(clip, waves[clip["clip_id"]], media.sample_rate)
            if wave is not None:
                row = writer.add(clip["clip_id"], pixels, wave)
        rows.append({key: clip[key] for key in ("clip_id", "status", "reason")} | {"duration": duration, "row": row})
    return rows


def _expected(settings: Settings, clip: dict[str, Any]) -> int:
    return round(float(clip["duration"]) * settings.media.frames_per_second)


def _checked(clip: dict[str, Any], wave: np.ndarray | Exception, rate: int) -> np.ndarray | None:
    """The waveform, empty if there is no sound; none (and a status) if it cannot be trusted.

    A rendered clip's sound is as long as its plan says; of other people's clips the fetch has compared the sound with
    what its container declares.
    """
    if isinstance(wave, NoAudio):
        clip["status"], clip["reason"] = "no_audio", str(wave)
        return np.zeros(0, dtype=np.int16)
    if isinstance(wave, Exception):
        clip["status"], clip["reason"] = "decode_error", f"sound: {wave}"
        return None
    planned = float(clip["duration"])
    if len(wave) < (planned - SHORTER) * rate:
        clip["status"] = "decode_error"
        clip["reason"] = f"sound of {len(wave) / rate:.2f} s in a clip of {planned:.2f} s"
        return None
    if not len(wave):
        clip["status"], clip["reason"] = "no_audio", "its audio stream holds no sample"
    return wave
