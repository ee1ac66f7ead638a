"""Table 1 of the paper, zero-shot text-to-video and video-to-text retrieval, from stored ranks."""

from __future__ import annotations

from pipeline import paths
from pipeline.reporting import table
from pipeline.reporting.contrasts import AVERAGE
from pipeline.reporting.dots import dots
from pipeline.reporting.retrieval_table import RetrievalTable, paths_of
from pipeline.settings import Settings


def table1(settings: Settings, name: str = "table1") -> None:
    """Write a table (any list of runs in params/runs.yaml) as json, csv, md, its figure as png, svg; print it."""
    made = RetrievalTable(settings, name)
    table.write(paths_of(settings, name), made.title, made.records, made.grids, made.foot)
    panels = {c: f"{c}\n({settings.corpora[c].stands_for})" for c in made.measured.corpora} | {AVERAGE: AVERAGE}
    files = [paths.figure(settings, name, kind) for kind in ("png", "svg")]
    dots(made.main, panels, "R@1, first stage, score chosen on validation, 95 % intervals", files)
    table.show(made.title, made.grids, made.foot)
