"""`stamps`: one real stamp a clip, moving on a coloured ground; its French description, then its sound effect.

The split of concepts comes first, here, and every corpus of stamps uses it: connected components (caption, recording,
near-equal picture) go to test until 200 captions are together, to val until 60 are, the rest to train. Test and val
captions have two renderings each; train clips go round the train stamps. Captions are the package's, in lower case
without leading article and full stop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.corpora.clip import Clip
from pipeline.corpora.stamps_source import Library, library
from pipeline.errors import UserError
from pipeline.settings import Settings

RENDERINGS = 2
"""Clips a caption in val and test."""


@dataclass(frozen=True)
class Concepts:
    """Captions of each split, in a random order, and the rows of the stamps that bear a caption."""

    captions: dict[str, list[str]]
    rows: dict[str, list[int]]


def split_concepts(settings: Settings, source: Library) -> Concepts:
    """The one split of concepts, a function of the settings' seed and the sizes of the corpus of kind `stamps`."""
    entries = [*settings.corpora.values(), *settings.probes.values()]
    entry = next((entry for entry in entries if entry.kind == "stamps"), None)
    if entry is None:
        raise UserError(
            f"params/{settings.scale}.yaml: corpora: stories and sounds need a corpus of kind stamps: "
            "they leave out its test concepts"
        )
    rng = np.random.default_rng([settings.seed, 201])
    members: dict[int, list[int]] = {}
    for row, stamp in enumerate(source.stamps):
        if source.spans[row, 0, 1]:
            members.setdefault(stamp.component, []).append(row)
    wanted = {"test": entry.test // RENDERINGS, "val": entry.val // RENDERINGS}
    captions: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    rows: dict[str, list[int]] = {}
    for component in rng.permutation(sorted(members)):
        names = list(dict.fromkeys(source.stamps[row].caption for row in members[component]))
        split = next((name for name, count in wanted.items() if len(captions[name]) + len(names) <= count), "train")
        captions[split] += names
        for row in members[component]:
            rows.setdefault(source.stamps[row].caption, []).append(row)
    return Concepts(captions, rows)


def clips(settings: Settings, corpus: str) -> list[Clip]:
    """All clips of the corpus."""
    entry = settings.corpora[corpus]
    source = library()
    concepts = split_concepts(settings, source)
    rng = np.random.default_rng([settings.seed, 202])
    made = []
    for split in ("train", "val", "test"):
        names = concepts.captions[split]
        count = getattr(entry, split)
        if (count and not names) or (split != "train" and len(names) * RENDERINGS < count):
            raise UserError(
                f"params/{settings.scale}.yaml: corpora.{corpus}.{split}: "
                f"{count} clips asked, {len(names)} captions are left"
            )
        for number in range(count):
            caption = names[number // RENDERINGS] if split != "train" else names[number % len(names)]
            row = int(rng.choice(concepts.rows[caption]))
            stamp = source.stamps[row]
            recipe = {
                "kind": "stamps",
                "shown": [row],
                "heard": row,
                "noise": float(entry.options.get("noise", 0)),
                "clutter": float(entry.options.get("clutter", 0)),
                "seed": int(rng.integers(2**31)),
            }
            language = str(entry.options["language"])
            made.append(Clip(split, caption, caption, [caption], recipe, language, [stamp.component]))
    return made
