"""Waveforms out of media files by ffmpeg; imports no torch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import ffmpeg
import numpy as np

from pipeline.ffmpeg_process import FfmpegError, run

Channels = Literal["first", "mean"]


class NoAudio(Exception):
    """The file has no audio stream."""


def read_waves(
    files: Sequence[Path], rate: int, time_limit: float, channels: Channels = "mean", longest: float = 0.0
) -> list[np.ndarray | Exception]:
    """Mono waveforms int16 [T] of files; in the place of a bad one, the exception that says what is wrong.

    `channels`: the mean of all (GRAM's) or the first alone (VAST's). `longest`: seconds after which a sound is cut
    (0: never). The samples stay on disk until they are used, so that long sounds do not fill the memory.

    All files go through one ffmpeg process under a limit of `time_limit` seconds a file; if that process complains,
    each is read by itself, so that a damaged file costs only itself.
    """
    if not files:
        return []
    with tempfile.TemporaryDirectory(prefix="waves-") as scratch:
        targets = [Path(scratch) / f"{number}.pcm" for number in range(len(files))]
        streams = [_stream(file, target, rate, channels, longest) for file, target in zip(files, targets, strict=True)]
        try:
            run(streams, time_limit * len(files))
            return [_mapped(target) for target in targets]
        except FfmpegError:
            return [_alone(stream, target, time_limit) for stream, target in zip(streams, targets, strict=True)]


def _stream(file: Path, target: Path, rate: int, channels: Channels, longest: float) -> Any:
    mix = {"af": "pan=mono|c0=c0"} if channels == "first" else {"ac": 1}
    cut = {"t": longest} if longest else {}
    return ffmpeg.output(ffmpeg.input(str(file), vn=None)["a:0"], str(target), format="s16le", ar=rate, **mix, **cut)


def _mapped(target: Path) -> np.ndarray:
    """The samples of a file, which may be deleted at once: the mapping keeps them."""
    return np.memmap(target, dtype="<i2", mode="r") if target.stat().st_size else np.zeros(0, np.int16)


def _alone(stream: Any, target: Path, time_limit: float) -> np.ndarray | Exception:
    target.unlink(missing_ok=True)
    try:
        run([stream], time_limit)
    except FfmpegError as error:
        return NoAudio("no audio stream") if "matches no streams" in str(error) else error
    return _mapped(target)
