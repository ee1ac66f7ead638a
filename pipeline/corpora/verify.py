"""Is a file that somebody else made whole? Decoded once from end to end, and compared with what its container says.

Decoders return wrong frames for many damaged files without a word (facts: 36 of 60 corruptions), and a fetched file has
no sha256 to compare with unless its source gives one. Four questions, cheap beside the decoding:
1. is it the container that its name says, and one of video at all (a playlist would make ffmpeg read other files)?
2. does ffmpeg, told to stop at any error, decode picture and sound to the end?
3. are there as many frames as the container lists packets, and do they end when it says?
4. is the frame rate one of a video?
5. are the packets of H.264 and H.265 made of whole units (`pipeline.corpora.units`: finds zeroed ranges)?

What stays undetectable: changed bytes that are a valid stream still, mostly one flipped bit, in a coefficient of the
picture or in one frame of AAC, which has no checksum. Only a checksum finds them: the source's, if there is one
(`SHA256SUMS` in the drop folder, column `sha256` of one's own csv), else that of the first fetch, which the manifest
keeps and decoding compares, and of downloads `Journal` too, for another fetch.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from pipeline.corpora import units
from pipeline.errors import UserError
from pipeline.ffmpeg_process import binary

#: ffmpeg's name of a container → endings of its files.
CONTAINERS = {
    "mov,mp4,m4a,3gp,3g2,mj2": (".mp4", ".m4v", ".mov", ".3gp"),
    "matroska,webm": (".mkv", ".webm"),
    "avi": (".avi",),
    "mpegts": (".ts", ".m2ts"),
    "flv": (".flv",),
    "asf": (".wmv", ".asf"),
    "mpeg": (".mpg", ".mpeg", ".vob"),
    "ogg": (".ogv", ".ogg"),
}
ENDINGS = {ending for endings in CONTAINERS.values() for ending in endings}
EXACT = ("-xerror", "-err_detect", "crccheck+bitstream+buffer+careful+explode", "-threads", "1")
#: Containers whose packets hold units after their lengths.
PREFIXED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv")
#: Frames a second that a video can have.
SLOWEST, FASTEST = 0.5, 300
#: Frames of sound that an encoder's lead-in may take away; seconds by which a length may differ from the declared one.
LEAD_IN, TOLERANCE = 3, 1.0


@dataclass(frozen=True)
class Listing:
    """Packets or frames of a stream: how many, when the first and the last begin and the last ends, in seconds."""

    count: int
    first: float
    last: float
    end: float
    sizes: tuple[int, ...] = ()


def damage(path: Path, seconds: float, name: str = "", asked: float = 0.0) -> str:
    """Why the file cannot be trusted, in one line; empty if it decodes whole, each pass within `seconds`.

    `name` is the one that its source gave the file, `path`'s by default. `asked`: seconds of a longer video that were
    asked for: where the connection broke, ffmpeg ends the file as if that were all.
    """
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        picture = Path(scratch) / "picture"
        try:
            decoded, _ = _listings(path, seconds, EXACT, ("-fps_mode", "passthrough"), "error")
            packets, about = _listings(path, seconds, (), ("-c", "copy"), "info", picture)
        except subprocess.TimeoutExpired:
            return f"damaged: decoding took longer than {seconds:g} s"
        except ValueError as error:
            return f"damaged: {error}"
        problem = (
            _container(about, Path(name or path.name).suffix.lower())
            or _differences(decoded, packets, about)
            or _short(decoded, asked)
            or _units(about, packets[0].sizes, picture)
        )
    return f"damaged: {problem}" if problem else ""


def checksums(path: Path) -> dict[str, str]:
    """File name → sha256 of a file as `sha256sum` writes it; empty if there is none."""
    if not path.is_file():
        return {}
    found = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match line.split(maxsplit=1):
            case [digest, name]:
                found[name.lstrip("*").rsplit("/", 1)[-1].strip()] = digest.lower()
            case [_]:
                raise UserError(f"{path}: line {number} is not as sha256sum writes it, a digest and a name")
    return found


def _listings(
    path: Path,
    seconds: float,
    reading: tuple[str, ...],
    writing: tuple[str, ...],
    level: str,
    picture: Path | None = None,
) -> tuple[dict[int, Listing], str]:
    """Packets or frames of picture (0) and sound (1, if there is one), and ffmpeg's words; ValueError if it fails.

    `picture`: where the picture's packets go, one after the other.
    """
    command = [binary(), "-nostdin", "-hide_banner", "-nostats", "-v", level, *reading]
    command += ["-format_whitelist", ",".join(CONTAINERS)]
    # `file:` keeps a name from being read as a protocol or an option.
    command += ["-i", f"file:{path}", "-map", "0:v:0", "-map", "0:a:0?", *writing, "-f", "framecrc", "-"]
    if picture:
        command += ["-map", "0:v:0", *writing, "-f", "data", str(picture)]
    done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    words = " ".join(done.stderr.decode(errors="replace").split())
    if done.returncode or (words and level == "error"):
        raise ValueError(words[:300] or f"exit code {done.returncode}")
    return _parsed(done.stdout.decode(errors="replace")), words


def _parsed(text: str) -> dict[int, Listing]:
    """Listings of ffmpeg's `framecrc` format: a time base a stream, then `stream, dts, pts, duration, …` a line."""
    base = {int(stream): Fraction(value) for stream, value in re.findall(r"^#tb (\d+): (\S+)", text, re.MULTILINE)}
    rows: dict[int, list[tuple[int, int, int]]] = {stream: [] for stream in base}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            stream, _, start, duration, size = (int(cell) for cell in line.split(",")[:5])
            rows[stream].append((start, start + duration, size))
    return {
        stream: Listing(
            len(found),
            float(min(found)[0] * base[stream]),
            float(max(found)[0] * base[stream]),
            float(max(end for _, end, _ in found) * base[stream]),
            tuple(size for _, _, size in found),
        )
        for stream, found in rows.items()
        if found
    }


