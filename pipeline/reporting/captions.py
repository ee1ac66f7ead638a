"""Table `captions`: what the captions are worth that the initial model writes.

* Corpora with captions, on validation: CIDEr and BLEU, CIDEr beside the same captions dealt out to the clips at random.
* Corpora without: the share of captions that name the clip's concept (the last word of its name), and its class: the
  class's own name or that of a concept of the class. Beside each the share when captions are dealt out at random, with
  the interval of 95 % of the deals. Intervals of the shares: bootstrap over concepts.
* Memorised: the share of captions that stand word for word among the training captions, and how many differ at all.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import manifest, paths, wording
from pipeline.errors import UserError
from pipeline.reporting import table as tables
from pipeline.reporting.table import Grid, Record
from pipeline.settings import Settings
from pipeline.statistics import Bootstrap

Array = NDArray[np.float64]
TABLE = "captions"
#: Deals of captions to clips: of CIDEr, which is slow, and of names.
DEALS, NAME_DEALS = 20, 1000
SHOWN = 12
FOOT = (
    "Judged is the caption by beam search, not the samples. Dealt: the same captions given to the clips at random.",
    "Concept: the caption holds the last word of the clip's concept. Class: it holds the last word of the class's name "
    "or of any concept of the class.",
    "Known: word for word among the training captions that the initial model learnt from. BLEU-4 and CIDEr need four "
    "words to be at their best: captions of stamps have two or three.",
)


@dataclass(frozen=True)
class Written:
    """Captions of a split's clips, in the order of the manifest: n texts, references, concepts, clusters."""

    captions: list[str]
    references: list[list[str]]
    concepts: list[list[str]]
    groups: list[str]
    clips: int
    """Clips of the split, captioned or not."""


def captions(settings: Settings) -> None:
    """Write results/<scale>/tables/captions.{json,csv,md}."""
    known = training_captions(settings)
    records: list[Record] = []
    examples = []
    for corpus in dict.fromkeys([*settings.corpora, *settings.captioned_corpora()]):
        captioned = settings.captioned(corpus)
        for split in paths.SPLITS if captioned else ("val",):
            found = read(settings, corpus, split)
            row = f"{corpus} {split}"
            bootstrap = Bootstrap(found.groups, 1, settings.retrieval.bootstrap, settings.seed)
            made = list(named(found, row, bootstrap) if captioned else compared(found, row, bootstrap, settings.seed))
            records += [*made, *memorised(found, row, bootstrap, known)]
            if split != "train":
                examples += _examples(found, row)
    title = f"Captions that the initial model writes (scale {settings.scale})"
    grids = [*_grids(records), Grid("Examples, evenly spread", ("clip of", "truth", "caption"), examples)]
    where = {kind: paths.table(settings, TABLE, kind) for kind in ("json", "csv", "md")}
    foot = [*FOOT, f"Decoding: {json.dumps(settings.captions.model_dump(exclude={'batch'}))}."]
    tables.write(where, title, records, grids, foot)
    print(tables.markdown(title, grids, foot), file=sys.stderr)


def training_captions(settings: Settings) -> set[str]:
    """Words of all captions that the initial model has learnt from."""
    found = set()
    for corpus in settings.corpora:
        if not settings.captioned(corpus):
            table = manifest.usable(manifest.read(paths.manifest(settings, corpus)), "train")
            found |= {wording.words(text) for texts in table["captions"] for text in texts}
    return found


def read(settings: Settings, corpus: str, split: str) -> Written:
    """The captions of a split beside what its manifest tells; a UserError if the file is missing or empty."""
    path = paths.captions(settings, corpus)
    if not path.is_file():
        raise UserError(f"{path}: missing; run: python -m pipeline caption --corpus {corpus}")
    lines = {line["clip_id"]: line for line in map(json.loads, path.read_text().splitlines()) if line["split"] == split}
    table = manifest.read(paths.manifest(settings, corpus))
    table = table[table["split"] == split]
    clips = len(table)
    table = table[table["clip_id"].isin(lines)]
    if not len(table):
        raise UserError(f"{path}: no caption of split {split}; delete it and run: python -m pipeline caption")
    texts = [lines[clip]["caption"] for clip in table["clip_id"]]
    return Written(texts, table["captions"].tolist(), table["concepts"].tolist(), table["group"].tolist(), clips)


def compared(found: Written, row: str, bootstrap: Bootstrap, seed: int) -> Iterator[Record]:
    """CIDEr, its excess over dealt captions, BLEU-1 and BLEU-4 against the references."""
    rng, n = np.random.default_rng([seed, 601]), len(found.captions)
    own = wording.cider(found.captions, found.references)
    dealt = np.mean(
        [
            wording.cider([found.captions[place] for place in rng.permutation(n)], found.references)
            for _ in range(DEALS)
        ],
        axis=0,
    )
    yield _record("references", row, "CIDEr", own, found, bootstrap, chance=float(dealt.mean()))
    yield _record("references", row, "CIDEr above dealt", own - dealt, found, bootstrap)
    scores = wording.bleu(found.captions, found.references)
    for name, value in (("BLEU-1", scores[0]), ("BLEU-4", scores[3])):
        yield Record(TABLE, "references", row, name, value, n_evaluated=n, n_protocol=found.clips, run="vast")


