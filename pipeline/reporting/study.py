"""Numbers of the study of the scores: volume, residual and cosine over all trained methods and benchmarks.

Retrieval from stored ranks of all seeds; hubs, collinearity and missing modalities from `paths.study` of the seeds that
were studied. Tests are paired by query and seed (pipeline/statistics.py), Holm over the methods of a column.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pipeline import paths, statistics
from pipeline import ranks as stored
from pipeline.estimates import estimate
from pipeline.ranks import FULL, Key, missing
from pipeline.reporting.contrasts import AVERAGE
from pipeline.reporting.measured import JOINT, Measured
from pipeline.reporting.table import Record
from pipeline.settings import Settings
from pipeline.statistics import EQUIVALENCE_BAND, Estimate

NAME = "scores"
SCORES = ("cosine", "volume", "residual")
#: What the residual is compared with.
OTHERS = ("volume", "cosine")
RESIDUAL = "residual"
#: Hubness as stored → its column and the factor to its unit.
HUBS = {"winner": ("winner", 100.0), "skewness": ("skewness", 1.0), "orphans": ("orphans", 100.0)}


class Study:
    """All records of the table, by section; `find` looks one column up."""

    def __init__(self, settings: Settings) -> None:
        entry = settings.tables[NAME]
        self.settings, self.runs, self.shares = settings, entry.runs, settings.study.missing
        self.corpora = settings.benchmarks()
        self.labels = {run: entry.labels.get(run, run) for run in self.runs}
        seeds = {run: min(settings.seeds(run), entry.seeds) for run in self.runs}
        few = {run: min(count, settings.study.seeds) for run, count in seeds.items()}
        self.measured = Measured(settings, self.runs, self.corpora, seeds)
        self.lessened = Measured(settings, self.runs, self.corpora, few, paths.study)
        self.about = {
            (run, corpus): [stored.read(paths.study(settings, run, seed, corpus))[1] for seed in range(few[run])]
            for run in self.runs
            for corpus in self.corpora
        }
        self.retrieval = [record for run in self.runs for record in self._retrieval(run)]
        self.differences = self._differences()
        self.hubs = [record for run in self.runs for record in self._hubs(run)]
        self.losses = [record for run in self.runs for record in self._losses(run)]
        self.fares = [record for run in self.runs for record in self._fares(run)]
        self._by: dict[tuple[str, str, str], dict[str, Record]] = {}
        for one in self.records:
            self._by.setdefault((one.section, one.column, one.score), {})[one.run] = one

    @property
    def records(self) -> list[Record]:
        """All numbers."""
        return self.retrieval + self.differences + self.hubs + self.losses + self.fares

    def _retrieval(self, run: str) -> list[Record]:
        found = []
        for measure in ("R@1", "MRR"):
            for score in SCORES:
                for short, way in JOINT.items():
                    key, parts = Key("test", FULL, way, score), []
                    for corpus in self.corpora:
                        parts.append(self.measured.estimate(run, corpus, key, measure))
                        one = self.measured.ranking(run, corpus, key)[0]
                        chance = 100 * one.chance() if measure == "R@1" else None
                        column = f"{corpus}.{short}.{measure}"
                        found.append(self._record("retrieval", run, score, column, parts[-1], len(one.query), chance))
                    column = f"{AVERAGE}.{short}.{measure}"
                    found.append(self._record("retrieval", run, score, column, statistics.mean(parts)))
        return found

    def _differences(self) -> list[Record]:
        """residual - volume and residual - cosine of every run, R@1 points, Holm over the runs of a column."""
        found: list[tuple[str, str, str, Estimate]] = []
        for run in self.runs:
            for other in OTHERS:
                for short, way in JOINT.items():
                    key, parts = Key("test", FULL, way, RESIDUAL), []
                    for corpus in self.corpora:
                        ours = self.measured.values(run, corpus, key, "R@1")
                        theirs = self.measured.values(run, corpus, key._replace(score=other), "R@1")
                        parts.append(self.measured.bootstrap(run, corpus, key)(ours - theirs))
                        found.append((run, other, f"{corpus}.{short}", parts[-1]))
                    found.append((run, other, f"{AVERAGE}.{short}", statistics.mean(parts)))
        records = []
        for group in dict.fromkeys((other, column) for _, other, column, _ in found):
            members = [(run, one) for run, other, column, one in found if (other, column) == group]
            adjusted = statistics.holm([float(one.p_value()) for _, one in members])
            for (run, one), p in zip(members, adjusted, strict=True):
                record = self._record("differences", run, f"{RESIDUAL} − {group[0]}", group[1], one)
                judged = {"p_holm": float(p), "verdict": statistics.verdict(one, EQUIVALENCE_BAND, float(p))}
                records.append(Record(**(vars(record) | judged)))
        return records

    def _hubs(self, run: str) -> list[Record]:
        """Hubness by direction and score, lambda_1(G)/M, over seeds, and the mean over the corpora."""
        found = []
        for measure, (column, factor) in HUBS.items():
            for short, way in JOINT.items():
                for score in SCORES:
                    pick = partial(_hub, way=way, score=score, measure=measure, factor=factor)
                    found += self._over_seeds("hubness", run, score, f"{short}.{column}", pick)
        return found + self._over_seeds("geometry", run, "", "collinearity", lambda about: about["collinearity"])

    def _losses(self, run: str) -> list[Record]:
        """R@1 where clips lose a modality, nothing lost first, by the seeds that were studied."""
        found = []
        seeds = self.lessened.seeds[run]
        for share in self.shares:
            for score in SCORES:
                for short, way in JOINT.items():
                    key, parts = Key("test", missing(share), way, score), []
                    for corpus in self.corpora:
                        parts.append(self.lessened.estimate(run, corpus, key))
                        column = f"{corpus}.{short}.{100 * share:g}"
                        found.append(self._record("missing", run, score, column, parts[-1], seeds=seeds))
                    column = f"{AVERAGE}.{short}.{100 * share:g}"
                    found.append(self._record("missing", run, score, column, statistics.mean(parts), seeds=seeds))
        return found

    def _fares(self, run: str) -> list[Record]:
        """Clips that lost a modality: their share of the gallery and of queries won, R@1 of their texts, of others."""
        found = []
        for score in SCORES:
            for measure in ("won", "lessened", "whole"):
                found += self._over_seeds("fewer", run, score, measure, partial(_fare, score=score, measure=measure))
        return found + self._over_seeds("fewer", run, "", "share", lambda about: 100 * about["lessened"]["share"])

    def _over_seeds(
        self, section: str, run: str, score: str, measure: str, pick: Callable[[dict[str, Any]], float | None]
    ) -> list[Record]:
        """`corpus.measure` and its mean over the corpora that have it, with Student's interval over seeds."""
        values = {corpus: [pick(about) for about in self.about[run, corpus]] for corpus in self.corpora}
        there = {corpus: [v for v in found if v is not None] for corpus, found in values.items() if None not in found}
        if there:
            there[AVERAGE] = [sum(parts) / len(parts) for parts in zip(*there.values(), strict=True)]
        found = []
        for corpus, numbers in there.items():
            one = estimate(numbers, len(numbers))
            found.append(
                Record(
                    NAME, section, self.labels[run], f"{corpus}.{measure}", one["value"], one["sd"], one["ci_low"],
                    one["ci_high"], seeds=one["seeds"], score=score, run=run,
                )
            )  # fmt: skip
        return found

    def _record(
        self,
        section: str,
        run: str,
        score: str,
        column: str,
        one: Estimate,
        n: int | None = None,
        chance: float | None = None,
        seeds: int | None = None,
    ) -> Record:
        return Record.of(
            NAME, section, self.labels[run], column, one, n_evaluated=n,
            seeds=seeds or self.measured.seeds[run], score=score, run=run, chance=chance,
        )  # fmt: skip

    def find(self, section: str, column: str, score: str = "") -> dict[str, Record]:
        """Run → its record of a section, column and score."""
        return self._by.get((section, column, score), {})


def _hub(about: dict[str, Any], way: str, score: str, measure: str, factor: float) -> float:
    return float(factor * about["hubness"][way][score][measure])


def _fare(about: dict[str, Any], score: str, measure: str) -> float | None:
    value = about["lessened"]["scores"][score][measure]
    return None if value is None else 100 * float(value)
