"""Differences of methods: the quantity that a small reproduction can compare with the paper.

Each method enters with its headline score, at the first stage or (`step`) re-ranked. P(A > B), Holm over the contrasts
of a column, a verdict (better, worse, equivalent within ± 2 points, unclear) and, where the paper has both rows, its
difference and whether the sign agrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline import statistics
from pipeline.ranks import FULL, Key
from pipeline.reporting import quoted
from pipeline.reporting.measured import JOINT, Measured
from pipeline.reporting.table import Grid, Record, number
from pipeline.settings import Settings
from pipeline.statistics import EQUIVALENCE_BAND, Estimate

AVERAGE = "average"


@dataclass(frozen=True)
class Contrast:
    """A - B in percentage points on a corpus (or their average) and direction, at a step ("" or `+itm`)."""

    first: str
    second: str
    corpus: str
    direction: str
    difference: Estimate
    p_better: float
    paper: float | None
    step: str


def pairs(settings: Settings, runs: list[str]) -> list[tuple[str, str]]:
    """Runs to be compared: each with the control, UniAlign also with GRAM, in either gradient, and InfoNCE."""
    methods = {run: settings.run(run).method for run in runs}
    by_method = {method: run for run, method in reversed(methods.items())}
    control = by_method.get("vast-continued")
    found = [(run, control) for run in runs if control and methods[run] not in ("vast", "vast-continued")]
    main = by_method.get("unialign")
    found += [(main, by_method[other]) for other in ("gram", "gram-no-grad", "infonce") if main and other in by_method]
    return found


def uncompared(measured: Measured) -> list[str]:
    """Pairs that `contrasts` leaves out, as seeds are paired."""
    settings, seeds = measured.settings, measured.seeds
    return [
        f"{one} − {two} ({seeds[one]}, {seeds[two]})"
        for one, two in pairs(settings, measured.runs)
        if seeds[one] != seeds[two]
    ]


def contrasts(measured: Measured, step: str = "", beside: bool = True) -> list[Contrast]:
    """All pairs, corpora and directions, the average last; `beside`: with the paper's differences.

    None for a pair that was not ranked so on all corpora.
    """
    settings = measured.settings
    found = []
    for first, second in pairs(settings, measured.runs):
        methods = settings.run(first).method, settings.run(second).method
        if measured.seeds[first] != measured.seeds[second]:
            continue
        keys = [Key("test", FULL, "T2VA", measured.headline(run) + step) for run in (first, second)]
        if not all(measured.has(r, c, k) for r, k in zip((first, second), keys, strict=True) for c in measured.corpora):
            continue
        for short, direction in JOINT.items():
            estimates, draws = [], []
            for corpus in measured.corpora:
                one, two = (key._replace(direction=direction) for key in keys)
                difference = measured.values(first, corpus, one, "R@1") - measured.values(second, corpus, two, "R@1")
                bootstrap = measured.bootstrap(first, corpus, one)
                estimates.append(bootstrap(difference))
                draws.append(bootstrap.drawn(difference))
                benchmarks = quoted.benchmarks(settings.corpora[corpus].stands_for)
                paper = quoted.contrast(*methods, benchmarks, short) if beside else None
                better = statistics.superiority(draws[-1])
                found.append(Contrast(first, second, corpus, short, estimates[-1], better, paper, step))
            paper = quoted.contrast(*methods, [AVERAGE], short) if beside else None
            better = statistics.superiority(np.mean(draws, axis=0))
            found.append(Contrast(first, second, AVERAGE, short, statistics.mean(estimates), better, paper, step))
    return found


def records(
    table: str, measured: Measured, found: list[Contrast], labels: dict[str, str], section: str = "contrasts"
) -> list[Record]:
    """Contrasts with Holm's p over the contrasts of their column."""
    written = []
    columns = {(one.corpus, one.direction): None for one in found}
    for column in columns:
        members = [one for one in found if (one.corpus, one.direction) == column]
        adjusted = statistics.holm([float(one.difference.p_value()) for one in members])
        for one, p in zip(members, adjusted, strict=True):
            low, high = one.difference.interval()
            scores = [measured.headline(run) + one.step for run in (one.first, one.second)]
            written.append(
                Record(
                    table,
                    section,
                    f"{labels[one.first]} − {labels[one.second]}",
                    f"{one.corpus}.{one.direction}",
                    number(one.difference.value),
                    number(one.difference.seed_deviation),
                    number(low),
                    number(high),
                    seeds=measured.seeds[one.first],
                    score=" − ".join(dict.fromkeys(scores)),
                    run=f"{one.first} − {one.second}",
                    note=_sign(float(one.difference.value), float(low), float(high), one.paper),
                    paper=one.paper,
                    p_better=one.p_better,
                    p_holm=float(p),
                    verdict=statistics.verdict(one.difference, EQUIVALENCE_BAND, float(p)),
                )
            )
    return written


def grid(found: list[Record], corpora: list[str], stage: str = "") -> Grid:
    """A row a contrast and direction; `stage` goes into the title."""
    rows = []
    for row in dict.fromkeys(record.row for record in found):
        for short, shown in JOINT.items():
            cells = {r.column: r for r in found if r.row == row and r.column.endswith(f".{short}")}
            mean = cells[f"{AVERAGE}.{short}"]
            own = [_cell(cells[f"{corpus}.{short}"]) for corpus in (*corpora, AVERAGE)]
            paper = "–" if mean.paper is None else f"{mean.paper:+.1f}: {mean.note}"
            rows.append(
                [row, shown.replace("2", "→"), *own, f"{mean.p_better:.2f}", f"{mean.p_holm:.3f}", mean.verdict, paper]
            )
    headings = ["A − B", "direction", *corpora, AVERAGE, "P(A > B)", "p (Holm)", "verdict", "the paper's average"]
    title = f"Contrasts{stage}, R@1 points with 95 % intervals; the last columns are about the average"
    return Grid(title, headings, rows)


def _cell(record: Record) -> str:
    if record.value is None:
        return "–"
    if record.ci_low is None:
        return f"{record.value:+.1f}"
    return f"{record.value:+.1f} [{record.ci_low:+.1f}, {record.ci_high:+.1f}]"


def _sign(value: float, low: float, high: float, paper: float | None) -> str:
    if paper is None:
        return ""
    if not (low > 0 or high < 0):  # NaN: one cluster, no interval
        return "sign not settled"
    return "sign agrees" if value * paper > 0 else "sign differs"
