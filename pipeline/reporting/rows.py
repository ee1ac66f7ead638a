"""Records of a retrieval table: a measured number with its sizes, and other people's where they share its protocol."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.ranks import FULL, Key, Ranking
from pipeline.reporting import quoted
from pipeline.reporting.contrasts import AVERAGE
from pipeline.reporting.measured import Measured
from pipeline.reporting.table import Record
from pipeline.settings import Settings
from pipeline.statistics import Estimate, mean


class Rows:
    """Makes the records of the table `name`; `labels` name its rows."""

    def __init__(self, settings: Settings, name: str, measured: Measured, labels: dict[str, str]):
        self.settings, self.name, self.measured, self.labels = settings, name, measured, labels
        self.quoted = quoted.SHOWN_IN.get(name, name)
        self.headline = {run: measured.headline(run) for run in measured.runs}

    def record(
        self,
        section: str,
        run: str,
        score: str,
        column: str,
        estimate: Estimate,
        key: Key | None,
        corpus: str,
        note: str = "",
        measure: str = "R@1",
    ) -> Record:
        """A measured number; `key` is what was ranked, None for an average over corpora."""
        one = self.measured.ranking(run, corpus, key)[0] if key else None
        theirs: Mapping[str, float | None] = {}
        if self.settings.scale == "paper" and (key or set(self.measured.corpora) == quoted.AVERAGED):
            theirs = quoted.beside(self.quoted, self.settings.run(run).method, section, column, score)
        return Record.of(
            self.name, section, self.labels[run], column, estimate, n_evaluated=len(one.query) if one else None,
            n_protocol=self._protocol(corpus, key) if key else None, seeds=self.measured.seeds[run], score=score,
            run=run, note=note, chance=_chance(one, measure), **theirs,
        )  # fmt: skip

    def one(self, section: str, run: str, key: Key, corpus: str, column: str, measure: str = "R@1") -> Record:
        """What the ranks of `key` give on a corpus; `column`: what follows the corpus."""
        estimate = self.measured.estimate(run, corpus, key, measure)
        return self.record(section, run, key.score, f"{corpus}.{column}", estimate, key, corpus, measure=measure)

    def _protocol(self, corpus: str, key: Key) -> int | None:
        """Queries that the protocol asks for: the scale's clips, where queries are clips."""
        if key.gallery != FULL or key.direction.startswith("T2"):
            return None
        return self.settings.corpora[corpus].test

    def row(self, section: str, run: str, score: str, ways: dict[str, str], suffix: str = "") -> list[Record]:
        """R@1 of whole galleries by directions (column → direction), each averaged over the corpora too."""
        found = []
        for short, direction in ways.items():
            key = Key("test", FULL, direction, score)
            found += [self.one(section, run, key, corpus, f"{short}{suffix}") for corpus in self.measured.corpora]
            average = self.measured.average(run, score, direction)
            chance = float(np.mean([r.chance for r in found[-len(self.measured.corpora) :]]))
            record = self.record(section, run, score, f"{AVERAGE}.{short}{suffix}", average, None, "")
            found.append(Record(**(vars(record) | {"chance": chance})))
        return found

    def difference(
        self,
        section: str,
        run: str,
        score: str,
        column: str,
        keys: Mapping[str, tuple[Key, Key]],
        notes: Mapping[str, str] | None = None,
    ) -> list[Record]:
        """R@1 of the first key minus the second's, paired by query and seed, of each corpus of `keys`.

        With their average if all corpora have it. `column`: what follows the corpus; `notes` by corpus.
        """
        found, estimates = [], []
        for corpus, (first, second) in keys.items():
            values = [self.measured.values(run, corpus, key, "R@1") for key in (first, second)]
            estimates.append(self.measured.bootstrap(run, corpus, first)(values[0] - values[1]))
            note = (notes or {}).get(corpus, "")
            found.append(self.record(section, run, score, f"{corpus}.{column}", estimates[-1], first, corpus, note))
        if list(keys) == self.measured.corpora:
            found.append(self.record(section, run, score, f"{AVERAGE}.{column}", mean(estimates), None, ""))
        return [Record(**(vars(record) | {"chance": None})) for record in found]


def _chance(one: Ranking | None, measure: str) -> float | None:
    """In %, what a random order would reach of a recall `R@k`; None for other measures."""
    kind, _, k = measure.partition("@")
    return 100 * one.chance(int(k)) if one and kind == "R" else None
