"""Conflicts and collapse along real training, from the traces: what is there at the start, at the end, and between.

The paper's claim is that InfoNCE carries the conflicts zeta and chi and that UniAlign avoids them. zeta as printed
contains k = i and tends to 1 at InfoNCE's own optimum; zeta without it and `force`, which every objective has, stand
beside it (geometry/conflict.py).
"""

from __future__ import annotations

from typing import Any

from pipeline import figures, paths
from pipeline.errors import UserError
from pipeline.files import read_json, write_json
from pipeline.settings import Settings

#: Measure → what it is called in figures.
CONFLICTS = {
    "zeta": "ζ as printed",
    "zeta_without_self": "ζ, k ≠ i",
    "chi": "χ",
    "force": "cos(−∇attraction, ∇repulsion)",
    "holder": "Hölder divergence, width 0.07",
    "gap/mean": "mean gap",
}
COLLAPSE = {
    "variance/text": "variance, text",
    "variance/vision": "variance, vision",
    "variance/audio": "variance, audio",
    "effective_rank/text": "effective rank, text",
    "effective_rank/vision": "effective rank, vision",
    "effective_rank/audio": "effective rank, audio",
}


def conflicts(settings: Settings) -> None:
    """Write theory/conflicts.json and the figures conflicts and collapse from the runs' traces."""
    traces = [_read(settings, run) for run in settings.theory.trace]
    records: list[dict[str, Any]] = []
    for trace in traces:
        for key, points in trace["measures"].items():
            corpus, measure = key.split("/", 1)
            ends = zip(("start", "end"), (0, -1), strict=True)
            for moment, at in ends:
                about = {"run": trace["run"], "corpus": corpus, "measure": measure, "moment": moment}
                records.append(about | {"step": trace["steps"][at]} | points[at])
    write_json(
        paths.theory(settings, "conflicts"),
        {
            "records": records,
            "traces": {trace["run"]: {key: trace[key] for key in ("steps", "seeds", "captions")} for trace in traces},
            "notes": {
                "temperature": traces[0]["temperature"],
                "intervals": "Student's 95 % over seeds",
                "corpus mean": "mean over the corpora",
                "split": "val",
            },
        },
    )
    _figure(settings, "conflicts", traces, CONFLICTS)
    _figure(settings, "collapse", traces, COLLAPSE)


def _read(settings: Settings, run: str) -> dict[str, Any]:
    file = paths.trace(settings, run)
    if not file.is_file():
        raise UserError(f"{file}: missing; run: python -m pipeline trace --run {run}")
    found: dict[str, Any] = read_json(file)
    return found


def _figure(settings: Settings, name: str, traces: list[dict[str, Any]], measures: dict[str, str]) -> None:
    figure, panels = figures.canvas(2, 3, width=3.6, height=2.8)
    for axes, (measure, title) in zip(panels, measures.items(), strict=True):
        for trace, colour in zip(traces, figures.COLOURS, strict=False):
            points = trace["measures"].get(f"mean/{measure}")
            if points:
                figures.curve(axes, trace["steps"], points, colour, trace["run"])
        axes.set(title=title, xlabel="step")
        axes.title.set_fontsize(9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", fontsize=8, ncols=len(labels), frameon=False)
    figures.save(settings, name, figure)
