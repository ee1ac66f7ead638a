"""A retrieval table from stored ranks, in the shape of the paper's Table 1.

Rows are methods, columns benchmarks by direction and their average (R@1, first stage, whole gallery, headline score).
Further parts: single pathways and what joining them gains, the matched gallery before and after re-ranking, the
objective x score matrix, other measures, contrasts, quoted rows. Any list of runs in params/runs.yaml can be shown so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from pipeline import paths
from pipeline.ranks import FULL, MATCHED, Key
from pipeline.reporting import contrasts, foot, quoted
from pipeline.reporting.measured import JOINT, SCORES, Measured
from pipeline.reporting.table import Grid, Record, number
from pipeline.settings import Settings
from pipeline.statistics import Estimate, mean

AVERAGE = contrasts.AVERAGE
Form = Literal["interval", "half", "bare"]
#: Direction → its single pathways and the name of its gain.
PATHWAYS = {"t2va": ("t2v", "t2a"), "va2t": ("v2t", "a2t")}


class RetrievalTable:
    """Records, printed parts and foot of the table `name` of params/runs.yaml."""

    def __init__(self, settings: Settings, name: str):
        entry = settings.tables[name]
        self.settings, self.name, self.title = settings, name, entry.title
        seeds = {run: min(settings.seeds(run), entry.seeds) for run in entry.runs}
        self.measured = Measured(settings, entry.runs, list(settings.corpora), seeds)
        self.labels = {run: entry.labels.get(run, run) for run in entry.runs}
        self.notes = entry.notes
        self.quoted = quoted.SHOWN_IN.get(name, name)
        self.headline = {run: self.measured.headline(run) for run in entry.runs}
        found = contrasts.contrasts(self.measured)
        self.main = [r for run in entry.runs for r in self._row("main", run, self.headline[run], JOINT)]
        self.pathways = [record for run in entry.runs for record in self._pathways(run)]
        self.matched = [record for run in entry.runs for record in self._matched(run)]
        self.scores = [
            r
            for run in entry.runs
            for score in self.measured.scores(run)
            for r in self._row("scores", run, score, JOINT)
        ]
        self.measures = [record for run in entry.runs for record in self._measures(run)]
        self.contrasts = contrasts.records(name, self.measured, found, self.labels)
        self.foot = [*self.notes, *foot.foot(settings, self.measured, found)]

    @property
    def records(self) -> list[Record]:
        """All numbers of the table."""
        own = self.main + self.pathways + self.matched + self.scores + self.measures
        return own + self.contrasts + quoted.records(self.quoted)

    @property
    def grids(self) -> list[Grid]:
        """The parts as printed."""
        corpora = [*self.measured.corpora, AVERAGE]
        joint = [(f"{c}.{short}", f"{c} {_arrow(way)}") for c in corpora for short, way in JOINT.items()]
        parts = [self._grid("R@1 %, first stage, headline score, 95 % interval", self.main, joint)]
        ways = [(f"{c}.{way}", f"{c} {_arrow(way.upper())}") for c in corpora for way in ("t2v", "t2a")]
        gains = [(f"{c}.t2va.gain", f"{c} gain") for c in corpora]
        title = "Single pathways and what T→VA gains over the better one, R@1 ± half of the 95 % interval"
        columns = [
            column for number in range(len(corpora)) for column in (*ways[2 * number : 2 * number + 2], gains[number])
        ]
        parts.append(self._grid(title, self.pathways, columns, "half"))
        if self.matched:
            steps = [
                (f"{c}.{short}.{step}", f"{c} {_arrow(way)} {step}")
                for c in self.measured.corpora
                for short, way in JOINT.items()
                for step in ("first", "+itm")
            ]
            title = "Fixed gallery: first stage and re-ranked by matching, R@1 ± half of the 95 % interval"
            parts.append(self._grid(title, self.matched, steps, "half"))
        parts.append(self._score_grid())
        measures = ("R@5", "R@10", "MRR", "mAP", "median")
        columns = [(f"{AVERAGE}.{s}.{m}", f"{_arrow(w)} {m}") for s, w in JOINT.items() for m in measures]
        parts.append(self._grid("Other measures, average over benchmarks", self.measures, columns, "bare"))
        if self.contrasts:
            parts.append(contrasts.grid(self.contrasts, self.measured.corpora))
        return parts + quoted.grids(self.quoted)

    def _record(
        self,
        section: str,
        run: str,
        score: str,
        column: str,
        estimate: Estimate,
        key: Key | None,
        corpus: str,
        note: str = "",
    ) -> Record:
        """A measured number; `key` is what was ranked, None for an average over corpora."""
        one = self.measured.ranking(run, corpus, key)[0] if key else None
        paper = None
        if self.settings.scale == "paper":
            paper = quoted.beside(self.quoted, self.settings.run(run).method, section, column)
        return Record.of(
            self.name, section, self.labels[run], column, estimate, n_evaluated=len(one.query) if one else None,
            n_protocol=self._protocol(corpus, key) if key else None, seeds=self.measured.seeds[run], score=score,
            run=run, note=note, paper=paper, chance=100 * one.chance() if one else None,
        )  # fmt: skip

    def _protocol(self, corpus: str, key: Key) -> int | None:
        """Queries that the protocol asks for: the scale's clips, where queries are clips."""
        if key.gallery == MATCHED or key.direction.startswith("T2"):
            return None
        return self.settings.corpora[corpus].test

    def _row(self, section: str, run: str, score: str, ways: dict[str, str]) -> list[Record]:
        found = []
        for short, direction in ways.items():
            key = Key("test", FULL, direction, score)
            for corpus in self.measured.corpora:
                estimate = self.measured.estimate(run, corpus, key)
                found.append(self._record(section, run, score, f"{corpus}.{short}", estimate, key, corpus))
            average = self.measured.average(run, score, direction)
            chance = float(np.mean([r.chance for r in found[-len(self.measured.corpora) :]]))
            record = self._record(section, run, score, f"{AVERAGE}.{short}", average, None, "")
            found.append(Record(**(vars(record) | {"chance": chance})))
        return found

    def _pathways(self, run: str) -> list[Record]:
        """T→V, T→A (and back) and joint minus the best single, each averaged over the corpora too."""
        score, measured = self.headline[run], self.measured
        found = self._row("pathways", run, score, {w: w.upper() for both in PATHWAYS.values() for w in both})
        for joint, singles in PATHWAYS.items():
            key = Key("test", FULL, JOINT[joint], score)
            differences = []
            for corpus in measured.corpora:
                alone = [measured.values(run, corpus, key._replace(direction=w.upper()), "R@1") for w in singles]
                best = max(range(len(alone)), key=lambda number: alone[number].mean())
                difference = measured.values(run, corpus, key, "R@1") - alone[best]
                differences.append(measured.bootstrap(run, corpus, key)(difference))
                note = f"minus {singles[best].upper()}"
                column = f"{corpus}.{joint}.gain"
                found.append(self._record("pathways", run, score, column, differences[-1], key, corpus, note))
            average = mean(differences)
            found.append(self._record("pathways", run, score, f"{AVERAGE}.{joint}.gain", average, None, ""))
        return [Record(**(vars(r) | {"chance": None})) if r.column.endswith("gain") else r for r in found]

    def _matched(self, run: str) -> list[Record]:
        score, measured = self.headline[run], self.measured
        found = []
        for corpus in filter(measured.matched, measured.corpora):
            for short, direction in JOINT.items():
                for step, suffix in (("first", ""), ("+itm", "+itm")):
                    key = Key("test", MATCHED, direction, score + suffix)
                    estimate = measured.estimate(run, corpus, key)
                    column = f"{corpus}.{short}.{step}"
                    found.append(self._record("matched", run, score + suffix, column, estimate, key, corpus))
        return found

    def _measures(self, run: str) -> list[Record]:
        score, measured = self.headline[run], self.measured
        found = []
        for short, direction in JOINT.items():
            key = Key("test", FULL, direction, score)
            for measure in ("R@5", "R@10", "MRR", "mAP"):
                for corpus in measured.corpora:
                    estimate = measured.estimate(run, corpus, key, measure)
                    column = f"{corpus}.{short}.{measure}"
                    found.append(self._record("measures", run, score, column, estimate, key, corpus))
                average = measured.average(run, score, direction, measure)
                found.append(self._record("measures", run, score, f"{AVERAGE}.{short}.{measure}", average, None, ""))
            for measure, function in (("median", np.median), ("mean", np.mean)):
                for corpus in measured.corpora:
                    ranks = measured.ranking(run, corpus, key)
                    value = number(np.mean([function(one.rank) for one in ranks]))
                    column = f"{corpus}.{short}.{measure}"
                    found.append(self._rank_record(run, score, column, value))
                values = [record.value for record in found[-len(measured.corpora) :] if record.value is not None]
                found.append(self._rank_record(run, score, f"{AVERAGE}.{short}.{measure}", number(np.mean(values))))
        return found

    def _rank_record(self, run: str, score: str, column: str, value: float | None) -> Record:
        seeds, label = self.measured.seeds[run], self.labels[run]
        return Record(self.name, "measures", label, column, value, seeds=seeds, score=score, run=run, note="rank")

    def _grid(self, title: str, records: list[Record], columns: list[tuple[str, str]], form: Form = "interval") -> Grid:
        by = {(record.run, record.column): record for record in records}
        rows = [
            [self.labels[run], self.headline[run], str(self.measured.seeds[run])]
            + [cell(by[run, column], form) if (run, column) in by else "–" for column, _ in columns]
            for run in self.measured.runs
        ]
        return Grid(title, ["method", "score", "seeds", *(shown for _, shown in columns)], rows)

    def _score_grid(self) -> Grid:
        by = {(r.run, r.score, r.column): r for r in self.scores}
        headings = ["method"] + [f"{_arrow(way)} {score}" for way in JOINT.values() for score in SCORES]
        rows = []
        for run in self.measured.runs:
            cells = []
            for short in JOINT:
                for score in SCORES:
                    record = by.get((run, score, f"{AVERAGE}.{short}"))
                    star = "*" if score == self.headline[run] else ""
                    cells.append(cell(record) + star if record else "–")
            rows.append([self.labels[run], *cells])
        return Grid("Objective × score, R@1 averaged over benchmarks; * chosen on validation", headings, rows)


def cell(record: Record, form: Form = "interval") -> str:
    """`† 3.2 [2.1, 4.3]`, `† 3.2 ±1.1` or `† 3.2`; the dagger where the value is not above chance."""
    if record.value is None:
        return "–"
    signed = "+" if record.column.endswith("gain") else ""
    text = f"{record.value:{signed}.1f}"
    if record.ci_low is None or record.ci_high is None:
        return text
    dagger = "† " if record.chance is not None and record.ci_low <= record.chance else ""
    if form == "half":
        text += f" ±{(record.ci_high - record.ci_low) / 2:.1f}"
    if form == "interval":
        text += f" [{record.ci_low:{signed}.1f}, {record.ci_high:{signed}.1f}]"
    return dagger + text


def paths_of(settings: Settings, name: str) -> dict[str, Path]:
    """Files of a table by kind."""
    return {kind: paths.table(settings, name, kind) for kind in ("json", "csv", "md")}


def _arrow(direction: str) -> str:
    return direction.replace("2", "→")
