"""Tables of sweeps: Tables 2, 4, 5, readings, dose, weights, anchors, gathers, gaps — one module, any list of runs.

Retrieval from stored ranks by plain cosine (the score that all rows can be compared by) and by the score chosen on
validation; the difference to the table's first row with its interval and verdict; geometry beside it from
theory/geometry/<table>.json. A table whose runs were all trained on one benchmark is tested on it alone (Table 2).
The paper's rows are quoted beside; ours minus theirs is never shown here.
"""

from __future__ import annotations

from typing import Any

from pipeline import paths, statistics
from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.ranks import FULL, Key
from pipeline.reporting import quoted, table
from pipeline.reporting.contrasts import AVERAGE
from pipeline.reporting.measured import JOINT, Measured
from pipeline.reporting.retrieval_table import cell, paths_of
from pipeline.reporting.sweep_figure import draw
from pipeline.reporting.table import Grid, Record
from pipeline.settings import Settings
from pipeline.statistics import EQUIVALENCE_BAND, Estimate

COSINE = "cosine"
MEASURES = ("R@1", "R@50", "MRR")
SINGLES = ("T2V", "V2T", "T2A", "A2T")
#: Tables of the paper with measurements of their own.
MEASURED_THERE = ("table2", "table5")
GEOMETRY = {
    "gap": "mean gap",
    "frechet": "Fréchet",
    "holder": "Hölder, 0.07",
    "holder_wide": "Hölder, 0.5",
    "collinearity": "λ₁/M",
    "alignment": "alignment",
    "uniformity_wide": "U, 0.5",
    "effective_rank": "effective rank",
    "zeta": "ζ",
    "chi": "χ",
}


