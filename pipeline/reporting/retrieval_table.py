"""A retrieval table from stored ranks, in the shape of the paper's Table 1.

Rows are methods, columns benchmarks by direction and their average (R@1, first stage, whole gallery, headline score).
Further parts: re-ranked by matching with what that adds, single pathways and what joining them gains, items with audio
alone, clips held out of training corpora, the objective x score matrix, other measures, contrasts, quoted rows. Any
list of runs in params/runs.yaml can be shown so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from pipeline import paths
from pipeline.ranks import FULL, ITM, Key
from pipeline.reporting import contrasts, foot, galleries, quoted
from pipeline.reporting.measured import JOINT, SCORES, Measured
from pipeline.reporting.rows import Rows
from pipeline.reporting.table import Grid, Record, number
from pipeline.settings import Settings

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
        benchmarks = settings.benchmarks()
        beside = [corpus for corpus in settings.corpora if corpus not in benchmarks]
        self.measured = Measured(settings, entry.runs, benchmarks, seeds, beside=beside)
        self.labels = {run: entry.labels.get(run, run) for run in entry.runs}
        self.notes = entry.notes
        self.rows = Rows(settings, name, self.measured, self.labels)
        self.quoted, self.headline = self.rows.quoted, self.rows.headline
        again = contrasts.contrasts(self.measured, ITM)
        found = contrasts.contrasts(self.measured, beside=not again)  # the paper's are re-ranked
        self.main = [r for run in entry.runs for r in self.rows.row("main", run, self.headline[run], JOINT)]
        self.pathways = [record for run in entry.runs for record in self._pathways(run)]
        self.reranked, self.matched, self.with_audio, self.held_out = (
            [record for run in entry.runs for record in part(self.rows, run)]
            for part in (galleries.reranked, galleries.matched, galleries.with_audio, galleries.held_out)
        )
        self.scores = [
            r
            for run in entry.runs
            for score in self.measured.scores(run)
            for r in self.rows.row("scores", run, score, JOINT)
        ]
        self.measures = [record for run in entry.runs for record in self._measures(run)]
        self.contrasts = contrasts.records(name, self.measured, found, self.labels)
        self.again = contrasts.records(name, self.measured, again, self.labels, "contrasts_reranked")
        self.foot = [*self.notes, *foot.foot(settings, self.measured, found), *quoted.why(self.quoted)]

    @property
    def records(self) -> list[Record]:
        """All numbers of the table."""
        own = self.main + self.reranked + self.pathways + self.matched + self.with_audio + self.held_out + self.scores
        return own + self.measures + self.contrasts + self.again + quoted.records(self.quoted)

    @property
    def grids(self) -> list[Grid]:
        """The parts as printed."""
        corpora = [*self.measured.corpora, AVERAGE]
        joint = [(f"{c}.{short}", f"{c} {_arrow(way)}") for c in corpora for short, way in JOINT.items()]
        parts = [self._grid("R@1 %, first stage, headline score, 95 % interval", self.main, joint)]
        if self.reranked:
            title = "R@1 %, the first re-ranked by the run's own matching (as the paper's), and what that adds"
            steps = [(f"{column}.{step}", f"{shown} {step}") for column, shown in joint for step in (ITM, "gain")]
            parts.append(self._grid(title, self.reranked, steps))
        ways = [(f"{c}.{way}", f"{c} {_arrow(way.upper())}") for c in corpora for way in ("t2v", "t2a")]
        gains = [(f"{c}.t2va.gain", f"{c} gain") for c in corpora]
        title = "Single pathways and what T→VA gains over the one better on validation, R@1 ± half of the 95 % interval"
        columns = [
            column for number in range(len(corpora)) for column in (*ways[2 * number : 2 * number + 2], gains[number])
        ]
        parts.append(self._grid(title, self.pathways, columns, "half"))
        if self.matched:
            steps = [
                (f"{c}.{short}.{step}", f"{c} {_arrow(way)} {step}")
                for c in self.measured.corpora
                for short, way in JOINT.items()
                for step in ("first", ITM, "gain")
            ]
            title = (
                "Fixed gallery: first stage, re-ranked by matching and what that adds, R@1 ± half of the 95 % interval"
            )
            parts.append(self._grid(title, self.matched, steps, "half"))
        if self.with_audio:
            steps = [
                (f"{c}.{short}{step}", f"{c} {_arrow(way)} {step.strip('.')}".strip())
                for c in self.measured.corpora
                for short, way in JOINT.items()
                for step in ("", f".{ITM}")
                if any(record.column == f"{c}.{short}{step}" for record in self.with_audio)
            ]
            parts.append(self._grid("Items with audio alone, R@1 %, 95 % interval", self.with_audio, steps))
        if self.held_out:
            ways = [
                (f"{c}.{short}", f"{c} {_arrow(way)}") for c in self.measured.beside for short, way in JOINT.items()
            ]
            title = "Clips held out of training corpora (in no average), R@1 %, 95 % interval"
            parts.append(self._grid(title, self.held_out, ways))
        parts.append(self._score_grid())
        measures = ("R@5", "R@10", "MRR", "mAP", "median")
        columns = [(f"{AVERAGE}.{s}.{m}", f"{_arrow(w)} {m}") for s, w in JOINT.items() for m in measures]
        parts.append(self._grid("Other measures, average over benchmarks", self.measures, columns, "bare"))
        if self.contrasts:
            parts.append(contrasts.grid(self.contrasts, self.measured.corpora))
        if self.again:
            parts.append(contrasts.grid(self.again, self.measured.corpora, " after re-ranking"))
        return parts + quoted.grids(self.quoted)

    def _pathways(self, run: str) -> list[Record]:
        """T→V, T→A (and back) and joint minus the single better on validation, averaged over the corpora too."""
        score, measured = self.headline[run], self.measured
        found = self.rows.row("pathways", run, score, {w: w.upper() for both in PATHWAYS.values() for w in both})
        for joint, singles in PATHWAYS.items():
            key = Key("test", FULL, JOINT[joint], score)
            keys, notes = {}, {}
            for corpus in measured.corpora:
                alone = [key._replace(direction=way.upper()) for way in singles]
                best = max(alone, key=lambda one: measured.values(run, corpus, one._replace(split="val"), "MRR").mean())
                keys[corpus], notes[corpus] = (key, best), f"minus {best.direction}"
            found += self.rows.difference("pathways", run, score, f"{joint}.gain", keys, notes)
        return found

    def _measures(self, run: str) -> list[Record]:
        score, measured = self.headline[run], self.measured
        found = []
        for short, direction in JOINT.items():
            key = Key("test", FULL, direction, score)
            for measure in ("R@5", "R@10", "MRR", "mAP"):
                column = f"{short}.{measure}"
                found += [self.rows.one("measures", run, key, corpus, column, measure) for corpus in measured.corpora]
                average = measured.average(run, score, direction, measure)
                found.append(self.rows.record("measures", run, score, f"{AVERAGE}.{column}", average, None, ""))
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
