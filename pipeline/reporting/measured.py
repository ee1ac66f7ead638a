"""Stored ranks of a table's runs as estimates with intervals.

All that is compared shares the draws of one bootstrap a gallery and side, so that differences are paired by query and
by seed. The headline score of a run is the one with the best validation MRR, mean over corpora and both directions;
`fused` is no candidate for a run whose objective does not train that head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import paths, statistics
from pipeline import ranks as stored
from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.provenance import check
from pipeline.ranks import FULL, Key, Ranking
from pipeline.settings import Settings
from pipeline.statistics import Bootstrap, Estimate

SCORES = ("cosine", "fused", "volume", "residual")
JOINT = {"t2va": "T2VA", "va2t": "VA2T"}
#: Measures of a query, in percent.
MEASURES: dict[str, Callable[[Ranking], NDArray[np.float64]]] = {
    "R@1": lambda one: 100 * one.recall(1),
    "R@5": lambda one: 100 * one.recall(5),
    "R@10": lambda one: 100 * one.recall(10),
    "R@50": lambda one: 100 * one.recall(50),
    "MRR": lambda one: 100 * one.reciprocal(),
    "mAP": lambda one: 100 * one.precision,
}


class Measured:
    """Ranks of `runs` on `corpora`, from the files that `path` names; every seed of a run is in.

    Averages and the choice of a score are over `corpora`; those of `beside` can be looked up.
    """

    def __init__(
        self,
        settings: Settings,
        runs: list[str],
        corpora: list[str],
        seeds: dict[str, int],
        path: Callable[[Settings, str, int, str], Path] = paths.ranks,
        beside: Sequence[str] = (),
    ):
        self.settings, self.runs, self.corpora, self.seeds, self.beside = settings, runs, corpora, seeds, beside
        self._rankings: dict[tuple[str, str], list[dict[Key, Ranking]]] = {}
        for corpus in (*corpora, *beside):
            digests: dict[str, Path] = {}
            for run in runs:
                found = []
                for seed in range(seeds[run]):
                    file = path(settings, run, seed, corpus)
                    rankings, about = _read(file, run, seed, corpus, paths.embeddings(settings, run, seed, corpus))
                    digests.setdefault(str(about.get("manifest")), file)
                    found.append(rankings)
                self._rankings[run, corpus] = found
            if len(digests) > 1:
                first, second = list(digests.values())[:2]
                raise UserError(f"{second}: made from another manifest than {first}; rank the older one again")
        self.estimate = cache(self._estimate)
        self._bootstrap = cache(self._make_bootstrap)

    def has(self, run: str, corpus: str, key: Key) -> bool:
        """Whether the run was ranked so on the corpus."""
        return key in self._rankings[run, corpus][0]

    def ranking(self, run: str, corpus: str, key: Key) -> list[Ranking]:
        """Rankings of all seeds; their queries are the same."""
        try:
            found = [one[key] for one in self._rankings[run, corpus]]
        except KeyError:
            raise UserError(f"ranks of {run} on {corpus} have no {key.score} {key.direction}; rank it again") from None
        for seed, one in enumerate(found):
            if not np.array_equal(one.query, self._first(corpus, key).query):
                raise UserError(f"ranks of {run} seed {seed} on {corpus} have other queries; rank the runs again")
        return found

    def values(self, run: str, corpus: str, key: Key, measure: str) -> NDArray[np.float64]:
        """[seeds, queries] of a measure."""
        return np.stack([MEASURES[measure](one) for one in self.ranking(run, corpus, key)])

    def _estimate(self, run: str, corpus: str, key: Key, measure: str = "R@1") -> Estimate:
        """Mean over seeds and queries of a measure with its resamples."""
        return self.bootstrap(run, corpus, key)(self.values(run, corpus, key, measure), least=0)

    def bootstrap(self, run: str, corpus: str, key: Key) -> Bootstrap:
        """The draws that all rankings of a gallery and side with as many seeds share."""
        return self._bootstrap(corpus, key.split, key.gallery, key.direction.startswith("T2"), self.seeds[run])

    def average(self, run: str, score: str, direction: str, measure: str = "R@1") -> Estimate:
        """Mean over the corpora, whole galleries."""
        keys = Key("test", FULL, direction, score)
        return statistics.mean([self.estimate(run, corpus, keys, measure) for corpus in self.corpora])

    def scores(self, run: str) -> list[str]:
        """Scores that the run was ranked by on every corpus."""
        key = Key("test", FULL, "T2VA", "")
        return [s for s in SCORES if all(self.has(run, corpus, key._replace(score=s)) for corpus in self.corpora)]

    def validation(self, run: str, score: str) -> float:
        """MRR on validation in percent, mean over corpora, directions and seeds."""
        keys = [Key("val", FULL, direction, score) for direction in JOINT.values()]
        return float(np.mean([self.values(run, c, key, "MRR").mean() for c in self.corpora for key in keys]))

    def headline(self, run: str) -> str:
        """The score chosen on validation among those that the run's training did not leave behind."""
        fresh = [score for score in self.scores(run) if score not in self.settings.stale(run)]
        return max(fresh, key=lambda score: self.validation(run, score))

    def _first(self, corpus: str, key: Key) -> Ranking:
        """The ranking of the first run that was ranked so; all others have its queries."""
        return next(self._rankings[run, corpus][0][key] for run in self.runs if self.has(run, corpus, key))

    def _make_bootstrap(self, corpus: str, split: str, gallery: str, from_text: bool, seeds: int) -> Bootstrap:
        groups = self._first(corpus, Key(split, gallery, "T2VA" if from_text else "VA2T", "cosine")).group
        return Bootstrap(groups, seeds, self.settings.retrieval.bootstrap, self.settings.seed)


def _read(file: Path, run: str, seed: int, corpus: str, embeddings: Path) -> tuple[dict[Key, Ranking], dict[str, Any]]:
    """Rankings of a file and what they are made of; a UserError if that is not this run, seed and corpus."""
    if not file.is_file():
        raise UserError(f"{file}: missing; rank the run first")
    rankings, about = stored.read(file)
    check(file, about, f"rank {run} again", run=run, seed=seed, corpus=corpus)
    if embeddings.is_file():  # a clone may hold ranks alone
        check(file, about, f"{embeddings} are others; rank {run} again", embeddings=sha256(embeddings))
    return rankings, about
