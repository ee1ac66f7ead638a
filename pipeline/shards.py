"""Shards of decoded clips with random access, in two storages behind one reader and one writer.

`raw` (`.safetensors`): uint8 frames [n, chunks, slots, H, W, 3] and int16 waveforms [n, T], read without copying the
rest. `archive` (`.tar`): an uncompressed tar of JPEG (quality 95) and FLAC members, its first member an index of
offsets; any tar program opens it. Both carry the clips' ids and the digest of the decode settings. An archive stores
each sound at its own length, `raw` fills it with zeros to one length; both know the length and read parts of a sound.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pipeline.errors import UserError
from pipeline.files import atomic

if TYPE_CHECKING:
    from torch import Tensor

QUALITY = 95


class Writer:
    """Collects clips in order; `close` writes the shard (or nothing, if it is left by an exception)."""

    def __init__(self, path: Path, digest: str, rate: int, samples: int) -> None:
        self.path, self.digest, self.rate, self.samples = path, digest, rate, samples
        self.ids: list[str] = []
        self._frames: list[np.ndarray] = []
        self._audio: list[np.ndarray] = []
        self._archive = path.suffix == ".tar"
        self._payload: BinaryIO | None = tempfile.TemporaryFile() if self._archive else None  # noqa: SIM115
        self._sizes: list[list[int]] = []
        self._lengths: list[int] = []
        self._shape: tuple[int, ...] = ()

    def add(self, clip_id: str, frames: np.ndarray, wave: np.ndarray) -> int:
        """Append frames uint8 [chunks, slots, H, W, 3] and a waveform int16 [t], of which `samples` are kept.

        The row is returned.
        """
        if self._shape and frames.shape != self._shape:
            raise ValueError(f"{clip_id}: frames {frames.shape}, the shard has {self._shape}")
        wave = wave[: self.samples]
        self._shape = frames.shape
        self._lengths.append(len(wave))
        self.ids.append(clip_id)
        if self._payload is None:
            self._frames.append(frames)
            self._audio.append(np.pad(wave, (0, self.samples - len(wave))))
        else:
            members = [_jpeg(frame) for frame in frames.reshape(-1, *frames.shape[2:])] + [_flac(wave, self.rate)]
            self._sizes.append([len(member) for member in members])
            self._payload.writelines(members)
        return len(self.ids) - 1

    def close(self) -> None:
        """Write the shard; a shard without a clip has zero rows."""
        index: dict[str, Any] = {"ids": self.ids, "digest": self.digest, "rate": self.rate}
        index |= {"samples": self.samples, "lengths": self._lengths}
        if self._payload is None:
            from safetensors.numpy import save_file  # numpy's: decoding never waits for torch

            frames = np.stack(self._frames) if self.ids else np.zeros((0, 1, 1, 1, 1, 3), np.uint8)
            audio = np.stack(self._audio) if self.ids else np.zeros((0, self.samples), np.int16)
            with atomic(self.path) as temporary:
                # one entry: safetensors writes several in a random order, and equal shards must be equal files
                save_file({"frames": frames, "audio": audio}, temporary, metadata={"index": json.dumps(index)})
        else:
            self._write_tar(index | {"shape": list(self._shape)})

    def _write_tar(self, index: dict[str, Any]) -> None:
        assert self._payload is not None
        self._payload.seek(0)
        offsets, position = [], 0
        for sizes in self._sizes:
            row = []
            for size in sizes:
                row.append([position + tarfile.BLOCKSIZE, size])
                position += tarfile.BLOCKSIZE + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            offsets.append(row)
        with atomic(self.path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            _add(tar, "index.json", json.dumps(index | {"offsets": offsets}).encode())
            for clip_id, sizes in zip(self.ids, self._sizes, strict=True):
                for number, size in enumerate(sizes):
                    suffix = "flac" if number == len(sizes) - 1 else f"{number:03d}.jpg"
                    _add(tar, f"{clip_id}.{suffix}", self._payload.read(size))
        self._payload.close()


class Shard:
    """Random access to a shard: `.ids`, `.digest`, `.frames(rows)`, `.audio(rows)`, `.wave(row, start, stop)`."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(f"{path}: missing; make it with `snakemake --cores all {path}`")
        self.path = path
        with _whole(path):
            self._index = _checked(_tar_index(path) if path.suffix == ".tar" else _raw_index(path))
        self.ids: list[str] = self._index["ids"]
        self.digest: str = self._index["digest"]
        self.rate: int = self._index["rate"]

    def __len__(self) -> int:
        return len(self.ids)

    def frames(self, rows: Sequence[int] | None = None, slots: Sequence[int] | None = None) -> Tensor:
        """Frames uint8 [rows, chunks, slots, H, W, 3] of some rows (default: all) and slots (default: all)."""
        import torch

        rows = list(range(len(self))) if rows is None else [int(row) for row in rows]
        if self.path.suffix != ".tar":
            whole = self._read("frames", rows)
            return whole if slots is None else whole[:, :, list(slots)]
        chunks, count, *shape = self._index["shape"]
        wanted = range(count) if slots is None else slots
        frames = np.empty((len(rows), chunks, len(wanted), *shape), np.uint8)
        for place, row in enumerate(rows):
            members = self._members(row, slice(0, -1))
            for chunk in range(chunks):
                for column, slot in enumerate(wanted):
                    with _whole(self.path, self.ids[row]):
                        _unjpeg(members[chunk * count + slot], frames[place, chunk, column])
        return torch.from_numpy(frames)

    def audio(self, rows: Sequence[int] | None = None) -> Tensor:
        """Waveforms int16 [rows, T] of some rows (default: all), filled with zeros to the shard's one length."""
        import torch

        rows = list(range(len(self))) if rows is None else [int(row) for row in rows]
        if self.path.suffix != ".tar":
            return self._read("audio", rows)
        waves = np.zeros((len(rows), self._index["samples"]), np.int16)
        for place, row in enumerate(rows):
            if self.samples(row):  # a FLAC file of no sound cannot be opened
                (member,) = self._members(row, slice(-1, None))
                with _whole(self.path, self.ids[row]):
                    _unflac(member, waves[place, : self.samples(row)], self.samples(row))
        return torch.from_numpy(waves)

    def samples(self, row: int) -> int:
        """Length of a clip's sound; 0: it has none."""
        return int(self._index["lengths"][row])

    def wave(self, row: int, start: int = 0, stop: int | None = None) -> Tensor:
        """A clip's sound int16 [t], or a part of it; no other part is decoded."""
        import torch
        from safetensors import safe_open

        stop = self.samples(row) if stop is None else stop
        if start >= stop:
            return torch.zeros(0, dtype=torch.int16)
        if self.path.suffix != ".tar":
            with _whole(self.path), safe_open(self.path, framework="pt") as stream:
                return stream.get_slice("audio")[row, start:stop]
        (member,) = self._members(row, slice(-1, None))
        wave = np.empty(stop - start, np.int16)
        with _whole(self.path, self.ids[row]):
            _unflac(member, wave, self.samples(row), start)
        return torch.from_numpy(wave)

    def _read(self, name: str, rows: list[int]) -> Tensor:
        import torch
        from safetensors import safe_open

        with _whole(self.path), safe_open(self.path, framework="pt") as stream:
            if rows == list(range(len(self))):
                return stream.get_tensor(name)
            part = stream.get_slice(name)
            if not rows:
                return part[0:0]
            return torch.cat([part[row : row + 1] for row in rows])

    def _members(self, row: int, which: slice) -> list[memoryview]:
        """Some members of a clip, which lie one after the other, in one read."""
        wanted = self._index["offsets"][row][which]
        start, (last, size) = wanted[0][0], wanted[-1]
        with self.path.open("rb") as stream:
            content = memoryview(os.pread(stream.fileno(), last + size - start, self._index["base"] + start))
        return [content[offset - start : offset - start + size] for offset, size in wanted]


