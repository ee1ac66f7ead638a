"""What has been made has cost: wall seconds and peak memory of each stage, from the benchmark files of its jobs.

A file is that of a job's last run. Jobs run beside one another, so that their seconds exceed what a user waits.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import atomic
from pipeline.settings import Settings

COLUMNS = ("stage", "jobs", "seconds", "longest", "peak_mb")


def spent(settings: Settings) -> None:
    """Print and write `results/<scale>/costs.csv`; a UserError if no job has run."""
    rows = stages(Path("benchmarks") / settings.folder)
    target = Path("results") / settings.folder / "costs.csv"
    with atomic(target) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([COLUMNS, *rows])
    print(target.read_text(), end="")


def stages(folder: Path) -> list[tuple[str, int, int, int, int]]:
    """A row a stage, the first folder or name below `folder`: jobs, seconds of all, of the longest, largest MB."""
    jobs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for file in sorted(folder.rglob("*.tsv")):
        with file.open() as stream:
            row = next(csv.DictReader(stream, delimiter="\t"), None)
        if row is None:
            raise UserError(f"{file}: holds no run; delete it")
        memory = 0.0 if row["max_rss"] in ("NA", "-") else float(row["max_rss"])
        jobs[file.relative_to(folder).parts[0].removesuffix(".tsv")].append((float(row["s"]), memory))
    if not jobs:
        raise UserError(f"{folder}/: no benchmark files; run a target first")
    return [
        (name, len(each), round(sum(s for s, _ in each)), round(max(each)[0]), round(max(mb for _, mb in each)))
        for name, each in sorted(jobs.items(), key=lambda item: -sum(s for s, _ in item[1]))
    ]
