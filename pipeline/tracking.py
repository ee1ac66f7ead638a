"""MLflow mirror of finished runs: read from run.json and metrics.jsonl, which are the truth, by one writer.

One parent run a table, one nested child a run × seed. A child carries a key, the digest of its files, so that importing
twice adds nothing; a child whose files have changed since is deleted (MLflow can restore it), a half-imported one is
imported anew. Nothing here can fail a job: what goes wrong is warned of and written to the marker file. The store is
MLFLOW_TRACKING_URI, or mlflow.db in the project's folder.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline import paths
from pipeline.digests import digest
from pipeline.errors import UserError, instead
from pipeline.files import read_json, sha256, write_json
from pipeline.settings import Settings

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

T = TypeVar("T")
#: Most metrics, params and tags a request, and most characters of a value, that MLflow takes.
METRICS, PARAMS, TEXT = 1000, 100, 5000
TABLE, KEY = "unialign.table", "unialign.key"


def record(settings: Settings, table: str) -> None:
    """Import all runs of a table; write results/<scale>/tables/<table>.mlflow.json with what was shown and what not."""
    if table not in settings.tables:
        raise UserError(f"--table {table}: no such table in params/runs.yaml; {instead(table, settings.tables)}")
    outcome: dict[str, Any] = {"table": table, "experiment": f"unialign-{settings.scale}", "runs": [], "missing": []}
    try:
        _import(settings, table, outcome)
    except Exception as error:
        outcome["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        warnings.warn(f"MLflow does not show {table}: {outcome['error']}", stacklevel=2)
    write_json(paths.table(settings, table, "mlflow.json"), outcome)


def _import(settings: Settings, table: str, outcome: dict[str, Any]) -> None:
    client = _client()
    name = outcome["experiment"]
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else client.create_experiment(name)
    known = {run.data.tags[KEY]: run.info for run in _runs(client, experiment, table)}
    parent = _parent(client, experiment, settings, table, known)
    for run in settings.tables[table].runs:
        for seed in range(settings.seeds(run)):
            folder = paths.model(settings, run, seed)
            if not all((folder / file).is_file() for file in ("run.json", "metrics.jsonl")):
                outcome["missing"].append(f"{run}/{seed}")
                warnings.warn(f"{folder}: no finished training, not shown in MLflow", stacklevel=4)
                continue
            key = digest([settings.scale, table, run, seed, *map(sha256, sorted(folder.glob("*.json*")))])
            info = known.pop(key, None)
            if info is None or info.status != "FINISHED":
                if info is not None:
                    client.delete_run(info.run_id)
                _child(client, experiment, folder, {"run": run, "seed": str(seed), TABLE: table, KEY: key}, parent)
            outcome["runs"].append(f"{run}/{seed}")
    for info in known.values():  # of files that are no more
        client.delete_run(info.run_id)


def _client() -> MlflowClient:
    for switch in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        os.environ.setdefault(switch, "true")
    from mlflow.tracking import MlflowClient

    for library in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(library).setLevel(logging.WARNING)
    return MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{Path('mlflow.db').resolve()}"))


def _runs(client: MlflowClient, experiment: str, table: str) -> Iterator[Any]:
    page = None
    while True:
        found = client.search_runs([experiment], f"tags.`{TABLE}` = '{table}'", max_results=1000, page_token=page)
        yield from found
        if not (page := found.token):
            return


def _parent(client: MlflowClient, experiment: str, settings: Settings, table: str, known: dict[str, Any]) -> str:
    """The table's run, with the table itself as its description."""
    key = digest([settings.scale, table])
    tags = {"mlflow.runName": table, TABLE: table, KEY: key}
    info = known.pop(key, None) or client.create_run(experiment, tags=tags).info
    markdown = paths.table(settings, table, "md")
    text = markdown.read_text() if markdown.is_file() else settings.tables[table].title
    client.set_tag(info.run_id, "mlflow.note.content", text[:TEXT])
    client.set_terminated(info.run_id, "FINISHED")
    return str(info.run_id)


def _child(client: MlflowClient, experiment: str, folder: Path, tags: dict[str, str], parent: str) -> None:
    from mlflow.entities import Metric, Param, RunTag

    about = read_json(folder / "run.json")
    when = int((folder / "metrics.jsonl").stat().st_mtime * 1000)
    name = f"{tags['run']} seed {tags['seed']}"
    tags = tags | {"mlflow.runName": name, "mlflow.parentRunId": parent}
    run = client.create_run(experiment, start_time=when, tags=tags).info.run_id
    settings = flat(about.pop("settings", {}))
    rest = {key: value for key, value in flat(about).items() if not key.startswith("validation.")}
    for params in batches((Param(key, str(value)[:TEXT]) for key, value in settings.items()), PARAMS):
        client.log_batch(run, params=params)
    for labels in batches((RunTag(named(key), str(value)[:TEXT]) for key, value in rest.items()), PARAMS):
        client.log_batch(run, tags=labels)
    points = (Metric(key, value, when, step) for key, value, step in metrics(folder / "metrics.jsonl"))
    for batch in batches(points, METRICS):
        client.log_batch(run, metrics=batch)
    client.set_terminated(run, "FINISHED", end_time=when)


def metrics(file: Path) -> Iterator[tuple[str, float, int]]:
    """(name, value, step) of each finite value of a metrics.jsonl."""
    with file.open() as lines:
        for line in lines:
            values = json.loads(line)
            step = values.pop("step")
            for key, value in values.items():
                if math.isfinite(value):
                    yield named(key), float(value), step


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys."""
    values: dict[str, Any] = {}
    for key, value in tree.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values


def named(key: str) -> str:
    """A name that MLflow takes: letters, digits, `_ - . /` and spaces."""
    return re.sub(r"[^\w\-./ ]", "_", key)


def batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` values."""
    source = iter(values)
    while batch := list(islice(source, size)):
        yield batch
