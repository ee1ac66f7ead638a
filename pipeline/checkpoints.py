"""Checkpoints of a training: written whole, two kept, a damaged one falls back to the one before it.

A checkpoint is one safetensors file `step-<number>.safetensors` with a checksum of its tensors, the digest of the
settings it belongs to and its arithmetic (threads and number format: rounding depends on them): a state of others is
refused, since continuing it would give a model that no settings describe.
"""

from __future__ import annotations

import json
import os
import re
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, uint8

from pipeline.errors import UserError
from pipeline.files import save_tensors

KEPT = 2
NAME = re.compile(r"step-(\d+)\.safetensors")


class Damaged(Exception):
    """A checkpoint that cannot be read back as it was written."""


def steps(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder, ascending."""
    found = (NAME.fullmatch(entry.name) for entry in (folder.iterdir() if folder.is_dir() else ()))
    return sorted(int(match[1]) for match in found if match)


def path(folder: Path, step: int) -> Path:
    """File of the checkpoint of a step."""
    return folder / f"step-{step:08d}.safetensors"


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], settings: str, arithmetic: str) -> None:
    """Write the checkpoint of `step` (temporary name, fsync, rename) and drop all but the newest two."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = {"step": step, "settings": settings, "arithmetic": arithmetic, "checksum": _checksum(plain)}
    save_tensors(path(folder, step), plain, about)
    _sync(folder)
    for old in [known for known in steps(folder) if known != step][: -(KEPT - 1)]:
        path(folder, old).unlink()
    for orphan in folder.glob(".step-*.safetensors"):  # left by a process that was killed while writing
        orphan.unlink()


def load(file: Path, settings: str, arithmetic: str) -> tuple[int, dict[str, Tensor]]:
    """Step and tensors of a checkpoint; Damaged if it is not whole, UserError if it is of other settings."""
    try:
        with safe_open(file, framework="pt") as stream:
            about = {key: json.loads(value) for key, value in (stream.metadata() or {}).items()}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise Damaged(f"{file}: {error}") from None
    if about.get("checksum") != _checksum(tensors):
        raise Damaged(f"{file}: checksum differs")
    for key, ours in (("settings", settings), ("arithmetic", arithmetic)):
        if about.get(key) != ours:
            raise UserError(f"{file}: saved with {key} {about.get(key)}, now {ours}; remove the folder to start anew")
    return about["step"], tensors


def latest(folder: Path, settings: str, arithmetic: str) -> tuple[int, dict[str, Tensor]] | None:
    """Newest whole checkpoint of a folder, or None; damaged ones are removed with a warning."""
    for step in reversed(steps(folder)):
        try:
            return load(path(folder, step), settings, arithmetic)
        except Damaged as error:
            warnings.warn(f"damaged checkpoint removed: {error}", stacklevel=2)
            path(folder, step).unlink(missing_ok=True)  # another process of the training may have done it
    return None


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name].reshape(-1).view(uint8).numpy().data, zlib.crc32(name.encode(), value))
    return value


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
