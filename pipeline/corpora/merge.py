"""Stage `merge`: plan, rendering and decoding of all shards become the manifest; too little coverage is an error."""

from __future__ import annotations

import json

import pandas

from pipeline import manifest, paths
from pipeline.corpora.clip import read_plan
from pipeline.errors import UserError
from pipeline.settings import Settings


def merge(settings: Settings, corpus: str) -> None:
    """Write the corpus's manifest; a UserError names the split and reasons if fewer clips than
    `media.coverage` of a split can be used."""
    table = read_plan(paths.plan(settings, corpus))
    outcome: dict[str, dict[str, object]] = {}
    for shard in paths.shards(settings, corpus):
        for stage, file in (
            ("render", paths.rendered(settings, corpus, shard)),
            ("decode", paths.decoded(settings, corpus, shard)),
        ):
            if not file.is_file():
                raise UserError(f"{file}: missing; make it with `snakemake --cores all {file}`")
            for row in pandas.read_parquet(file).to_dict("records"):
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
    _coverage(made, corpus, settings.media.coverage)
    manifest.write(paths.manifest(settings, corpus), made)


def _coverage(table: pandas.DataFrame, corpus: str, least: float) -> None:
    for split, part in table.groupby("split", sort=False):
        lost = part[~part["status"].isin(manifest.USABLE)]
        if 1 - len(lost) / len(part) < least:
            reasons = "; ".join(
                f"{status} × {len(rows)} (first {rows.clip_id.iloc[0]}: {rows.reason.iloc[0]})"
                for status, rows in lost.groupby("status")
            )
            raise UserError(
                f"corpus {corpus}, split {split}: {len(part) - len(lost)} of {len(part)} clips are usable, "
                f"media.coverage asks for {least:g}: {reasons}; mend the clips or lower it in params/"
            )
