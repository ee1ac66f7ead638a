"""Stage `merge`: plan, rendering and decoding of all shards become the manifest; too little coverage is an error.

Beside it the coverage record, by split: clips planned and usable, the floor, and the two galleries that a retrieval
test can have, "all items" (clips without sound stay by their picture) and "items with audio" (as GRAM's loader keeps).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas

from pipeline import manifest, parquet, paths
from pipeline.errors import UserError
from pipeline.files import write_json
from pipeline.settings import Settings
from pipeline.shards import Shard


def merge(settings: Settings, corpus: str) -> None:
    """Write the corpus's manifest and coverage record.

    A UserError names corpus, split, coverage, floor and reasons if too few clips of a split can be used, and a shard
    that was decoded under other settings.
    """
    table = parquet.read(paths.plan(settings, corpus))
    outcome: dict[str, dict[str, object]] = {}
    for shard in paths.shards(settings, corpus):
        _same_settings(settings, corpus, shard)
        for stage, file in (
            ("render", paths.rendered(settings, corpus, shard)),
            ("decode", paths.decoded(settings, corpus, shard)),
        ):
            for row in parquet.read(file).to_dict("records"):
                outcome.setdefault(str(row["clip_id"]), {"shard": shard}).update(
                    {f"{stage}_{key}": row[key] for key in row}
                )
    rows = []
    for clip in table.to_dict("records"):
        found = outcome[clip["clip_id"]]
        media = str(paths.media(settings, corpus) / f"{clip['clip_id']}.mp4")
        status = str(found["decode_status"])
        present = {"ok": ["vision", "audio"], "no_audio": ["vision"]}.get(status, [])
        rows.append(
            {name: clip[name] for name in ("clip_id", "split", "language", "source", "licence", "group", "shard")}
            | {"captions": list(clip["captions"]), "concepts": list(clip["concepts"])}
            | {
                "media": media,
                "tracks": json.dumps(dict.fromkeys(present, media)),
                "modalities": ["text", *present],
                "duration": float(str(found["decode_duration"])) or clip["duration"],
                "status": status,
                "reason": found["decode_reason"],
                "sha256": found["render_sha256"],
                "row": found["decode_row"],
            }
        )
    made = manifest.frame(rows)
    record = coverage(made)
    least = settings.coverage(corpus)
    where = "media" if settings.corpus(corpus).coverage is None else f"corpora.{corpus}"
    kept = [paths.rendered(settings, corpus, "<shard>"), paths.fetched(settings, corpus, "<shard>")]
    _enough(record, corpus, least, where, kept)
    write_json(paths.coverage(settings, corpus), {"corpus": corpus, "floor": least, "splits": record})
    manifest.write(paths.manifest(settings, corpus), made)


def coverage(table: pandas.DataFrame) -> dict[str, Any]:
    """Of each split of a manifest: clips planned and usable, their share, both galleries, the missing by status."""
    found = {}
    for split, part in table.groupby("split", sort=False):
        lost = part[~part["status"].isin(manifest.USABLE)]
        usable = len(part) - len(lost)
        found[str(split)] = {
            "planned": len(part),
            "usable": usable,
            "coverage": usable / len(part),
            "galleries": {"all items": usable, "items with audio": int((part["status"] == "ok").sum())},
            "missing": {
                str(status): {"clips": len(rows), "first": rows.clip_id.iloc[0], "reason": rows.reason.iloc[0]}
                for status, rows in lost.groupby("status")
            },
        }
    return found


def _enough(record: dict[str, Any], corpus: str, least: float, where: str, kept: list[Path]) -> None:
    for split, found in record.items():
        if found["coverage"] < least:
            reasons = "; ".join(
                f"{status} × {lost['clips']} (first {lost['first']}: {lost['reason']})"
                for status, lost in found["missing"].items()
            )
            raise UserError(
                f"corpus {corpus}, split {split}: {found['usable']} of {found['planned']} clips are usable, coverage "
                f"{found['coverage']:.3f}, floor {least:g} ({where}.coverage): {reasons}; "
                f"bring the clips and delete {kept[0]} of their shards (and {kept[1]}, where downloads failed that "
                "should not have), or lower the floor in params/"
            )


def _same_settings(settings: Settings, corpus: str, shard: str) -> None:
    path = paths.shard(settings, corpus, shard)
    if Shard(path).digest != paths.decode_digest(settings, corpus):
        raise UserError(f"{path}: decoded under other settings of media, geometry or seed; delete it and decode again")
