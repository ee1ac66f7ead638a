"""Your own data: a folder of videos and a csv become a corpus, with no code.

In `params/corpora.yaml`: `mine: {kind: annotated, options: {annotations: own, csv: clips.csv, folder: videos}, …}` and
sizes under `corpora:` of the scale. The csv has a header; columns `file` (below the folder) and `caption`, and if you
like `split` (train, val, test; else the scale's sizes are drawn by SHA-256), `id`, `language`, `label`, `sha256`.
Several lines with one file are several captions of it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.corpora.annotations import SAFE, Item
from pipeline.errors import UserError

#: Letters of an id: its frames and sound are entries of a tar, whose names have 100 at most.
LONGEST = 90


@dataclass(frozen=True)
class Clip:
    """An annotated clip with its file."""

    item: Item
    file: Path
    language: str = ""
    sha256: str = ""


def listed(corpus: str, options: Mapping[str, object]) -> list[Clip]:
    """Clips of the csv and the folder that a corpus's options name; a UserError says which key is missing."""
    for key in ("csv", "folder"):
        if key not in options:
            raise UserError(f"params/corpora.yaml: {corpus}.options.{key}: missing key")
    return read(Path(str(options["csv"])), Path(str(options["folder"])))


def read(table: Path, folder: Path) -> list[Clip]:
    """Clips of a csv and a folder in the order of the csv; a UserError names file and line."""
    if not table.is_file():
        raise UserError(f"{table}: no such csv; correct options.csv in params/corpora.yaml")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; correct options.folder in params/corpora.yaml")
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{table}: is not UTF-8 ({error}); save it as 'CSV UTF-8'") from None
    with io.StringIO(text, newline="") as stream:
        rows = csv.DictReader(stream)
        for column in ("file", "caption"):
            if column not in (rows.fieldnames or ()):
                raise UserError(f"{table}: no column '{column}'; its header needs file and caption")
        clips: dict[str, Clip] = {}
        for number, row in enumerate(rows, 2):
            clip = _clip(f"{table}: line {number}", row, folder)
            name = clip.item.clip_id
            known = clips.get(name)
            if known is None:
                clips[name] = clip
                continue
            if known.file != clip.file or known.item.split != clip.item.split:
                raise UserError(f"{table}: line {number}: clip '{name}' has another file or split in an earlier line")
            captions = (*known.item.captions, *clip.item.captions)
            clips[name] = replace(known, item=replace(known.item, captions=captions))
    if not clips:
        raise UserError(f"{table}: holds no clip")
    return list(clips.values())


def _clip(where: str, row: dict[str, str | None], folder: Path) -> Clip:
    cells = {str(key): (value or "").strip() for key, value in row.items() if isinstance(value, str | None)}
    file, caption, split = cells["file"], cells["caption"], cells.get("split", "")
    if not file or not caption:
        raise UserError(f"{where}: file or caption is empty")
    path = (folder / file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UserError(f"{where}: file '{file}' lies outside {folder}")
    if split not in ("", "train", "val", "test"):
        raise UserError(f"{where}: split '{split}' is none of train, val, test")
    name = cells.get("id") or Path(file).with_suffix("").as_posix().replace("/", "_").replace(" ", "_")
    if not SAFE.fullmatch(name) or name.startswith("."):
        raise UserError(f"{where}: '{name}' may hold letters, digits and @ . _ - alone; give an id in the column 'id'")
    if len(name) > LONGEST:
        raise UserError(f"{where}: '{name}' has {len(name)} letters, {LONGEST} at most; give an id in the column 'id'")
    item = Item(name, (caption,), label=cells.get("label", ""), split=split)
    return Clip(item, path, cells.get("language", ""), cells.get("sha256", "").lower())
