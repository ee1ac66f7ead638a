"""Files say what they were made of: one of another run, corpus or version is refused in one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import UserError


def check(path: Path, about: Mapping[str, Any], remedy: str, **expected: Any) -> None:
    """A UserError that names the file and the first key of `about`, its metadata, that is missing or not as expected.

    `remedy` says what to do, e.g. "embed gram again".
    """
    for key, value in expected.items():
        if key not in about:
            raise UserError(f"{path}: does not say its {key}; {remedy}")
        if about[key] != value:
            raise UserError(f"{path}: {key} is {_short(about[key])}, expected {_short(value)}; {remedy}")


def _short(value: Any) -> str:
    """Digests by their first digits, lists by their length."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)
