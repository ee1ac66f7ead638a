"""Public annotation files in every layout in use, as one list of items; checked against the published counts.

| layout | what it is | recognised by |
|---|---|---|
| VAST, GRAM json | list of {video_id or clip_id …, desc or caption or vast_cap, subtitle} | a text key |
| JSFusion csv | key, vid_key, video_id, sentence (MSR-VTT 1k-A) | its header |
| MSR-VTT json | {videos: [{video_id, …}], sentences: [{video_id, caption}]}, its own file | `videos`, `sentences` |
| DiDeMo json | list of {video, description, …}: a video's sentences are joined | `description` |
| ActivityNet json | {v_id: {duration, timestamps, sentences}}: joined | `sentences` |
| VGGSound csv | `<youtube id>_<start>.mp4,label` or `id,start,label,split`, no header | its fields |
| id list | one id a line | nothing else fits |
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

ID_KEYS = ("clip_id", "video_id", "image_id", "image", "id")
TEXT_KEYS = ("desc", "caption", "vast_cap")
SAFE = re.compile(r"[A-Za-z0-9@._-]+")
VGGSOUND_SECONDS = 10.0
#: the one DiDeMo test video that VAST's and GRAM's json lack
DIDEMO_MISSING = "50072196@N00_8494901801_2a59170218"
#: (corpus, split) → published numbers of clips
COUNTS = {
    ("msrvtt", "test"): (1000,),
    ("didemo", "test"): (1003, 1004),
    ("activitynet", "test"): (4917,),
    ("vggsound", "test"): (15446,),
}
VGGSOUND_CLASSES = 309


@dataclass(frozen=True)
class Item:
    """A clip as an annotation file has it."""

    clip_id: str
    captions: tuple[str, ...] = ()
    label: str = ""
    split: str = ""
    url: str = ""
    start: float = 0.0
    end: float = 0.0
    subtitle: str = ""


def read(path: Path) -> list[Item]:
    """Items of an annotation file in the order of the file; a UserError names the file and what is wrong in it."""
    if not path.is_file():
        raise UserError(
            f"{path}: no such annotation file; `python -m pipeline doctor --scale paper` says where to get it"
        )
    try:
        items = _json(path) if path.suffix == ".json" else _lines(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: damaged ({error}); download it again") from None
    if not items:
        raise UserError(f"{path}: holds no clip")
    seen: set[str] = set()
    for item in items:
        if not SAFE.fullmatch(item.clip_id) or item.clip_id.startswith("."):
            raise UserError(f"{path}: clip '{item.clip_id}': an id may hold letters, digits and @ . _ - alone")
        if item.clip_id in seen:
            raise UserError(f"{path}: clip '{item.clip_id}' appears twice")
        if any(not caption.strip() for caption in item.captions):
            raise UserError(f"{path}: clip '{item.clip_id}' has an empty caption")
        seen.add(item.clip_id)
    return items


def check(corpus: str, split: str, items: Iterable[Item], source: Path) -> list[str]:
    """Notes for the user on a split that has a published count; a UserError if it has another."""
    listed = list(items)
    expected = COUNTS.get((corpus, split))
    if expected is None:
        return []
    if len(listed) not in expected:
        raise UserError(f"{source}: {len(listed)} clips, but {corpus} {split} has {' or '.join(map(str, expected))}")
    if corpus == "didemo" and len(listed) == min(expected):
        if any(item.clip_id == DIDEMO_MISSING for item in listed):
            raise UserError(f"{source}: {len(listed)} clips with {DIDEMO_MISSING}, which the list of 1,003 lacks")
        return [f"{corpus} {split}: {len(listed)} of {max(expected)} clips; {DIDEMO_MISSING} is missing in {source}"]
    if corpus == "vggsound" and (classes := len({item.label for item in listed})) != VGGSOUND_CLASSES:
        raise UserError(f"{source}: {classes} classes, but VGGSound has {VGGSOUND_CLASSES}")
    return []


def published(corpus: str, test: list[Item], wanted: int) -> list[Item]:
    """The test clips that published numbers are of: DiDeMo's 1,003 in a list of 1,004, unless those are `wanted`."""
    if corpus != "didemo" or wanted >= len(test):
        return test
    return [item for item in test if item.clip_id != DIDEMO_MISSING]


def _json(path: Path) -> list[Item]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, Mapping) and {"videos", "sentences"} <= set(content):
        return _msrvtt(path, content)
    if isinstance(content, Mapping):
        return [_activitynet(path, name, row) for name, row in content.items()]
    if not isinstance(content, list):
        raise UserError(f"{path}: expected a list of clips")
    if content and isinstance(content[0], Mapping) and "description" in content[0]:
        return _didemo(path, content)
    return [_vast(path, number, row) for number, row in enumerate(content)]


