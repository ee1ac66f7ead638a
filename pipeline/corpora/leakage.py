"""Stage `leakage`: nothing that a model could learn by heart crosses the splits, and nuisance tells nothing.

* no component of stamps is in two splits of a corpus of kind `stamps`, and its test and val components are in no other
  corpus; no set of concepts of `stories`, no content of `scenes` is in two splits, corpora of one kind taken together;
  no recording of `sounds` is in two splits, or is one that the other corpora say; no media file is byte-equal in two
  splits (a rendered file carries its recipe's digest: equal ones are clips planned twice, no more can be seen so);
* a ridge probe from nuisance alone (duration, file size, ground colour, number in the path, language) to the words of
  the caption (of `sounds`: of concept and class), fitted on train, retrieves test captions no better than chance:
  neither its R@1, equal captions being hits, nor the share of captions that the true one beats may exceed the 99.9 %
  point of captions dealt out at random;
* models trained on shuffled text score at chance (pipeline/corpora/shuffled.py).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
import pandas
from scipy.sparse import csr_array

from pipeline import manifest, parquet, paths
from pipeline.corpora import shuffled
from pipeline.corpora.stamps_source import ROOT, library
from pipeline.errors import UserError
from pipeline.files import sha256, write_json
from pipeline.settings import Settings
from pipeline.shards import Shard

PERMUTATIONS = 2000
LEVEL = 0.001
RIDGE = 1.0


def check(settings: Settings) -> None:
    """Write `results/<scale>/tables/leakage.json`; a UserError names the first leak, after the file is written."""
    beside = settings.model_copy(update={"corpora": settings.corpora | settings.captioned_corpora()})
    plans = {name: parquet.read(paths.plan(settings, name)) for name in beside.corpora}
    records = [*_components(beside, plans), *_combinations(beside, plans), *_recordings(beside, plans)]
    for corpus in beside.corpora:
        table = manifest.read(paths.manifest(settings, corpus))
        records.append(
            _record(corpus, "media files in two splits", crossing(zip(table["split"], table["sha256"], strict=True)), 0)
        )
        records += _probe(beside, corpus, table)
    records += [_record(**fields) for fields in shuffled.checks(settings)]
    write_json(paths.table(settings, "leakage", "json"), {"checks": records})
    leaks = [record for record in records if not record["ok"]]
    if leaks:
        first = leaks[0]
        raise UserError(
            f"corpus {first['corpus']}: leak: {first['check']}: {first['value']}, at most {first['limit']} allowed; "
            f"all figures are in {paths.table(settings, 'leakage', 'json')}"
        )


def crossing(pairs: Iterable[tuple[str, Hashable]]) -> int:
    """How many keys appear with more than one split; empty keys do not count."""
    seen: dict[Hashable, set[str]] = defaultdict(set)
    for split, key in pairs:
        if key:
            seen[key].add(split)
    return sum(len(splits) > 1 for splits in seen.values())


def _record(corpus: str, check: str, value: float | None, limit: float | None, **more: Any) -> dict[str, Any]:
    return {
        "corpus": corpus,
        "check": check,
        "value": value,
        "limit": limit,
        "ok": value is None or limit is None or value <= limit,
    } | more


def _components(settings: Settings, plans: dict[str, pandas.DataFrame]) -> list[dict[str, Any]]:
    records = []
    unseen: set[int] = set()
    for corpus, entry in settings.corpora.items():
        if entry.kind == "stamps":
            pairs = [
                (s, int(c) + 1)
                for s, parts in zip(plans[corpus]["split"], plans[corpus]["components"], strict=True)
                for c in parts
            ]
            records.append(_record(corpus, "components in two splits", crossing(pairs), 0))
            unseen |= {component for split, component in pairs if split != "train"}
    for corpus, entry in settings.corpora.items():
        if entry.kind != "stamps":
            used = {int(component) + 1 for parts in plans[corpus]["components"] for component in parts}
            records.append(_record(corpus, "components of stamps' test and val", len(used & unseen), 0))
    return records


def _combinations(settings: Settings, plans: dict[str, pandas.DataFrame]) -> list[dict[str, Any]]:
    records = []
    for kind in sorted({entry.kind for entry in settings.corpora.values()} & {"stories", "scenes"}):
        names = [name for name, entry in settings.corpora.items() if entry.kind == kind]
        pairs = [
            (split, frozenset(concepts) if kind == "stories" else tuple(concepts))
            for name in names
            for split, concepts in zip(plans[name]["split"], plans[name]["concepts"], strict=True)
        ]
        records.append(_record(", ".join(names), "combinations in two splits", crossing(pairs), 0))
    return records


def _recordings(settings: Settings, plans: dict[str, pandas.DataFrame]) -> list[dict[str, Any]]:
    records = []
    for corpus in [name for name, entry in settings.corpora.items() if entry.kind == "sounds"]:
        voices = [sha256(ROOT / "stamps" / json.loads(recipe)["voice"]) for recipe in plans[corpus]["recipe"]]
        others = {sha256(ROOT / "stamps" / stamp.speech) for stamp in library().stamps}
        records += [
            _record(corpus, "recordings in two splits", crossing(zip(plans[corpus]["split"], voices, strict=True)), 0),
            _record(corpus, "recordings of the other corpora", len(others & set(voices)), 0),
        ]
    return records


def _probe(settings: Settings, corpus: str, table: pandas.DataFrame) -> list[dict[str, Any]]:
    parts = {split: manifest.usable(table, split) for split in ("train", "test")}
    if not all(map(len, parts.values())):
        return []
    languages = sorted(parts["train"]["language"].unique())
    features = {split: nuisance(settings, corpus, part, languages) for split, part in parts.items()}
    told = {split: _told(part) for split, part in parts.items()}
    words = sorted({word for caption in told["train"] for word in caption.split()})
    targets = {split: _bags(texts, words) for split, texts in told.items()}
    captions = told["test"]
    found = probe(features["train"], targets["train"], features["test"], targets["test"], captions, settings.seed)
    return [
        _record(corpus, f"{name} of a probe from nuisance", value, limit, n=len(captions), chance=chance)
        for name, (value, chance, limit) in found.items()
    ]


def _told(table: pandas.DataFrame) -> list[str]:
    """A text a clip: its first caption, or where there is none its concepts."""
    return [c[0] if c else " ".join(names) for c, names in zip(table["captions"], table["concepts"], strict=True)]


def nuisance(settings: Settings, corpus: str, table: pandas.DataFrame, languages: list[str]) -> np.ndarray:
    """What a clip tells without its content [n, 7 + languages]: duration, file size, ground colour (median of the
    frames' edges), number in the path, a hash of the path, which of the languages it speaks."""
    shards = {name: Shard(paths.shard(settings, corpus, name)) for name in table["shard"].unique()}
    grounds = np.empty((len(table), 3))
    for name, part in table.groupby("shard"):
        frames = shards[str(name)].frames(part["row"].tolist(), [0])[:, 0, 0].numpy()
        edges = np.concatenate([frames[:, :2].reshape(len(part), -1, 3), frames[:, -2:].reshape(len(part), -1, 3)], 1)
        grounds[part.index] = np.median(edges, axis=1)
    size = [(paths.media(settings, corpus) / f"{name}.mp4").stat().st_size for name in table["clip_id"]]
    number = np.arange(len(table)) / len(table)
    mixed = [int.from_bytes(str(path).encode()[-9:], "big") % 1009 for path in table["media"]]
    spoken = np.stack([table["language"] == language for language in languages], 1)
    return np.column_stack([table["duration"], np.log(size), grounds, number, mixed, spoken]).astype(float)


def _bags(captions: list[str], words: list[str]) -> csr_array:
    """Which of the words [n, W] each caption has."""
    place = {word: column for column, word in enumerate(words)}
    cells = {(row, place[word]) for row, text in enumerate(captions) for word in text.split() if word in place}
    rows, columns = np.array(sorted(cells), dtype=int).reshape(-1, 2).T
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(captions), len(words)))