class Sweep:
    """Records, printed parts and foot of a sweep's table."""

    def __init__(self, settings: Settings, name: str) -> None:
        entry = settings.tables[name]
        self.settings, self.name, self.title, self.runs = settings, name, entry.title, entry.runs
        seeds = {run: min(settings.seeds(run), entry.seeds) for run in self.runs}
        corpora = benchmarks_of(settings, self.runs)
        self.measured = Measured(settings, self.runs, corpora, seeds)
        self.labels = {run: entry.labels.get(run, run) for run in self.runs}
        self.headline = {run: self.measured.headline(run) for run in self.runs}
        self.columns = [*corpora, *([AVERAGE] if len(corpora) > 1 else [])]
        self.main = [r for run in self.runs for r in self._retrieval("main", run, COSINE, list(JOINT.values()))]
        self.chosen = [
            r for run in self.runs for r in self._retrieval("chosen", run, self.headline[run], list(JOINT.values()))
        ]
        self.singles = [r for run in self.runs for r in self._retrieval("pathways", run, COSINE, list(SINGLES))]
        self.differences = self._differences()
        self.geometry = self._geometry(corpora)
        self.notes = entry.notes

    @property
    def records(self) -> list[Record]:
        """All numbers."""
        own = self.main + self.chosen + self.singles + self.differences + self.geometry
        return own + (quoted.records(self.name) if self.name in MEASURED_THERE else [])

    @property
    def grids(self) -> list[Grid]:
        """The parts as printed."""
        by = {(record.section, record.run, record.column): record for record in self._all()}
        joint = [(c, short) for c in self.columns for short in JOINT]
        parts = [
            self._grid("R@1 % by cosine, 95 % interval", by, "main", [(f"{c}.{s}", _shown(c, s)) for c, s in joint]),
            self._grid(
                "Difference to the first row, points by cosine",
                by,
                "differences",
                [(f"{c}.{s}", _shown(c, s)) for c, s in joint],
            ),
            self._grid(
                "R@1 % by the score chosen on validation", by, "chosen", [(f"{c}.{s}", _shown(c, s)) for c, s in joint]
            ),
        ]
        last = self.columns[-1]
        more = [(f"{last}.{s}.{m}", f"{_arrow(way)} {m}") for s, way in JOINT.items() for m in MEASURES[1:]]
        parts.append(self._grid(f"R@50 and MRR by cosine, {last}", by, "main", more))
        ways = [(f"{last}.{way.lower()}", _arrow(way)) for way in SINGLES]
        parts.append(self._grid(f"Single pathways by cosine, R@1 %, {last}", by, "pathways", ways))
        rows = [
            [self.labels[run], *(_plain(by.get(("geometry", run, f"{last}.{key}"))) for key in GEOMETRY)]
            for run in self.runs
        ]
        parts.append(Grid(f"Geometry of test embeddings, {last}", ["row", *GEOMETRY.values()], rows))
        return parts + self._paper()

    @property
    def foot(self) -> list[str]:
        """What has to be known to read the table."""
        sizes = []
        for corpus in self.measured.corpora:
            found = self.measured.ranking(self.runs[0], corpus, Key("test", FULL, "T2VA", COSINE))[0]
            visible = 100 * statistics.smallest_visible(len(found.query))
            sizes.append(
                f"{corpus}: n {len(found.query)} among {found.items} (chance {100 * found.chance():.2f} %, smallest "
                f"difference visible at 15 % discordant pairs {visible:.1f} points)"
            )
        counts = self.measured.seeds
        seeds = ", ".join(f"{self.labels[run]} {count}" for run, count in counts.items())
        if len(set(counts.values())) == 1:
            seeds = f"{counts[self.runs[0]]} a row"
        return [
            *self.notes,
            *sizes,
            f"Seeds: {seeds}.",
            "Intervals: 95 %, bootstrap over seeds and caption clusters; of geometry, Student's over seeds.",
            f"Differences are paired; equivalent: the 90 % interval lies within ± {EQUIVALENCE_BAND:g} points.",
            "Scores chosen on validation: "
            + ", ".join(f"{self.labels[r]} {s}" for r, s in self.headline.items())
            + ".",
            "The test set chose nothing. No difference to the paper's numbers is shown: other data and models.",
        ]

    def _all(self) -> list[Record]:
        return self.main + self.chosen + self.singles + self.differences + self.geometry

    def _retrieval(self, section: str, run: str, score: str, ways: list[str]) -> list[Record]:
        found = []
        for measure in MEASURES if section == "main" else MEASURES[:1]:
            for way in ways:
                key = Key("test", FULL, way, score)
                if not all(self.measured.has(run, corpus, key) for corpus in self.measured.corpora):
                    continue
                suffix = "" if measure == "R@1" else f".{measure}"
                for corpus in self.measured.corpora:
                    one = self.measured.ranking(run, corpus, key)[0]
                    chance = 100 * one.chance() if measure == "R@1" else None
                    estimate = self.measured.estimate(run, corpus, key, measure)
                    column = f"{corpus}.{way.lower()}{suffix}"
                    found.append(self._record(section, run, score, column, estimate, len(one.query), chance))
                if AVERAGE in self.columns:
                    estimate = self.measured.average(run, score, way, measure)
                    found.append(self._record(section, run, score, f"{AVERAGE}.{way.lower()}{suffix}", estimate))
        return found

    def _differences(self) -> list[Record]:
        """R@1 by cosine minus the first row's; Holm over the rows of a column.

        Pairs share seeds; a first row with one (the initial model, no training of its own) is the same for every seed.
        """
        first, *others = self.runs
        found: list[tuple[str, str, Estimate]] = []
        for run in others:
            if self.measured.seeds[first] not in (1, self.measured.seeds[run]):
                continue
            for short, way in JOINT.items():
                key, parts = Key("test", FULL, way, COSINE), []
                for corpus in self.measured.corpora:
                    values = [self.measured.values(one, corpus, key, "R@1") for one in (run, first)]
                    parts.append(self.measured.bootstrap(run, corpus, key)(values[0] - values[1]))
                    found.append((run, f"{corpus}.{short}", parts[-1]))
                if AVERAGE in self.columns:
                    found.append((run, f"{AVERAGE}.{short}", statistics.mean(parts)))
        records = []
        for column in dict.fromkeys(column for _, column, _ in found):
            members = [(run, estimate) for run, where, estimate in found if where == column]
            adjusted = statistics.holm([float(estimate.p_value()) for _, estimate in members])
            for (run, estimate), p in zip(members, adjusted, strict=True):
                record = self._record("differences", run, COSINE, column, estimate)
                judged = {"p_holm": float(p), "verdict": statistics.verdict(estimate, EQUIVALENCE_BAND, float(p))}
                records.append(Record(**(vars(record) | judged | {"note": f"minus {self.labels[first]}"})))
        return records

    def _geometry(self, corpora: list[str]) -> list[Record]:
        file = paths.theory(self.settings, f"geometry/{self.name}")
        if not file.is_file():
            raise UserError(f"{file}: missing; run: python -m pipeline geometry --table {self.name}")
        found = []
        for one in read_json(file)["records"]:
            if one["run"] in self.labels and one["corpus"] in (*corpora, AVERAGE):
                column = f"{one['corpus']}.{one['measure']}"
                found.append(
                    Record(
                        self.name, "geometry", self.labels[one["run"]], column, one["value"], one["sd"], one["ci_low"],
                        one["ci_high"], one["captions"], seeds=one["seeds"], run=one["run"],
                    )
                )  # fmt: skip
        return found

    def _record(
        self,
        section: str,
        run: str,
        score: str,
        column: str,
        estimate: Estimate,
        n: int | None = None,
        chance: float | None = None,
    ) -> Record:
        return Record.of(
            self.name, section, self.labels[run], column, estimate, n_evaluated=n,
            seeds=self.measured.seeds[run], score=score, run=run, chance=chance,
        )  # fmt: skip

    def _grid(
        self, title: str, by: dict[tuple[str, str, str], Record], section: str, columns: list[tuple[str, str]]
    ) -> Grid:
        rows = []
        for run in self.runs:
            cells = [by.get((section, run, column)) for column, _ in columns]
            rows.append([self.labels[run], *(_judged(one) if one else "–" for one in cells)])
        return Grid(title, ["row", *(shown for _, shown in columns)], rows)

    def _paper(self) -> list[Grid]:
        """The paper's rows of the same name, quoted."""
        if self.name not in MEASURED_THERE:
            return []
        rows: dict[str, dict[str, Any]] = {}
        for record in quoted.records(self.name):
            rows.setdefault(record.row, {})[record.column.split(".")[1]] = record.paper
        plain = {"centroid_uniformity=": "U(C) ", ";volume_alignment=": ", √det "}
        for code, words in plain.items():
            rows = {row.replace(code, words): values for row, values in rows.items()}
        shown = [[row, *(f"{values[way]:.1f}" for way in ("t2v", "v2t", "average"))] for row, values in rows.items()]
        return [Grid("The paper's rows on MSR-VTT, quoted", ["row", "T2V", "V2T", "average"], shown)]