def _vast(path: Path, number: int, row: Any) -> Item:
    name = next((row[key] for key in ID_KEYS if key in row), None) if isinstance(row, Mapping) else None
    if name is None:
        raise UserError(f"{path}: entry {number} has none of {', '.join(ID_KEYS)}")
    text = next((row[key] for key in TEXT_KEYS if key in row), None)
    captions = [text] if isinstance(text, str) else text or []
    if not isinstance(captions, list):
        raise UserError(f"{path}: entry {number} ({name}): its captions are {text!r}, expected a text or a list")
    try:
        start, end = _span(row.get("clip_span"))
    except ValueError as error:
        raise UserError(f"{path}: entry {number} ({name}): clip_span is no pair of times ({error})") from None
    return Item(
        str(name),
        tuple(map(str, captions)),
        url=str(row.get("url", "")),
        start=start,
        end=end,
        subtitle=str(row.get("subtitle", "")),
    )


def _span(value: Any) -> tuple[float, float]:
    """Seconds of a pair of numbers or of `h:m:s` strings; (0, 0): the whole video."""
    if not isinstance(value, list) or len(value) != 2:
        return 0.0, 0.0
    first, last = (
        sum(60**place * float(part) for place, part in enumerate(reversed(str(v).split(":")))) for v in value
    )
    return first, last


def _msrvtt(path: Path, content: Mapping[str, Any]) -> list[Item]:
    captions: dict[str, list[str]] = {}
    try:
        for row in content["sentences"]:
            captions.setdefault(str(row["video_id"]), []).append(str(row["caption"]).strip())
        items = [
            Item(
                str(row["video_id"]),
                tuple(captions.pop(str(row["video_id"]), ())),
                url=str(row.get("url", "")),
                start=float(row.get("start time", 0)),
                end=float(row.get("end time", 0)),
            )
            for row in content["videos"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: an entry of 'videos' or 'sentences' is not MSR-VTT's ({error!r})") from None
    if captions:
        raise UserError(f"{path}: clip '{next(iter(captions))}' has sentences but is not among the videos")
    return items


def _didemo(path: Path, content: list[Any]) -> list[Item]:
    sentences: dict[str, list[str]] = {}
    for number, row in enumerate(content):
        if not isinstance(row, Mapping) or "video" not in row or "description" not in row:
            raise UserError(f"{path}: entry {number} has no video or no description")
        sentences.setdefault(_stem(str(row["video"])), []).append(str(row["description"]).strip())
    return [Item(name, (" ".join(filter(None, lines)),)) for name, lines in sentences.items()]


def _activitynet(path: Path, name: str, row: Any) -> Item:
    if not isinstance(row, Mapping) or not isinstance(row.get("sentences"), list):
        raise UserError(f"{path}: clip '{name}' has no list of sentences")
    return youtube(Item(name, (" ".join(str(sentence).strip() for sentence in row["sentences"]),)))


def youtube(item: Item) -> Item:
    """An ActivityNet item with the address that its id `v_<youtube id>` stands for."""
    if item.url or not item.clip_id.startswith("v_"):
        return item
    return replace(item, url=f"https://www.youtube.com/watch?v={item.clip_id.removeprefix('v_')}")


def _lines(path: Path) -> list[Item]:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.reader(stream) if row]
    if not rows:
        return []
    header = rows[0]
    if "video_id" in header and "sentence" in header:
        name, text = header.index("video_id"), header.index("sentence")
        return [Item(row[name], (row[text],)) for row in _even(path, rows)[1:]]
    if len(header) == 1:
        return [Item(_stem(row[0].strip())) for row in _even(path, rows)]
    if len(header) == 2 and header[0].endswith(".mp4"):
        return [_vggsound(path, *_stem(row[0]).rsplit("_", 1), row[1], "test") for row in _even(path, rows)]
    if len(header) == 4 and header[1].strip().isdigit():
        return [_vggsound(path, *row) for row in _even(path, rows)]
    raise UserError(f"{path}: no layout that is known has a first line '{','.join(header)}'")


def _even(path: Path, rows: list[list[str]]) -> list[list[str]]:
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise UserError(f"{path}: line {number} has {len(row)} fields instead of {len(rows[0])}")
    return rows


def _vggsound(path: Path, *fields: str) -> Item:
    video, start, label, split = (field.strip() for field in fields)
    if not start.isdigit() or split not in ("train", "test"):
        raise UserError(f"{path}: clip '{video}': start '{start}' or split '{split}' is not VGGSound's")
    return Item(
        f"{video}_{int(start):06d}",
        (label,),
        label=label,
        split=split,
        url=f"https://www.youtube.com/watch?v={video}",
        start=float(start),
        end=float(start) + VGGSOUND_SECONDS,
    )


def _stem(name: str) -> str:
    """A media file's name without folder and ending; ids with dots but no known ending stay whole."""
    return re.sub(
        r"\.(mp4|avi|mov|mkv|webm|mpg|mpeg|3gp|wmv|m4v|flv)$", "", name.rsplit("/", 1)[-1], flags=re.IGNORECASE
    )