@contextmanager
def _whole(path: Path, clip: str = "") -> Iterator[None]:
    """A UserError that names the shard, and the clip if it is known, instead of what reading damaged bytes raises."""
    from safetensors import SafetensorError

    try:
        yield
    # safetensors', tarfile's, json's and simplejpeg's, and what an index without a key or of another type raises
    except (SafetensorError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        what = f"clip '{clip}' is damaged" if clip else "damaged, or not a shard"
        raise UserError(f"{path}: {what} ({error}); delete the shard and decode again") from None


def _checked(index: dict[str, Any]) -> dict[str, Any]:
    """The index of a shard if it has all keys, as many lengths (and offsets) as clips; else a ValueError."""
    missing = {"ids", "digest", "rate", "samples", "lengths", *(("shape",) if "offsets" in index else ())} - set(index)
    if missing:
        raise ValueError(f"its index has no {', '.join(sorted(missing))}")
    if any(len(index[key]) != len(index["ids"]) for key in ("lengths", "offsets") if key in index):
        raise ValueError("its index gives another number of clips than it names")
    return index


def _raw_index(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, framework="np") as stream:
        return json.loads((stream.metadata() or {})["index"])


def _tar_index(path: Path) -> dict[str, Any]:
    with tarfile.open(path, "r:") as tar:
        first = tar.next()
        content = tar.extractfile(first) if first is not None and first.name == "index.json" else None
        if first is None or content is None:
            raise ValueError("its first member is not index.json")
        index = json.loads(content.read())
        if "offsets" not in index:
            raise ValueError("its index has no offsets")
        index["base"] = first.offset_data + -(-first.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        return index


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _jpeg(frame: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def _unjpeg(content: memoryview, frame: np.ndarray) -> None:
    """Fill a frame uint8 [H, W, 3] from a JPEG file: PIL's pixels in half its time; a ValueError for a damaged one."""
    import simplejpeg

    shape = simplejpeg.decode_jpeg(content, buffer=frame).shape
    if shape != frame.shape:
        raise ValueError(f"a JPEG file of {shape}, not {frame.shape}")


def _flac(wave: np.ndarray, rate: int) -> bytes:
    import soundfile

    stream = io.BytesIO()
    # 0: a few per cent larger than the default level, decoded a sixth faster
    soundfile.write(stream, wave, rate, format="FLAC", subtype="PCM_16", compression_level=0)
    return stream.getvalue()


def _unflac(content: memoryview, wave: np.ndarray, length: int, start: int = 0) -> None:
    """Fill a waveform int16 [t] with samples from `start` on of a FLAC file of `length`; a ValueError if it is not."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if len(file) != length:
                raise ValueError(f"a FLAC file of {len(file)} samples, not {length}")
            file.seek(start)
            found = file.read(out=wave)
    except soundfile.SoundFileError as error:
        raise ValueError(str(error)) from None
    if len(found) < len(wave):
        raise ValueError(f"a FLAC file with {len(found)} samples from {start} on, not {len(wave)}")
