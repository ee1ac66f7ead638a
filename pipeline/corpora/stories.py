"""`stories`: two stamps shown in turn while a French voice names a third, not shown; the caption tells all three.

Only train concepts of `stamps` take part. No set of three concepts appears in two splits. Test and val come in families
of five: one kind shares the pictures and differs in the voice, the other shares the voice and differs in the pictures,
so that within a family one sense says nothing. Recordings and pictures recur in ever new mixtures under noise and
clutter.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.corpora.clip import Clip
from pipeline.corpora.stamps import Concepts, split_concepts
from pipeline.corpora.stamps_source import library
from pipeline.errors import UserError
from pipeline.settings import Settings

FAMILY = 5
TEMPLATES = ("{a} and {b}, you hear {c}", "{a}, then {b}, with a voice saying {c}", "a voice says {c}: {a} and {b}")
WORDS, LETTERS = 3, 20
"""The longest caption that may take part: stories are to stay short."""
Triple = tuple[str, str, str]


def clips(settings: Settings, corpus: str) -> list[Clip]:
    """All clips of the corpus."""
    entry = settings.corpora[corpus]
    source = library()
    concepts = split_concepts(settings, source)
    component = {name: source.stamps[rows[0]].component for name, rows in concepts.rows.items()}
    pool = [name for name in concepts.captions["train"] if _is_short(name)]
    if len(pool) < 4 * FAMILY:
        raise UserError(
            f"params/{settings.scale}.yaml: corpora.{corpus}: only {len(pool)} short train captions are left"
        )
    rng = np.random.default_rng([settings.seed, 301])
    draw = _Draw(pool, component, rng)
    made = []
    for split in ("test", "val", "train"):
        families = draw.alone() if split == "train" else draw.families()
        for _, (group, triple) in zip(range(getattr(entry, split)), families, strict=False):
            made.append(_clip(settings, corpus, split, f"{split}-{group}", triple, concepts, component, rng))
    return made


def _is_short(caption: str) -> bool:
    plain = caption.replace(" ", "").replace("-", "")
    return plain.isascii() and plain.isalpha() and len(caption.split()) <= WORDS and len(caption) <= LETTERS


class _Draw:
    """Triples (first shown, second shown, heard) whose sets never repeat."""

    def __init__(self, pool: list[str], component: dict[str, int], rng: np.random.Generator) -> None:
        self.pool, self.component, self.rng = pool, component, rng
        self.used: set[frozenset[str]] = set()

    def _names(self, count: int) -> list[str]:
        """Names of `count` different components."""
        names: dict[int, str] = {}
        while len(names) < count:
            name = self.pool[int(self.rng.integers(len(self.pool)))]
            names.setdefault(self.component[name], name)
        return list(names.values())

    def _new(self, triples: list[Triple]) -> bool:
        sets = {frozenset(triple) for triple in triples}
        if len(sets) < len(triples) or sets & self.used:
            return False
        self.used |= sets
        return True

    def alone(self) -> Iterator[tuple[int, Triple]]:
        """Triples of their own."""
        number = 0
        while True:
            first, second, heard = self._names(3)
            if self._new([(first, second, heard)]):
                yield number, (first, second, heard)
                number += 1

    def families(self) -> Iterator[tuple[int, Triple]]:
        """Families of five: shared pictures and shared voice by turns."""
        number = 0
        while True:
            if number % 2 == 0:
                first, second, *voices = self._names(2 + FAMILY)
                family = [(first, second, voice) for voice in voices]
            else:
                voice, *shown = self._names(1 + 2 * FAMILY)
                family = [(shown[2 * k], shown[2 * k + 1], voice) for k in range(FAMILY)]
            if self._new(family):
                for triple in family:
                    yield number, triple
                number += 1


def _clip(
    settings: Settings,
    corpus: str,
    split: str,
    group: str,
    triple: Triple,
    concepts: Concepts,
    component: dict[str, int],
    rng: np.random.Generator,
) -> Clip:
    options = settings.corpora[corpus].options
    first, second, heard = (int(rng.choice(concepts.rows[name])) for name in triple)
    template = TEMPLATES[int(rng.integers(len(TEMPLATES)))]
    caption = template.format(a=triple[0], b=triple[1], c=triple[2])
    recipe = {
        "kind": "stamps",
        "shown": [first, second],
        "heard": heard,
        "noise": float(options.get("noise", 0)),
        "clutter": float(options.get("clutter", 0)),
        "seed": int(rng.integers(2**31)),
    }
    return Clip(
        split, caption, group, list(triple), recipe, str(options["language"]), [component[name] for name in triple]
    )