def named(found: Written, row: str, bootstrap: Bootstrap) -> Iterator[Record]:
    """Shares of captions that name concept and class, in %, and their excess over dealt captions."""
    rng, n = np.random.default_rng(602), len(found.captions)
    phrases = sorted({name for names in found.concepts for name in names})
    holds = np.array([[wording.names(caption, phrase) for phrase in phrases] for caption in found.captions])
    deals = [rng.permutation(n) for _ in range(NAME_DEALS)]
    for column, hit in _hits(found.concepts, phrases, holds).items():
        own, rows = np.asarray(100.0 * np.diagonal(hit), np.float64), np.arange(n)
        random = [100 * hit[deal, rows].mean() for deal in deals]
        low, high = np.quantile(random, [0.025, 0.975])
        expected: Array = 100 * hit.mean(0, dtype=np.float64)
        yield _record("names", row, column, own, found, bootstrap, chance=float(expected.mean()))
        yield _record("names", row, f"{column} above dealt", own - expected, found, bootstrap)
        yield Record(TABLE, "names", row, f"{column} dealt", float(np.mean(random)), ci_low=float(low),
                     ci_high=float(high), n_evaluated=n, n_protocol=found.clips, run="vast")  # fmt: skip


def _hits(concepts: list[list[str]], phrases: list[str], holds: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """bool [n captions, n clips] whether a caption names a clip's concept, if clips have one, and its class."""
    place = {phrase: column for column, phrase in enumerate(phrases)}
    found = {}
    if all(len(names) > 1 for names in concepts):
        found["concept"] = holds[:, [place[names[0]] for names in concepts]]
    members: dict[str, set[int]] = {}
    for names in concepts:
        members.setdefault(names[-1], set()).update(place[name] for name in names)
    classes = {name: holds[:, sorted(columns)].any(1) for name, columns in members.items()}
    found["class"] = np.stack([classes[names[-1]] for names in concepts], 1)
    return found


def memorised(found: Written, row: str, bootstrap: Bootstrap, known: set[str]) -> Iterator[Record]:
    """Shares of known, of different and of empty captions, in %."""
    old = 100.0 * np.array([wording.words(caption) in known for caption in found.captions])
    yield _record("memorised", row, "known", old, found, bootstrap)
    n = len(found.captions)
    for column, value in (
        ("different", len(set(found.captions)) / n),
        ("empty", sum(not caption for caption in found.captions) / n),
    ):
        yield Record(TABLE, "memorised", row, column, 100 * value, n_evaluated=n, n_protocol=found.clips, run="vast")


def _record(
    section: str,
    row: str,
    column: str,
    values: Array,
    found: Written,
    bootstrap: Bootstrap,
    chance: float | None = None,
) -> Record:
    estimate = bootstrap(values[None], least=0)
    low, high = estimate.interval()
    return Record(TABLE, section, row, column, float(estimate.value), ci_low=tables.number(low),
                  ci_high=tables.number(high), n_evaluated=len(values), n_protocol=found.clips, seeds=1, run="vast",
                  chance=chance)  # fmt: skip


def _grids(records: Sequence[Record]) -> Iterator[Grid]:
    for section, title in (
        ("references", "Against references"),
        ("names", "Captions that name what the clip shows, %"),
        ("memorised", "Captions known from training, %"),
    ):
        chosen = [record for record in records if record.section == section]
        columns = list(dict.fromkeys(record.column for record in chosen))
        cells = {(record.row, record.column): record for record in chosen}
        rows = [
            [row, str(cells[row, columns[0]].n_evaluated), *(_cell(cells.get((row, column))) for column in columns)]
            for row in dict.fromkeys(record.row for record in chosen)
        ]
        if rows:
            yield Grid(title, ("captions", "n", *columns), rows)


def _cell(record: Record | None) -> str:
    if record is None or record.value is None:
        return ""
    digits = 2 if record.section == "references" else 1
    shown = f"{record.value:.{digits}f}"
    if record.ci_low is not None and record.ci_high is not None:
        shown += f" [{record.ci_low:.{digits}f}, {record.ci_high:.{digits}f}]"
    return shown


def _examples(found: Written, row: str) -> list[list[str]]:
    places = np.linspace(0, len(found.captions) - 1, min(SHOWN, len(found.captions))).round().astype(int)
    return [[row, "; ".join(found.references[p] or found.concepts[p]), found.captions[p]] for p in places]
