"""Figure of the study of the scores: R@1 both ways, hubs, and what is left where clips lose a modality."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING

from pipeline import figures
from pipeline.reporting.contrasts import AVERAGE
from pipeline.reporting.study import NAME, SCORES, Study
from pipeline.reporting.table import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = {
    "text → clip, R@1 %": ("retrieval", "t2va.R@1"),
    "clip → text, R@1 %": ("retrieval", "va2t.R@1"),
    "texts % won by one clip": ("hubness", "t2va.winner"),
}


def draw(study: Study) -> None:
    """Write the figure `scores`: averages over the benchmarks, 95 % intervals; the last panel is the mean over rows."""
    rows = [study.labels[run] for run in study.runs]
    figure, panels = figures.canvas(1, len(PANELS) + 1, width=2.9, height=1.2 + 0.3 * len(rows))
    for axes, (title, (section, column)) in zip(panels, PANELS.items(), strict=False):
        for offset, score, colour in zip((-0.22, 0.0, 0.22), SCORES, figures.COLOURS, strict=False):
            found = study.find(section, f"{AVERAGE}.{column}", score)
            _dots(axes, [found[run] for run in study.runs], offset, colour, score)
        axes.set_title(title, fontsize=9)
        axes.set_yticks(range(len(rows)), rows if axes is panels[0] else [""] * len(rows), fontsize=8)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.grid(axis="x", color="0.9")
    for score, colour in zip(SCORES, figures.COLOURS, strict=False):
        levels = [100 * share for share in study.shares]
        values = [_mean(study.find("missing", f"{AVERAGE}.t2va.{level:g}", score)) for level in levels]
        panels[-1].plot(levels, values, color=colour, marker="o", markersize=4)
    panels[-1].set_title("text → clip, R@1 %, mean over rows", fontsize=9)
    panels[-1].set_xlabel("clips that lost a modality, %", fontsize=8)
    panels[-1].set_ylim(bottom=0)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", fontsize=7, ncols=3, frameon=False)
    figures.save(study.settings, NAME, figure)


def _dots(axes: Axes, records: list[Record], offset: float, colour: str, label: str) -> None:
    for row, record in enumerate(records):
        if record.value is None:
            continue
        if record.ci_low is not None and record.ci_high is not None:
            axes.plot([record.ci_low, record.ci_high], [row + offset] * 2, color=colour, linewidth=1.2)
        axes.plot(record.value, row + offset, "o", color=colour, markersize=3.5, label=None if row else label)


def _mean(found: Mapping[str, Record]) -> float:
    return fmean(one.value for one in found.values() if one.value is not None)
