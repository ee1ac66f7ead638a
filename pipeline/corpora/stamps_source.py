"""Tux Paint's stamps as an index: pictures, captions, spoken descriptions, sound effects, categories, components.

A component joins stamps that share a caption, the bytes of a recording (in any language) or a near-equal picture: what
must not be on two sides of a split where concepts have to be unseen. Pictures and sounds are read once by `fetch`,
scaled and decoded, into arrays that rendering maps into memory.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
from PIL import Image

from pipeline.errors import UserError
from pipeline.ffmpeg_process import FfmpegError, run
from pipeline.files import atomic, write_json

ROOT = Path("downloads") / "tuxpaint-stamps"
SIDE = 96
"""Height and width of stored pictures, which keep their proportions on a transparent ground."""
RATE = 16000
NEAR = 0.04
"""Two pictures are near-equal if their thumbnails differ by less, on average over the values."""
LEFT_OUT = ("symbols",)
"""Categories of letters, digits and coins, whose captions share templates."""
LIMIT = 2.5
"""Seconds of a recording that are kept."""
LANGUAGES = ("fr", "ro", "ru", "bg", "ca", "es", "be", "el")
"""Languages that most stamps are described in."""


@dataclass(frozen=True)
class Stamp:
    """A stamp: files are relative to the folder of stamps, `row`s point into the arrays of `Library`."""

    name: str
    category: str
    caption: str
    picture: str
    speech: str
    effect: str
    component: int


@dataclass(frozen=True)
class Library:
    """All usable stamps with `pictures` uint8 [N, SIDE, SIDE, 4], spoken descriptions and effects (int16, 16 kHz)."""

    stamps: list[Stamp]
    pictures: np.ndarray
    sounds: np.ndarray
    spans: np.ndarray
    """[N, 2, 2] start and length in `sounds` of the description and the effect; length 0: none."""

    def sound(self, row: int, effect: bool) -> np.ndarray:
        """Description or effect of a stamp, int16 [T]."""
        start, length = self.spans[row, int(effect)]
        return self.sounds[start : start + length]


def index(folder: Path, language: str) -> tuple[list[Stamp], list[Image.Image]]:
    """Stamps under `folder` that have an English caption, a picture and a description in `language`; their pictures."""
    files = {str(file.relative_to(folder)) for file in sorted(folder.rglob("*")) if file.is_file()}
    spoken: dict[str, list[str]] = defaultdict(list)
    for file in sorted(files):
        stem, mark, _ = file.partition("_desc")
        if mark and file.endswith(".ogg"):
            spoken[stem].append(file)
    found: list[dict[str, Any]] = []
    for file in sorted(files):
        stem = file.removesuffix(".txt")
        category = stem.split("/")[0]
        speech = recording(stem, language)
        if stem == file or stem.endswith("_mirror") or category in LEFT_OUT or speech not in files:
            continue
        picture = next((f"{stem}{end}" for end in (".png", ".svg") if f"{stem}{end}" in files), "")
        caption = caption_of((folder / file).read_text(encoding="utf-8", errors="replace"))
        if picture and caption:
            effect = next((f"{stem}{end}" for end in (".ogg", ".wav") if f"{stem}{end}" in files), "")
            found.append(
                {
                    "name": stem,
                    "category": category,
                    "caption": caption,
                    "picture": picture,
                    "speech": speech,
                    "effect": effect,
                }
            )
    keys: list[list[str]] = []
    for stamp in found:
        recordings = [*spoken[stamp["name"]], *([stamp["effect"]] if stamp["effect"] else [])]
        keys.append(
            [stamp["caption"], *(hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in recordings)]
        )
    pictures = [read_picture(folder / stamp["picture"]) for stamp in found]
    component = components(keys, np.stack([thumbnail(picture) for picture in pictures])) if found else []
    return [Stamp(**stamp, component=part) for stamp, part in zip(found, component, strict=True)], pictures


def recording(stamp: str, language: str) -> str:
    """File of a stamp's description in a language, relative to the folder of stamps."""
    return f"{stamp}_desc_{language}.ogg"


def caption_of(text: str) -> str:
    """The caption in a stamp's text file: its first line, lower case, without its full stop and leading article."""
    first = (text.splitlines() or [""])[0].strip().rstrip(".!").lower()
    for article in ("a ", "an ", "the ", "some "):
        first = first.removeprefix(article)
    return " ".join(first.split())


def components(keys: Sequence[Sequence[str]], thumbnails: np.ndarray) -> list[int]:
    """Number of the connected component of each stamp, given its keys and thumbnails [N, P] in [0, 1]."""
    parent = list(range(len(keys)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    first: dict[str, int] = {}
    for node, names in enumerate(keys):
        for name in names:
            parent[root(node)] = root(first.setdefault(name, node))
    for node in range(len(keys)):
        near = np.flatnonzero(np.abs(thumbnails[node + 1 :] - thumbnails[node]).mean(1) < NEAR)
        for other in near + node + 1:
            parent[root(int(other))] = root(node)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(node), len(numbers)) for node in range(len(keys))]


