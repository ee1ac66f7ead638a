"""Figure of a retrieval table: a dot with its interval a method, a panel (with a scale of its own) a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.files import atomic
from pipeline.reporting.table import Record

COLOURS = {"t2va": "#1b6ca8", "va2t": "#d1603d"}
SHOWN = {"t2va": "text → clip", "va2t": "clip → text"}


def dots(records: Sequence[Record], panels: dict[str, str], title: str, files: Sequence[Path]) -> None:
    """Draw `records` (columns `<panel>.t2va` and `.va2t`); a dotted line is chance."""
    import matplotlib

    matplotlib.use("Agg")
    # Identical input gives identical files: no date, no random ids.
    matplotlib.rcParams["svg.hashsalt"] = "table"
    from matplotlib import pyplot

    rows = list(dict.fromkeys(record.row for record in records))
    figure, axes = pyplot.subplots(
        1,
        len(panels),
        figsize=(2.1 + 2.5 * len(panels), 1.4 + 0.42 * len(rows)),
        sharey=True,
        squeeze=False,
    )
    for axis, (panel, shown) in zip(axes[0], panels.items(), strict=True):
        for offset, way in ((-0.13, "t2va"), (0.13, "va2t")):
            for record in records:
                if record.column != f"{panel}.{way}" or record.value is None:
                    continue
                y = rows.index(record.row) + offset
                if record.ci_low is not None and record.ci_high is not None:
                    axis.plot([record.ci_low, record.ci_high], [y, y], color=COLOURS[way], linewidth=1.6)
                label = SHOWN[way] if record.row == rows[0] else None
                axis.plot(record.value, y, "o", color=COLOURS[way], markersize=5, label=label)
                if record.chance is not None:
                    axis.axvline(record.chance, color="0.6", linewidth=0.8, linestyle=":")
        axis.set_title(shown, fontsize=10)
        axis.set_xlabel("R@1 %")
        axis.set_xlim(left=-0.02 * axis.get_xlim()[1])
        axis.grid(axis="x", color="0.9")
        axis.set_axisbelow(True)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    axes[0, 0].set_yticks(range(len(rows)), rows)
    axes[0, 0].invert_yaxis()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    figure.legend(handles, labels, loc="upper right", ncols=2, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    for file in files:
        with atomic(file) as temporary:
            figure.savefig(temporary, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)
    pyplot.close(figure)
