"""Frames of one clip by decord; runs in a worker process and imports no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import decord
import numpy as np

from pipeline.media.frames import pick_slots

Geometry = Literal["squash", "crop"]


def read_frames(
    path: str,
    sha256: str,
    chunks: int,
    slots: int,
    size: int,
    seed: int,
    index: int,
    expected: int,
    geometry: Geometry = "squash",
) -> tuple[np.ndarray, float]:
    """Frames uint8 [chunks, slots, size, size, 3] of a clip and its length in seconds.

    `geometry`: `squash` scales both sides to `size`; `crop` scales the shorter side and takes the centre. Deviation:
    the decoder scales (bicubic), where VAST and GRAM scale whole frames bilinearly without antialiasing.

    Raises ValueError if the file is not the one with this `sha256` (decord returns wrong frames for many damaged files
    without a word), or has not the `expected` number of frames (0: any), or the frames have another shape.
    """
    if sha256 and hashlib.sha256(Path(path).read_bytes()).hexdigest() != sha256:
        raise ValueError("the file has changed since it was made: its sha256 differs")
    reader, (top, left) = _open(path, size, geometry)
    total = len(reader)
    if expected and total != expected:
        raise ValueError(f"{total} frames instead of {expected}")
    wanted = pick_slots(total, chunks, slots, seed, index)
    found, inverse = np.unique(wanted, return_inverse=True)
    frames = reader.get_batch(found).asnumpy()[:, top : top + size, left : left + size]
    if frames.shape != (len(found), size, size, 3) or frames.dtype != np.uint8:
        raise ValueError(f"frames of shape {frames.shape} and type {frames.dtype}")
    return frames[inverse].reshape(chunks, slots, size, size, 3), total / reader.get_avg_fps()


def _open(path: str, size: int, geometry: Geometry) -> tuple[Any, tuple[int, int]]:
    """A reader of scaled frames and the top left corner of the square in them."""
    width = height = size
    if geometry == "crop":
        rows, columns = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)[0].shape[:2]
        shorter = min(rows, columns)
        width, height = size * columns // shorter, size * rows // shorter
    reader = decord.VideoReader(path, ctx=decord.cpu(0), width=width, height=height, num_threads=1)
    return reader, (round((height - size) / 2), round((width - size) / 2))
