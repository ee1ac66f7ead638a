"""Usable clips with their captions, wherever these come from: the manifest, or the initial model.

`options.captions: written` in params/corpora.yaml marks a corpus that comes without: its manifest's captions are empty,
and those of captions/<scale>/<corpus>.jsonl stand for them. A training clip has its caption by beam search and its
samples; a validation or test clip the former alone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeline import digests, files, manifest, paths
from pipeline.errors import UserError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pandas import DataFrame


def usable(settings: Settings, corpus: str, split: str) -> DataFrame:
    """`manifest.usable` of a split, every clip with at least one caption."""
    table = manifest.usable(manifest.read(paths.manifest(settings, corpus)), split)
    if settings.captioned(corpus):
        found = captions(settings, corpus)
        if missing := [clip for clip in table["clip_id"] if clip not in found]:
            raise UserError(
                f"{paths.captions(settings, corpus)}: no caption of clip '{missing[0]}'; delete the file and run: "
                f"python -m pipeline caption --corpus {corpus}"
            )
        table["captions"] = [found[clip] for clip in table["clip_id"]]
    return table


def captions(settings: Settings, corpus: str) -> dict[str, list[str]]:
    """Clip → the distinct captions that the initial model wrote for it."""
    path = paths.captions(settings, corpus)
    if not path.is_file():
        raise UserError(f"{path}: missing; run: python -m pipeline caption --corpus {corpus}")
    found = {}
    for line in map(json.loads, path.read_text().splitlines()):
        samples = line["samples"] if line["split"] == "train" else []
        found[line["clip_id"]] = list(dict.fromkeys([line["caption"], *samples]))
    return found


def digest(settings: Settings, corpus: str) -> str:
    """SHA-256 of a corpus's clips with captions: its manifest's, or one of that and of the captions written for it."""
    own = files.sha256(paths.manifest(settings, corpus))
    if not settings.captioned(corpus):
        return own
    captions(settings, corpus)
    return digests.digest([own, files.sha256(paths.captions(settings, corpus))], 64)
