"""The 1,024 VGGSound test clips: the paper gives their number alone, so they are drawn once by a stated rule.

Rule: of the official test list (15,446 clips), the 1,024 whose SHA-256 of `vggsound-test-1024:<clip id>` comes first in
hexadecimal order; no random number generator takes part. `params/vggsound_test_1024.txt` ships the ids, sorted.
All other clips, of the official test list too, are for training ("1024 for test, rest for training").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import UserError

NUMBER = 1024
SHIPPED = Path("params") / "vggsound_test_1024.txt"


def order(clip_id: str, purpose: str = "vggsound-test-1024") -> str:
    """Key by which clips are drawn: the same on every machine, unrelated to the order of any list."""
    return hashlib.sha256(f"{purpose}:{clip_id}".encode()).hexdigest()


def draw(clip_ids: Iterable[str], number: int = NUMBER) -> list[str]:
    """The `number` ids that the rule draws, sorted."""
    return sorted(sorted(clip_ids, key=order)[:number])


def shipped(root: Path = Path()) -> list[str]:
    """The ids of `params/vggsound_test_1024.txt`."""
    path = root / SHIPPED
    if not path.is_file():
        raise UserError(f"{path}: missing; restore it from the repository")
    ids = path.read_text().split()
    if len(ids) != NUMBER or len(set(ids)) != NUMBER:
        raise UserError(f"{path}: {len(set(ids))} clips instead of {NUMBER}; restore it from the repository")
    return ids