def read_picture(file: Path) -> Image.Image:
    """RGBA picture of a PNG or SVG file, cut to what is visible."""
    if file.suffix == ".svg":
        import resvg_py

        picture = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_path=str(file), width=2 * SIDE, dpi=96))))
    else:
        picture = Image.open(file)
    visible = picture.convert("RGBA")
    return visible.crop(visible.getchannel("A").getbbox() or (0, 0, *visible.size))


def thumbnail(picture: Image.Image) -> np.ndarray:
    """[12·12·4] small picture in [0, 1], colours times opacity."""
    small = np.asarray(picture.resize((12, 12), Image.Resampling.BOX), dtype=np.float32) / 255
    small = small.copy()
    small[..., :3] *= small[..., 3:]
    return small.ravel()


def read_sounds(files: Sequence[Path], batch: int = 48) -> list[np.ndarray]:
    """Sounds as int16 [T] at 16 kHz, without silence at their ends, at most LIMIT seconds."""
    waves = []
    with tempfile.TemporaryDirectory(prefix="stamps-") as scratch:
        for start in range(0, len(files), batch):
            part = list(files[start : start + batch])
            targets = [Path(scratch) / f"{number}.pcm" for number in range(len(part))]
            streams = [
                ffmpeg.output(ffmpeg.input(str(file))["a:0"], str(target), format="s16le", ar=RATE, ac=1)
                for file, target in zip(part, targets, strict=True)
            ]
            try:
                run(streams, 120)
            except FfmpegError as error:
                raise UserError(
                    f"{part[0].parent}: cannot decode its recordings: {error}; delete downloads/ and fetch again"
                ) from None
            waves += [_trim(np.fromfile(target, dtype="<i2")) for target in targets]
    return waves


def _trim(wave: np.ndarray) -> np.ndarray:
    loud = np.flatnonzero(
        np.abs(wave.astype(np.int32)) > 0.02 * max(int(np.abs(wave.astype(np.int32)).max(initial=0)), 1)
    )
    if not len(loud):
        return wave[:0]
    return wave[max(loud[0] - RATE // 50, 0) : loud[-1] + RATE // 50][: int(LIMIT * RATE)]


def build(folder: Path, target: Path, language: str) -> None:
    """Write the index and arrays of the stamps under `folder` into `target`; `index.json` comes last."""
    stamps, originals = index(folder, language)
    if not stamps:
        raise UserError(f"{folder}: no stamp with a caption and a description in '{language}'; check options.language")
    pictures = np.zeros((len(stamps), SIDE, SIDE, 4), dtype=np.uint8)
    for row, original in enumerate(originals):
        scale = SIDE / max(original.size)
        picture = original.resize([max(round(length * scale), 1) for length in original.size], Image.Resampling.LANCZOS)
        left, top = (SIDE - picture.width) // 2, (SIDE - picture.height) // 2
        pictures[row, top : top + picture.height, left : left + picture.width] = np.asarray(picture)
    files = [folder / stamp.speech for stamp in stamps] + [folder / stamp.effect for stamp in stamps if stamp.effect]
    waves = read_sounds(files)
    starts = np.cumsum([0, *map(len, waves)])
    spans = np.zeros((len(stamps), 2, 2), dtype=np.int64)
    effects = iter(range(len(stamps), len(waves)))
    for row, stamp in enumerate(stamps):
        spans[row, 0] = starts[row], len(waves[row])
        if stamp.effect:
            place = next(effects)
            spans[row, 1] = starts[place], len(waves[place])
    for name, array in (("pictures", pictures), ("sounds", np.concatenate(waves)), ("spans", spans)):
        with atomic(target / f"{name}.npy") as temporary:
            np.save(temporary, array)
    write_json(target / "index.json", {"language": language, "stamps": [asdict(stamp) for stamp in stamps]})


@cache
def library(root: Path = ROOT) -> Library:
    """The fetched stamps; a UserError says how to fetch them."""
    if not (root / "index.json").is_file():
        raise UserError(
            f"{root}/index.json: missing; fetch the stamps with `python -m pipeline fetch`, or use --config scale=smoke"
        )
    stamps = [Stamp(**entry) for entry in json.loads((root / "index.json").read_text())["stamps"]]
    arrays = {name: np.load(root / f"{name}.npy", mmap_mode="r") for name in ("pictures", "sounds", "spans")}
    return Library(stamps, arrays["pictures"], arrays["sounds"], np.asarray(arrays["spans"]))
