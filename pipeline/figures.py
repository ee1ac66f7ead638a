"""Figures as png and svg, the same bytes for the same numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline import paths
from pipeline.files import atomic
from pipeline.settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("png", "svg")
#: Okabe and Ito's colours, told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def canvas(rows: int, columns: int, width: float = 4.0, height: float = 3.2) -> tuple[Figure, list[Axes]]:
    """A figure of rows x columns panels without a display, and its panels in reading order."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure as New

    rcParams["svg.hashsalt"] = "figures"
    figure = New(figsize=(width * columns, height * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    return figure, [panel for row in panels for panel in row]


def curve(
    axes: Axes, x: list[Any], points: list[dict[str, Any]], colour: str, label: str = "", dashed: bool = False
) -> None:
    """A line through estimates (pipeline.estimates) with their intervals as a band."""
    values = [point["value"] for point in points]
    axes.plot(
        x, values, color=colour, label=label or None, linestyle="--" if dashed else "-", marker=".", linewidth=1.3
    )
    low = [point["value"] if point["ci_low"] is None else point["ci_low"] for point in points]
    high = [point["value"] if point["ci_high"] is None else point["ci_high"] for point in points]
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)


def percent(axes: Axes) -> None:
    """Label fractions on the upright axis as percentages."""
    from matplotlib.ticker import PercentFormatter

    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def save(settings: Settings, name: str, figure: Figure) -> None:
    """Write `figures/<name>.png` and `.svg`."""
    for kind in KINDS:
        with atomic(paths.figure(settings, name, kind)) as temporary:
            metadata = {"Date": None} if kind == "svg" else {"Software": None}
            figure.savefig(temporary, format=kind, dpi=150, metadata=metadata)