def benchmarks_of(settings: Settings, runs: list[str]) -> list[str]:
    """The benchmark that all runs were trained on, if it is one; all benchmarks otherwise."""
    trained = {tuple(settings.run(run).corpora) for run in runs}
    only = trained.pop() if len(trained) == 1 else ()
    return list(only) or settings.benchmarks()


def sweep(settings: Settings, name: str) -> None:
    """Write a sweep's table as json, csv, md and its figure; print it."""
    made = Sweep(settings, name)
    table.write(paths_of(settings, name), made.title, made.records, made.grids, made.foot)
    draw(settings, name, made.records, made.columns)
    table.show(made.title, made.grids, made.foot)


def _judged(record: Record) -> str:
    if not record.verdict or record.value is None:
        return cell(record)
    interval = "" if record.ci_low is None else f" [{record.ci_low:+.1f}, {record.ci_high:+.1f}]"
    return f"{record.value:+.1f}{interval} {record.verdict}"


def _plain(record: Record | None) -> str:
    if record is None or record.value is None:
        return "–"
    spread = "" if record.sd is None else f" ±{record.sd:.2g}"
    return f"{record.value:.3g}{spread}"


def _shown(corpus: str, short: str) -> str:
    return f"{corpus} {_arrow(JOINT[short])}"


def _arrow(direction: str) -> str:
    return direction.replace("2", "→")
