"""Small media files for tests, made with ffmpeg."""

from __future__ import annotations

from pathlib import Path

import ffmpeg

from pipeline.ffmpeg_process import run


def clip(
    path: Path,
    seconds: float = 2.5,
    rate: int = 4,
    size: str = "32x32",
    audio: bool = True,
    channels: str = "0.5*sin(2764*t)",
) -> Path:
    """A test picture with a tone; `channels` is an expression of `aevalsrc`, one a channel."""
    video = ffmpeg.input(f"testsrc2=size={size}:rate={rate}:duration={seconds}", f="lavfi")
    streams = [video.video]
    if audio:
        streams.append(ffmpeg.input(f"aevalsrc={channels}:s=16000:d={seconds}", f="lavfi").audio)
    options = {"vcodec": "libx264", "pix_fmt": "yuv420p"} | ({"acodec": "aac"} if audio else {})
    run([ffmpeg.output(*streams, str(path), **options)], 60)
    return path
