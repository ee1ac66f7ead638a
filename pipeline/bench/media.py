"""Decoding, isolation and shards beside their peers (issue 4): the same work on both sides.

The work: 8 resized frames and the 16 kHz mono sound of each of some generated 10 s clips (H.264, AAC). `decode/decord`,
`decode/pyav`: our reader, which also checks digest, length and shape, beside the library alone. `shards/decode`:
reading the decoded clips from a shard (raw and archive) beside decoding them. Both sides of these have one core.
`two_processes/one`: two processes with half of the clips each, as two jobs have a shard each, beside one with all.
`isolation`: frames alone by one worker process, beside the same calls in this process.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch  # counts its threads when it is imported: not on one core, or later areas had one

from pipeline.bench.compare import record
from pipeline.ffmpeg_process import binary
from pipeline.files import sha256, write_json
from pipeline.media.frames import pick
from pipeline.media.video import read_frames
from pipeline.media.waves import read_waves
from pipeline.media.workers import Failure, Workers
from pipeline.shards import Shard, Writer

FRAMES, SIZE, RATE = 8, 224, 16_000
SECONDS, FPS = 10, 25
SHAPES = {"240p": (320, 240), "720p": (1280, 720)}
#: Clips and pairs: a 720p clip takes a second.
SIZES = {"240p": (8, 12), "720p": (4, 6)}
LIMIT = 60.0


def generate(folder: Path, shape: str, count: int) -> list[Path]:
    """Clips of one shape, of moving pictures with noise and a tone with noise."""
    width, height = SHAPES[shape]
    files = []
    for number in range(count):
        path = folder / f"{shape}-{number}.mp4"
        picture = f"testsrc2=size={width}x{height}:rate={FPS}:duration={SECONDS},noise=alls=8:allf=t:all_seed={number}"
        tone = f"0.2*sin({2 * (220 + 20 * number)}*PI*t)+0.05*(2*random(0)-1)"
        sound = f"aevalsrc=exprs={tone}:duration={SECONDS}:sample_rate=44100"
        command = [binary(), "-v", "error", "-y", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
        command += ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac", str(path)]
        subprocess.run(command, check=True)
        files.append(path)
    return files


def tasks(files: list[Path]) -> list[tuple[Any, ...]]:
    """Arguments of `read_frames`, with the digests known as the decode stage knows them."""
    return [(str(f), sha256(f), FRAMES, 1, SIZE, 0, number, SECONDS * FPS) for number, f in enumerate(files)]


def ours(files: list[Path], work: list[tuple[Any, ...]]) -> list[Any]:
    """Our frames and sounds, in this process."""
    return [[read_frames(*task) for task in work], read_waves(files, RATE, LIMIT)]


def decord_alone(files: list[Path]) -> list[Any]:
    """decord's frames and its resampled sound, unchecked."""
    import decord

    found = []
    for file in files:
        video = decord.VideoReader(str(file), width=SIZE, height=SIZE, num_threads=1)
        frames = video.get_batch(pick(len(video), FRAMES)).asnumpy()
        sound = decord.AudioReader(str(file), sample_rate=RATE, mono=True)[:].asnumpy()
        found.append((frames, sound))
    return found


def pyav_alone(files: list[Path]) -> list[Any]:
    """PyAV's frames (a seek each) and its resampled sound, unchecked."""
    import av

    found = []
    for file in files:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            base, rate = stream.time_base, stream.average_rate
            frames = []
            for index in pick(stream.frames, FRAMES):
                wanted = int(index / rate / base)  # type: ignore[operator]
                container.seek(wanted, stream=stream)
                frame = next(f for f in container.decode(stream) if f.pts is not None and f.pts >= wanted)
                frames.append(frame.reformat(SIZE, SIZE, "rgb24").to_ndarray())
        with av.open(str(file)) as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            parts = [part.to_ndarray() for f in container.decode(audio=0) for part in resampler.resample(f)]
        found.append((np.stack(frames), np.concatenate(parts, axis=1)))
    return found


@contextmanager
def one_core() -> Iterator[None]:
    """This thread, and the processes and threads that it starts meanwhile, on one core, where two would spin."""
    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {min(before)})
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        os.sched_setaffinity(0, before)


def decoded(files: list[Path], work: list[tuple[Any, ...]]) -> int:
    """How many sounds of some clips a worker process reads after their frames."""
    return sum(isinstance(wave, np.ndarray) for wave in ours(files, work)[1])


def pooled(workers: Workers, work: list[tuple[Any, ...]]) -> list[Any]:
    """Results of tasks by a pool of worker processes that is already up; none may fail."""
    found = [result for _, result in workers.map(enumerate(work))]
    assert not any(isinstance(result, Failure) for result in found), found
    return found


def shard(folder: Path, kind: str, files: list[Path], work: list[tuple[Any, ...]]) -> Shard:
    """The clips decoded into a shard."""
    path = folder / f"shard.{kind}"
    samples = SECONDS * RATE
    writer = Writer(path, "bench", RATE, samples)
    for file, task, wave in zip(files, work, read_waves(files, RATE, LIMIT), strict=True):
        assert isinstance(wave, np.ndarray)
        writer.add(file.stem, read_frames(*task)[0], np.resize(wave, samples))
    writer.close()
    return Shard(path)


def from_shard(stored: Shard) -> Any:
    """All clips of a shard, one after the other."""
    return [(stored.frames([row]), stored.audio([row])) for row in range(len(stored))]


def main(path: Path, quick: bool = False) -> None:
    """Run all comparisons and write the records."""
    peers: dict[str, Callable[[list[Path]], Any]] = {"decord": decord_alone, "pyav": pyav_alone}
    records = []
    with tempfile.TemporaryDirectory(prefix="bench-media-") as name:
        folder = Path(name)
        for shape in SHAPES:
            count, pairs = (2, 3) if quick else SIZES[shape]
            files = generate(folder, shape, count)
            work, params = tasks(files), {"shape": shape, "clips": count, "frames": FRAMES, "seconds": SECONDS}
            mine = partial(ours, files, work)
            halves = [(files[half::2], work[half::2]) for half in (0, 1)]
            with Workers(decoded, 1, LIMIT) as one, Workers(decoded, 2, LIMIT) as two:
                single, double = partial(pooled, one, halves), partial(pooled, two, halves)
                records.append(record("two_processes/one", params, double, single, "one worker process", 2 * pairs))
            with Workers(read_frames, 1, LIMIT) as worker:
                isolated, alone = partial(pooled, worker, work), partial(_here, work)
                records.append(record("isolation", params, isolated, alone, "the same calls in this process", pairs))
            with one_core():
                for peer, call in peers.items():
                    records.append(record(f"decode/{peer}", params, mine, partial(call, files), peer, pairs))
                for kind in ("safetensors", "tar"):
                    read = partial(from_shard, shard(folder, kind, files, work))
                    described = params | {"storage": kind}
                    records.append(record("shards/decode", described, read, mine, "decoding the clips", pairs))
    write_json(path, records)


def _here(work: list[tuple[Any, ...]]) -> list[Any]:
    return [read_frames(*task) for task in work]
