"""Are the packets of an H.264 or H.265 stream made of whole units? A decoder reads over zeroed ranges without a word.

Both standards keep the bytes 0, 0, 0–2 out of a unit (a 3 is put between), so that they never occur in coded pictures
but by damage; and in mp4, Matroska and Flash a packet is filled by units exactly, each after its length in four bytes.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

Codec = Literal["h264", "hevc"]
FORBIDDEN = re.compile(rb"\0\0[\0-\2]")
PREFIX = 4


def problem(path: Path, sizes: Sequence[int], codec: Codec) -> str:
    """What is wrong with the packets of `sizes` that follow each other in a file; empty if nothing is.

    A stream whose lengths have another size than four bytes (rare: its first packet tells) is not looked into.
    """
    if not sizes or path.stat().st_size != sum(sizes):
        return ""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = 0
        for number, size in enumerate(sizes):
            units = _units(data, start, start + size)
            if units is None:
                return f"packet {number} of the picture is not filled by its units" if number else ""
            if any(_broken(data, first, last, codec) for first, last in units):
                return f"packet {number} of the picture holds bytes that no encoder writes"
            start += size
    return ""


def _units(data: mmap.mmap, start: int, end: int) -> list[tuple[int, int]] | None:
    """First and last byte (exclusive) of a packet's units; none if they do not fill it."""
    units = []
    while start < end:
        first = start + PREFIX
        start = first + int.from_bytes(data[start:first])
        if start > end:
            return None
        units.append((first, start))
    return units


def _broken(data: mmap.mmap, first: int, last: int, codec: Codec) -> bool:
    """Whether a unit of a coded picture holds forbidden bytes before the zeros that may follow it."""
    if first == last or not (1 <= data[first] & 31 <= 5 if codec == "h264" else data[first] >> 1 & 63 < 32):
        return False
    found = FORBIDDEN.search(data, first, last)
    return found is not None and bool(data[found.start() : last].strip(b"\0"))
