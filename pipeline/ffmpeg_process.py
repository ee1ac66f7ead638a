"""One ffmpeg process for many clips: streams built with ffmpeg-python, run with imageio_ffmpeg's binary.

A process costs more than encoding or decoding a short clip, so that streams are merged; no shell is involved.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache
from typing import Any

import ffmpeg
from imageio_ffmpeg import get_ffmpeg_exe


class FfmpegError(Exception):
    """ffmpeg failed, complained or took too long: its words in one line."""


@cache
def binary() -> str:
    """Path of the ffmpeg binary."""
    return get_ffmpeg_exe()


def run(outputs: Sequence[Any], seconds: float) -> None:
    """Run ffmpeg-python output streams in one process.

    Raises FfmpegError if it fails, takes longer than `seconds`, or writes anything at log level `error`: ffmpeg
    exits with 0 on many damaged files.
    """
    merged = ffmpeg.merge_outputs(*outputs) if len(outputs) > 1 else outputs[0]
    command = ffmpeg.compile(merged.global_args("-nostdin", "-v", "error"), cmd=binary(), overwrite_output=True)
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise FfmpegError(f"took longer than {seconds:g} s") from None
    words = " ".join(done.stderr.decode(errors="replace").split())
    if done.returncode or words:
        raise FfmpegError(words[:300] or f"exit code {done.returncode}")
