"""Stage `plan`: what is to be rendered, one row a clip with a JSON recipe; deterministic in the settings' seed."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas

from pipeline import parquet, paths
from pipeline.corpora import scenes, sounds, stamps, stories
from pipeline.corpora.clip import Clip
from pipeline.errors import UserError
from pipeline.settings import Settings

#: Kind of corpus → function that plans it.
PLANNERS: dict[str, Callable[[Settings, str], list[Clip]]] = {
    "scenes": scenes.clips,
    "sounds": sounds.clips,
    "stamps": stamps.clips,
    "stories": stories.clips,
}


def plan(settings: Settings, corpus: str) -> None:
    """Write the plan of a corpus: clips of train, val, test in this order, cut into shards of one split each."""
    entry = settings.corpora[corpus]
    if entry.kind not in PLANNERS:
        raise UserError(
            f"params/corpora.yaml: {corpus}.kind: '{entry.kind}' is not rendered; {', '.join(PLANNERS)} are"
        )
    made = PLANNERS[entry.kind](settings, corpus)
    rows = []
    for split in paths.SPLITS:
        chosen = [clip for clip in made if clip.split == split]
        wanted = getattr(entry, split)
        if len(chosen) != wanted:
            raise UserError(
                f"params/{settings.scale}.yaml: corpora.{corpus}.{split}: {wanted} clips asked, {len(chosen)} made"
            )
        names = [name for name in paths.shards(settings, corpus) if name.startswith(f"{split}-")]
        if wanted and not names:
            raise UserError(
                f"params/{settings.scale}.yaml: corpora.{corpus}.shards.{split}: missing; give a number ≥ 1"
            )
        for name, part in zip(names, np.array_split(np.arange(wanted), max(len(names), 1)), strict=False):
            for number in part:
                clip = chosen[number]
                rows.append(
                    {
                        "clip_id": f"{corpus}-{split}-{number:05d}",
                        "split": split,
                        "shard": name,
                        "captions": [clip.caption] if clip.caption else [],
                        "group": clip.group,
                        "concepts": clip.concepts,
                        "language": clip.language,
                        "duration": settings.media.seconds,
                        "source": entry.source,
                        "licence": entry.licence,
                        "components": clip.components,
                        "recipe": json.dumps(clip.recipe, sort_keys=True),
                    }
                )
    table = pandas.DataFrame(rows)
    table.insert(0, "index", np.arange(len(table)))
    parquet.write(paths.plan(settings, corpus), table)