def probe(
    train: np.ndarray, train_bags: csr_array, test: np.ndarray, test_bags: csr_array, captions: list[str], seed: int
) -> dict[str, tuple[float, float, float]]:
    """What a ridge probe [n, F] → [n, W] retrieves: statistic → (value, mean and limit when captions are dealt out at
    random over the test clips).

    The bags are centred by the train mean, which is never subtracted cell by cell: at VAST-150K that would be 36 GB.
    """
    centre, spread = train.mean(0), train.std(0) + 1e-9
    inputs, queries = (train - centre) / spread, np.clip((test - centre) / spread, -4, 4)
    inputs, queries = (np.hstack([part, part**2, np.ones((len(part), 1))]) for part in (inputs, queries))
    mean = train_bags.mean(0)
    targets = (train_bags.T @ inputs).T - np.outer(inputs.sum(0), mean)
    weights = np.linalg.solve(inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1]), targets)
    found_bags = queries @ weights
    products = (test_bags @ found_bags.T).T - (found_bags @ mean)[:, None]
    squares = (test_bags**2).sum(1) - 2 * (test_bags @ mean) + mean @ mean
    scores = products / (np.sqrt(np.maximum(squares, 0)) + 1e-9)
    kinds = np.unique(captions, return_inverse=True)[1]
    first = np.array([np.flatnonzero(kinds == kind)[0] for kind in range(kinds.max() + 1)])
    ranks = np.argsort(np.argsort(-scores[:, first], axis=1, kind="stable"), axis=1, kind="stable")
    rows, rng = np.arange(len(kinds)), np.random.default_rng([seed, 401])
    truth = ranks[rows, kinds]
    dealt = np.stack([ranks[rows, kinds[rng.permutation(len(kinds))]] for _ in range(PERMUTATIONS)])
    found = {}
    for name, measure in (
        ("R@1 in %", lambda found_ranks: 100 * np.mean(found_ranks == 0, axis=-1)),
        ("share of beaten captions", lambda found_ranks: 1 - np.mean(found_ranks, axis=-1) / max(len(first) - 1, 1)),
    ):
        random = measure(dealt)
        found[name] = (float(measure(truth)), float(random.mean()), float(np.quantile(random, 1 - LEVEL)))
    return found
