"""Whole files or none: everything is written under a temporary name, synced and renamed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

HOST = platform.node()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`, on failure removed.

    The temporary name keeps the suffix, since writers of media and tables choose the format by it, and says who writes:
    what writers that were killed have left is removed when a process first writes into a folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent.resolve())
    handle, name = tempfile.mkstemp(f"-{os.getpid()}@{HOST}{path.suffix}", f".{path.stem}.", path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@cache
def _sweep(folder: Path) -> None:
    """Remove the temporary files of writers on this host that run no more."""
    for file in os.scandir(folder):
        found = re.fullmatch(rf"\..+-(\d+)@{re.escape(HOST)}(\.\w+)?", file.name)
        if found and not _runs(int(found[1])):
            Path(file).unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)  # asks, and sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN and infinities are refused."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text())


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None) -> None:
    """Write tensors as safetensors; each metadata value is stored as JSON. Equal content makes equal files."""
    from safetensors.torch import save_file

    with atomic(path) as temporary:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata={key: json.dumps(value) for key, value in (metadata or {}).items()},
        )
        _sort_metadata(temporary)


def _sort_metadata(path: Path) -> None:
    """Put a safetensors file's metadata in order: the library writes them in a random one, so that digests differ."""
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        if "__metadata__" not in header:
            return
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(ordered) <= length:
            stream.seek(8)
            stream.write(ordered.ljust(length))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file; a UserError names one that is damaged."""
    from safetensors.torch import load_file

    with _whole(path):
        return load_file(path)


def load_metadata(path: Path) -> dict[str, Any]:
    """Read the metadata written by `save_tensors`; a UserError names a file that is damaged."""
    from safetensors import safe_open

    with _whole(path), safe_open(path, framework="pt") as stream:
        return {key: json.loads(value) for key, value in (stream.metadata() or {}).items()}


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise UserError(f"{path}: damaged ({error}); delete it and run again") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: its metadata are not ours, JSON values ({error}); use another path") from None


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
