"""Figure of a sweep: R@1 by cosine of every row on each benchmark, and two gaps of the embeddings beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline import figures
from pipeline.reporting.table import Record
from pipeline.settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WAYS = {"t2va": "text → clip", "va2t": "clip → text"}
GAPS = {"gap": "mean gap", "holder_wide": "Hölder, 0.5"}


def draw(settings: Settings, name: str, records: Sequence[Record], columns: Sequence[str]) -> None:
    """Write the figure `name`; `columns` are the benchmarks (and their average, last), `records` those of the table."""
    rows = list(dict.fromkeys(record.row for record in records if record.section == "main"))
    count = len(columns) + len(GAPS)
    labels = 0.075 * max(map(len, rows))  # inches that the longest label takes
    figure, panels = figures.canvas(1, count, width=2.1 + labels / count, height=1.2 + 0.28 * len(rows))
    for axes, column in zip(panels, columns, strict=False):
        for offset, (way, colour) in zip((-0.14, 0.14), zip(WAYS, figures.COLOURS, strict=False), strict=True):
            chosen = [one for one in records if one.section == "main" and one.column == f"{column}.{way}"]
            _dots(axes, rows, chosen, offset, colour, WAYS[way])
        chances = {record.chance for record in records if record.column == f"{column}.t2va" and record.chance}
        for chance in chances:
            axes.axvline(chance, color="0.6", linewidth=0.8, linestyle=":")
        axes.set_title(f"{column}, R@1 %", fontsize=9)
    for axes, (measure, title) in zip(panels[len(columns) :], GAPS.items(), strict=True):
        chosen = [one for one in records if one.section == "geometry" and one.column == f"{columns[-1]}.{measure}"]
        _dots(axes, rows, chosen, 0.0, figures.COLOURS[-1])
        axes.set_title(title, fontsize=9)
    for number, axes in enumerate(panels):
        axes.set_yticks(range(len(rows)), rows if number == 0 else [""] * len(rows), fontsize=8)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="x", color="0.9")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", fontsize=7, ncols=2, frameon=False)
    figures.save(settings, name, figure)


def _dots(axes: Axes, rows: list[str], records: Sequence[Record], offset: float, colour: str, label: str = "") -> None:
    for record in records:
        if record.value is None:
            continue
        y = rows.index(record.row) + offset
        if record.ci_low is not None and record.ci_high is not None:
            axes.plot([record.ci_low, record.ci_high], [y, y], color=colour, linewidth=1.5)
        shown = label if label and record is records[0] else None
        axes.plot([record.value], [y], "o", color=colour, markersize=4, label=shown)
