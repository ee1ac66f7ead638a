"""What MLflow is shown, read from the files that are the truth: a group is a run with others nested under it.

A table's group holds its trainings (run.json, metrics.jsonl: settings, digests, terms by step), a method's tuning its
trials, figure 1 its trainings and traces. A key is the digest of what a run was read from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.digests import digest
from pipeline.files import read_json, sha256
from pipeline.settings import Settings

#: Groups that are no tables.
TUNING, FIGURE1 = "tuning", "figure1"
Point = tuple[str, float, int]


@dataclass(frozen=True)
class Shown:
    """A run as MLflow shows it; `when` in seconds since 1970."""

    name: str
    key: str
    when: float
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    points: Iterable[Point] = ()


@dataclass(frozen=True)
class Group:
    """A run, its description, the runs nested under it, and those that are not there."""

    parent: Shown
    note: str
    children: list[Shown]
    missing: list[Path] = field(default_factory=list)


def groups(settings: Settings, name: str) -> list[Group]:
    """What belongs to a table of params/runs.yaml, to `tuning` or to `figure1`."""
    if name == TUNING:
        return [_tuning(settings, method) for method in settings.spaces]
    return [_figure1(settings) if name == FIGURE1 else _table(settings, name)]


def _table(settings: Settings, name: str) -> Group:
    entry = settings.tables[name]
    children, missing = [], []
    for run in entry.runs:
        if settings.released(run):  # as it came: nothing was trained
            continue
        for seed in range(min(settings.seeds(run), entry.seeds)):
            folder = paths.model(settings, run, seed)
            if not all((folder / file).is_file() for file in ("run.json", "metrics.jsonl")):
                missing.append(folder)
                continue
            key = digest([settings.folder, name, run, seed, *map(sha256, sorted(folder.glob("*.json*")))])
            about = read_json(folder / "run.json")
            params = flat(about.pop("settings", {}))
            rest = {k: v for k, v in flat(about).items() if not k.startswith("validation.")}
            tags = rest | {"run": run, "seed": seed, "row": entry.labels.get(run, run)}
            file = folder / "metrics.jsonl"
            children.append(Shown(f"{run} seed {seed}", key, file.stat().st_mtime, params, tags, metrics(file)))
    markdown = paths.table(settings, name, "md")
    note = markdown.read_text() if markdown.is_file() else entry.title
    when = max((child.when for child in children), default=0.0)
    return Group(Shown(name, digest([settings.folder, name]), when), note, children, missing)


def _tuning(settings: Settings, method: str) -> Group:
    """Trials of a method; the parent's metric is the expected best of k trials, k as step."""
    file, name = paths.tuning(settings, method), f"tuning {method}"
    if not file.is_file():
        return Group(Shown(name, digest([settings.folder, name]), 0.0), "not tuned yet", [], [file])
    found, stamp, when = read_json(file), [settings.folder, name, sha256(file)], file.stat().st_mtime
    winner = found["winner"]
    children = []
    for number, trial in enumerate(found["trials"]):
        scores = [(f"val/mean/{score}/MRR", mrr, 0) for score, mrr in trial["scores"].items()]
        tags = {"run": method, "trial": number, "score": trial["score"] or "none", "failure": trial["failure"]}
        children.append(
            Shown(
                f"{method} trial {number}" + (" (winner)" if trial == winner else ""), digest([*stamp, number]), when,
                trial["values"], tags, [("MRR", trial["mrr"], 0), *scores],
            )
        )  # fmt: skip
    values = ", ".join(f"{key} {value}" for key, value in winner["values"].items())
    note = (
        f"{found['criterion']}\n\n{found['spent']} trials, best MRR {winner['mrr']:.4f} by {winner['score']}: {values}"
    )
    points = [("expected best MRR", value, k) for k, value in enumerate(found["curve"], 1)]
    best = [("MRR", winner["mrr"], 0)]
    return Group(Shown(name, digest(stamp), when, winner["values"], {"run": method}, points + best), note, children)


def _figure1(settings: Settings) -> Group:
    """Trainings with M modalities, and traces of training (means over seeds by step)."""
    file = paths.theory(settings, "modalities")
    traces = [paths.trace(settings, run) for run in settings.theory.trace]
    children, missing = [], [each for each in (file, *traces) if not each.is_file()]
    if file.is_file():
        stamp, when = sha256(file), file.stat().st_mtime
        for number, one in enumerate(read_json(file)["trainings"]):
            name = f"{one['run']} M={one['M']} seed {one['seed']}"
            about = {key: one[key] for key in ("run", "M", "seed", "modalities")}
            points = [(key, value, 0) for key, value in one["values"].items()]
            key = digest([settings.folder, FIGURE1, stamp, number])
            children.append(Shown(name, key, when, about, {"run": one["run"], "seed": one["seed"]}, points))
    for trace in filter(Path.is_file, traces):
        found, key = read_json(trace), digest([settings.folder, FIGURE1, sha256(trace)])
        about = {key: found[key] for key in ("run", "seeds", "temperature")}
        points = [
            (measure, one["value"], step)
            for measure, line in found["measures"].items()
            for step, one in zip(found["steps"], line, strict=True)
        ]
        name = f"trace of {found['run']}"
        children.append(Shown(name, key, trace.stat().st_mtime, about, {"run": found["run"]}, points))
    when = max((child.when for child in children), default=0.0)
    note = "Conflicts, divergence, gap and R@1 against the number of modalities; conflicts and collapse in training."
    return Group(Shown(FIGURE1, digest([settings.folder, FIGURE1]), when), note, children, missing)


def metrics(file: Path) -> Iterator[Point]:
    """(name, value, step) of each value of a metrics.jsonl."""
    with file.open() as lines:
        for line in lines:
            values = json.loads(line)
            step = values.pop("step")
            yield from ((key, float(value), step) for key, value in values.items())


def finite(points: Iterable[Point]) -> Iterator[Point]:
    """The points whose value is a number that a store can hold."""
    return (point for point in points if point[1] is not None and math.isfinite(point[1]))


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys."""
    values: dict[str, Any] = {}
    for key, value in tree.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values
