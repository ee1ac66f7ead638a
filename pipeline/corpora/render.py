"""Stage `render`: recipes become real H.264 + AAC mp4 files, several clips an ffmpeg process.

A finished file carries the digest of its recipe as its comment and is renamed to its place when whole: on a second run
it is kept if the digest still fits. Files are filled up with an empty `free` box to a multiple of 48 KiB, or their
sizes would tell something of their contents. A clip that cannot be made is a row with status `render_error`, never a
crash.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
from tqdm import tqdm

from pipeline import ffmpeg_process, parquet, paths
from pipeline.corpora import scenes_media, stamps_media
from pipeline.digests import code_digest, digest
from pipeline.errors import UserError
from pipeline.settings import Media, Settings

BATCH = 16
"""Clips an ffmpeg process."""
SIZE = 48 * 1024
"""Bytes that a file's size is a multiple of."""
TIME_LIMIT = 30.0
"""Seconds that encoding one clip may take."""
COMPOSE: dict[str, Callable[[dict[str, Any], Media], tuple[np.ndarray, np.ndarray]]] = {
    "scenes": scenes_media.compose,
    "stamps": stamps_media.compose,
}


@dataclass(frozen=True)
class Job:
    """A clip to render: its recipe, the comment that its file must carry, its place."""

    clip_id: str
    recipe: str
    mark: str
    path: Path


def render(settings: Settings, corpus: str, shard: str) -> None:
    """Render a shard's clips and write `rendered/<shard>.parquet` (clip_id, sha256, status, reason)."""
    import pandas

    table = parquet.read(paths.plan(settings, corpus))
    table = table[table["shard"] == shard]
    if not len(table):
        raise UserError(
            f"{paths.plan(settings, corpus)}: no shard '{shard}'; there are {', '.join(paths.shards(settings, corpus))}"
        )
    folder = paths.media(settings, corpus)
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f".{shard}-*"):  # of a run that was killed
        shutil.rmtree(left)
    code = code_digest("pipeline.corpora.render")
    form = settings.media.model_dump(include={"seconds", "frames_per_second", "size", "sample_rate"})
    jobs = [
        Job(str(name), str(recipe), digest([recipe, form, code], 32), folder / f"{name}.mp4")
        for name, recipe in zip(table["clip_id"], table["recipe"], strict=True)
    ]
    outcome: dict[str, tuple[str, str, str]] = {}
    with tqdm(total=len(jobs), unit="clip", desc=f"render {corpus} {shard}", mininterval=2) as bar:
        for start in range(0, len(jobs), BATCH):
            batch = jobs[start : start + BATCH]
            outcome |= _batch(batch, settings.media, folder / f".{shard}-")
            bar.update(len(batch))
    rows = [
        {"clip_id": name, "sha256": sha, "status": status, "reason": why}
        for name, (sha, status, why) in outcome.items()
    ]
    parquet.write(paths.rendered(settings, corpus, shard), pandas.DataFrame(rows))


def _batch(jobs: list[Job], media: Media, prefix: Path) -> dict[str, tuple[str, str, str]]:
    """Outcome (sha256, status, reason) of each job; `prefix` is that of the scratch folder."""
    errors: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix=prefix.name, dir=prefix.parent) as name:
        scratch = Path(name)
        pending = []
        for job in jobs:
            if _kept(job):
                continue
            try:
                recipe = json.loads(job.recipe)
                frames, wave = COMPOSE[recipe["kind"]](recipe, media)
                frames.tofile(scratch / f"{job.clip_id}.rgb")
                wave.tofile(scratch / f"{job.clip_id}.pcm")
                pending.append(job)
            except Exception as error:  # whatever a recipe does, it costs its own clip only
                errors[job.clip_id] = f"{type(error).__name__}: {error}"
        try:
            _encode(pending, media, scratch)
        except ffmpeg_process.FfmpegError:
            for job in pending:
                try:
                    _encode([job], media, scratch)
                except ffmpeg_process.FfmpegError as error:
                    errors[job.clip_id] = f"ffmpeg: {error}"
    outcome = {}
    for job in jobs:
        if job.clip_id in errors:
            outcome[job.clip_id] = ("", "render_error", errors[job.clip_id])
        else:
            outcome[job.clip_id] = (hashlib.sha256(job.path.read_bytes()).hexdigest(), "ok", "")
    return outcome


def _kept(job: Job) -> bool:
    return job.path.is_file() and job.mark.encode() in job.path.read_bytes()


def _encode(jobs: list[Job], media: Media, scratch: Path) -> None:
    """Encode the jobs' raw frames and sounds in one process and rename the files to their places."""
    if not jobs:
        return
    outputs = []
    for job in jobs:
        pixels = ffmpeg.input(
            str(scratch / f"{job.clip_id}.rgb"),
            format="rawvideo",
            pixel_format="rgb24",
            video_size=(media.size, media.size),
            framerate=media.frames_per_second,
            threads=1,
        )
        wave = ffmpeg.input(str(scratch / f"{job.clip_id}.pcm"), format="s16le", ar=media.sample_rate, ac=1)
        outputs.append(
            ffmpeg.output(
                pixels.video,
                wave.audio,
                str(scratch / f"{job.clip_id}.mp4"),
                vcodec="libx264",
                preset="ultrafast",
                crf=28,
                pix_fmt="yuv420p",
                threads=1,
                acodec="aac",
                audio_bitrate="48k",
                aac_coder="fast",
                map_metadata=-1,
                metadata=f"comment={job.mark}",
                fflags="+bitexact",
                flags="+bitexact",
            )
        )
    ffmpeg_process.run(outputs, TIME_LIMIT + len(jobs))
    for job in jobs:
        made = scratch / f"{job.clip_id}.mp4"
        with made.open("ab") as stream:
            stream.write(_free_box(stream.tell()))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(made, job.path)


def _free_box(size: int) -> bytes:
    """An mp4 box without content (length, "free", zeros) that fills a file of `size` bytes up."""
    length = 8 + (-size - 8) % SIZE
    return length.to_bytes(4, "big") + b"free" + bytes(length - 8)
