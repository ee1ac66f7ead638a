"""MLflow mirror of what has been made (pipeline/tracked.py): imported from the files that are the truth, by one writer.

One parent run a table, a method's tuning or figure 1; one nested child a run × seed, a trial, a training. A run carries
a key, the digest of its files, so that importing twice adds nothing; one whose files have changed since is deleted
(MLflow can restore it), a half-imported one is imported anew. On a server that several projects share, each knows its
own runs alone, by their origin. Nothing here can fail a job: what goes wrong is warned of and written to the marker
file. The store is MLFLOW_TRACKING_URI, or mlflow.db in the project's folder.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from pipeline import paths
from pipeline.errors import UserError, instead
from pipeline.files import atomic, write_json
from pipeline.settings import Settings
from pipeline.tracked import FIGURE1, TUNING, Group, Shown, finite, groups

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

T = TypeVar("T")
#: Most metrics, params and tags in one request, and most characters of a value, that MLflow takes (1,000 in all).
METRICS, PARAMS, TEXT = 800, 100, 5000
TABLE, KEY, ORIGIN = "unialign.table", "unialign.key", "unialign.origin"
#: The project's own name on a shared server.
NAME = Path(".mlflow-origin")


def record(settings: Settings, name: str) -> None:
    """Import a table, `tuning` or `figure1`; results/<scale>/tables/<name>.mlflow.json says what is shown, what not."""
    if name not in (known := (*settings.tables, TUNING, FIGURE1)):
        raise UserError(f"--table {name}: no such table in params/runs.yaml; {instead(name, known)}")
    outcome: dict[str, Any] = {"table": name, "experiment": f"unialign-{settings.folder}", "runs": [], "missing": []}
    try:
        _import(outcome["experiment"], groups(settings, name), outcome)
    except Exception as error:
        outcome["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        warnings.warn(f"MLflow does not show {name}: {outcome['error']}", stacklevel=2)
    write_json(paths.table(settings, name, "mlflow.json"), outcome)


def _import(experiment: str, every: list[Group], outcome: dict[str, Any]) -> None:
    client = _client()
    found = client.get_experiment_by_name(experiment)
    number = found.experiment_id if found else client.create_experiment(experiment)
    for group in every:
        name = group.parent.name
        for path in group.missing:
            outcome["missing"].append(str(path))
            warnings.warn(f"{path}: not there, not shown in MLflow", stacklevel=4)
        if not group.children:
            continue
        known = {run.data.tags[KEY]: run.info for run in _runs(client, number, name)}
        parent = _run(client, number, group.parent, {TABLE: name}, known)
        client.set_tag(parent, "mlflow.note.content", group.note[:TEXT])
        for child in group.children:
            _run(client, number, child, {TABLE: name, "mlflow.parentRunId": parent}, known)
            outcome["runs"].append(child.name)
        for info in known.values():  # of files that are no more
            client.delete_run(info.run_id)


def _client() -> MlflowClient:
    for switch in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        os.environ.setdefault(switch, "true")
    from mlflow.tracking import MlflowClient

    for library in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(library).setLevel(logging.WARNING)
    return MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{Path('mlflow.db').resolve()}"))


def origin() -> str:
    """Which project's runs these are, where a server may hold those of several: a name drawn once."""
    if "MLFLOW_TRACKING_URI" not in os.environ:
        return ""
    if not NAME.is_file():
        with atomic(NAME) as temporary:
            temporary.write_text(uuid4().hex)
    return NAME.read_text()


def _runs(client: MlflowClient, experiment: str, name: str) -> Iterator[Any]:
    page = None
    wanted = f"tags.`{TABLE}` = '{name}'" + (f" AND tags.`{ORIGIN}` = '{origin()}'" if origin() else "")
    while True:
        found = client.search_runs([experiment], wanted, max_results=1000, page_token=page)
        yield from found
        if not (page := found.token):
            return


def _run(client: MlflowClient, experiment: str, shown: Shown, tags: dict[str, str], known: dict[str, Any]) -> str:
    """The run with this key, imported unless a whole one is there; taken out of `known`."""
    from mlflow.entities import Metric, Param, RunTag

    info = known.pop(shown.key, None)
    if info is not None and info.status == "FINISHED":
        return str(info.run_id)
    if info is not None:
        client.delete_run(info.run_id)
    when = int(shown.when * 1000)
    tags = tags | {"mlflow.runName": shown.name, KEY: shown.key} | ({ORIGIN: origin()} if origin() else {})
    run = str(client.create_run(experiment, start_time=when, tags=tags).info.run_id)
    points = batches((Metric(named(k), v, when, step) for k, v, step in finite(shown.points)), METRICS)
    params = batches((Param(named(key), str(value)[:TEXT]) for key, value in shown.params.items()), PARAMS)
    labels = batches((RunTag(named(key), str(value)[:TEXT]) for key, value in shown.tags.items()), PARAMS)
    for some_points, some_params, some_labels in zip_longest(points, params, labels, fillvalue=()):
        client.log_batch(run, metrics=some_points, params=some_params, tags=some_labels)  # type: ignore[arg-type]
    client.set_terminated(run, "FINISHED", end_time=when)
    return run


def named(key: str) -> str:
    """A name that MLflow takes: letters, digits, `_ - . /` and spaces."""
    return re.sub(r"[^\w\-./ ]", "_", key)


def batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` values."""
    source = iter(values)
    while batch := list(islice(source, size)):
        yield batch