def _short(decoded: dict[int, Listing], asked: float) -> str:
    """What is missing of the seconds asked for."""
    length = max(one.end for one in decoded.values()) - min(one.first for one in decoded.values())
    return f"{length:.2f} s of {asked:g} s asked for" if length < asked - TOLERANCE - 0.05 * asked else ""


def _container(about: str, ending: str) -> str:
    """What is wrong with the kind of file that ffmpeg found under a name's ending."""
    found = re.search(r"Input #0, (\S+), from", about)
    kind = found[1] if found else "unknown"
    if kind not in CONTAINERS:
        return f"no video container but {kind}"
    return f"its name ends in {ending}, its content is {kind}" if ending in ENDINGS - {*CONTAINERS[kind]} else ""


def _units(about: str, sizes: tuple[int, ...], picture: Path) -> str:
    """What is wrong with the units of the picture's packets, if its codec has any."""
    codec = re.search(r"Video: (h264|hevc)\b", about)
    if codec is None or not any(f"Input #0, {kind}, from" in about for kind in PREFIXED):
        return ""
    return units.problem(picture, sizes, "h264" if codec[1] == "h264" else "hevc")


def _differences(decoded: dict[int, Listing], packets: dict[int, Listing], about: str) -> str:
    """What the decoded frames and the container's index disagree in."""
    picture = decoded.get(0)
    if picture is None:
        return "no frame of picture"
    for stream, kind, fewer in ((0, "picture", 0), (1, "sound", LEAD_IN)):
        frames, listed = (listing[stream].count if stream in listing else 0 for listing in (decoded, packets))
        if not listed - fewer <= frames <= listed:
            return f"{frames} frames of {kind} in {listed} packets"
    if picture.count > 1:
        rate = (picture.count - 1) / max(picture.last - picture.first, 1e-9)
        if not SLOWEST <= rate <= FASTEST:
            return f"{rate:.3g} frames a second"
    declared = re.search(r"Duration: (\d+):(\d+):([\d.]+)", about)
    if declared:
        wanted = 3600 * int(declared[1]) + 60 * int(declared[2]) + float(declared[3])
        length = max(one.end for one in decoded.values()) - min(one.first for one in decoded.values())
        if abs(length - wanted) > TOLERANCE + 0.05 * wanted:
            return f"{length:.2f} s decoded, {wanted:.2f} s declared"
    return ""
