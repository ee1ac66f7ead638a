"""A table as data: long-form records, written as json, csv and markdown.

One record is one number with all that is needed to judge it. `value` and its interval are in the column's unit (R@k and
MRR in percent), unrounded. `paper` is the paper's number under the same corpus and protocol, `independent` other
people's re-measurement. `section` names the part of the table (main, pathways, matched, scores, contrasts, quoted …).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.files import atomic, write_json
from pipeline.statistics import Estimate


@dataclass(frozen=True)
class Record:
    """A number of a table; None: not measured or not applicable."""

    table: str
    section: str
    row: str
    column: str
    value: float | None
    sd: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    n_evaluated: int | None = None
    n_protocol: int | None = None
    seeds: int | None = None
    score: str = ""
    run: str = ""
    note: str = ""
    paper: float | None = None
    independent: float | None = None
    chance: float | None = None
    p_better: float | None = None
    p_holm: float | None = None
    verdict: str = ""

    @classmethod
    def of(cls, table: str, section: str, row: str, column: str, estimate: Estimate, **others: Any) -> Record:
        """An estimated number with its deviation over seeds and its interval."""
        low, high = estimate.interval()
        spread = number(estimate.seed_deviation), number(low), number(high)
        return cls(table, section, row, column, number(estimate.value), *spread, **others)


@dataclass(frozen=True)
class Grid:
    """A printed part of a table: headings and rows of text."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def number(value: Any) -> float | None:
    """A float, or None for NaN and None (JSON has no NaN)."""
    return None if value is None or math.isnan(float(value)) else float(value)


def write(
    paths: dict[str, Path], title: str, records: Iterable[Record], grids: Sequence[Grid], foot: Sequence[str]
) -> None:
    """Write `paths["json"]`, `["csv"]` and `["md"]`."""
    rows = [asdict(record) for record in records]
    write_json(paths["json"], {"title": title, "records": rows, "foot": list(foot)})
    with atomic(paths["csv"]) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(Record)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with atomic(paths["md"]) as temporary:
        temporary.write_text(markdown(title, grids, foot))


def markdown(title: str, grids: Sequence[Grid], foot: Sequence[str]) -> str:
    """The printed parts as markdown, the foot as a list."""
    parts = [f"# {title}"]
    for grid in grids:
        lines = [f"## {grid.title}", "", _line(grid.headings), _line(["---"] + ["---:"] * (len(grid.headings) - 1))]
        parts.append("\n".join(lines + [_line(row) for row in grid.rows]))
    parts.append("\n".join(f"- {line}" for line in foot))
    return "\n\n".join(parts) + "\n"


def show(title: str, grids: Sequence[Grid], foot: Sequence[str]) -> None:
    """Print to the terminal; where there is none (a log) as wide as the rows need."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(f"\n[bold]{title}[/bold]")
    for grid in grids:
        table = Table(title=grid.title, title_justify="left", box=box.SIMPLE_HEAD)
        for index, heading in enumerate(grid.headings):
            table.add_column(heading, justify="left" if index == 0 else "right", no_wrap=index == 0)
        for row in grid.rows:
            table.add_row(*row)
        console.print(table)
    for line in foot:
        console.print(f"· {line}", highlight=False, markup=False)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
