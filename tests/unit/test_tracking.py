"""The MLflow mirror: complete, idempotent, harmless."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline import paths, tracked, tracking
from pipeline.errors import UserError
from pipeline.files import read_json, write_json
from pipeline.settings import Settings, Table
from tests.unit.pooled_files import project


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store: MLflow takes seconds to make one."""
    from mlflow.tracking import MlflowClient

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    table = Table(runs=["vast", "gram"], seeds=2, title="A table", labels={"gram": "GRAM"})
    settings = settings.model_copy(update={"tables": {"table1": table}})
    for run, seed in (("vast", 0), ("gram", 0), ("gram", 1)):
        finished(settings, run, seed)
    return settings


def finished(settings: Settings, run: str, seed: int, value: float = 0.5) -> None:
    folder = paths.model(settings, run, seed)
    about = {"settings": {"objective": run, "optimisation": {"steps": 20}}, "digests": {"data": {"scenes": "abc"}}}
    write_json(folder / "run.json", about | {"validation": {"val/mean/cosine/R1": value}, "host": "here"})
    lines = [{"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.0}, {"step": 20, "val/T2VA R@1": value, "bad": 1e999}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def shown(folder: Path) -> dict[str, Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("unialign-smoke-mini-way")
    assert experiment is not None
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_two_records_show_every_run_once(settings: Settings, tmp_path: Path) -> None:
    tracking.record(settings, "table1")
    first = shown(tmp_path)
    assert set(first) == {"table1", "vast seed 0", "gram seed 0", "gram seed 1"}
    child, parent = first["gram seed 1"], first["table1"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["digests.data.scenes"] == "abc"
    assert child.data.params == {"objective": "gram", "optimisation.steps": "20"}
    assert {key: child.data.tags[key] for key in ("run", "seed", "row")} == {"run": "gram", "seed": "1", "row": "GRAM"}
    assert child.data.metrics == {"loss": 1.0, "val/T2VA R_1": 0.5}
    assert {run.info.status for run in first.values()} == {"FINISHED"}
    assert parent.data.tags["mlflow.note.content"] == "A table"
    marker = read_json(paths.table(settings, "table1", "mlflow.json"))
    assert marker["runs"] == ["vast seed 0", "gram seed 0", "gram seed 1"]
    assert not marker["missing"]

    tracking.record(settings, "table1")
    assert {name: run.info.run_id for name, run in shown(tmp_path).items()} == {
        name: run.info.run_id for name, run in first.items()
    }

    finished(settings, "gram", 1, value=0.75)
    tracking.record(settings, "table1")
    third = shown(tmp_path)
    assert third["gram seed 1"].data.metrics["val/T2VA R_1"] == 0.75
    assert third["gram seed 0"].info.run_id == first["gram seed 0"].info.run_id
    assert len(third) == 4


def test_half_imported_run_is_imported_anew(
    settings: Settings, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(database, tmp_path)
    from mlflow.tracking import MlflowClient

    whole = MlflowClient.log_batch
    monkeypatch.setattr(MlflowClient, "log_batch", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.warns(UserWarning, match="disk full"):
        tracking.record(settings, "table1")
    assert "disk full" in read_json(paths.table(settings, "table1", "mlflow.json"))["error"]
    monkeypatch.setattr(MlflowClient, "log_batch", whole)
    tracking.record(settings, "table1")
    runs = shown(tmp_path)
    assert len(runs) == 4
    assert runs["vast seed 0"].data.metrics["loss"] == 1.0


def test_missing_training_is_named_and_a_dead_server_harmless(
    settings: Settings, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(database, tmp_path)
    (paths.model(settings, "gram", 1) / "run.json").unlink()
    with pytest.warns(UserWarning, match="gram/1"):
        tracking.record(settings, "table1")
    missing = read_json(paths.table(settings, "table1", "mlflow.json"))["missing"]
    assert missing == [str(paths.model(settings, "gram", 1))]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    with pytest.warns(UserWarning, match="does not show"):
        tracking.record(settings, "table1")


def tuned(settings: Settings, method: str, mrr: float) -> None:
    trials = [
        {
            "values": {"learning_rate": 0.01 * n},
            "mrr": value,
            "score": "cosine",
            "scores": {"cosine": value},
            "failure": "",
        }
        for n, value in ((1, 0.2), (2, mrr))
    ]
    found = {"criterion": "validation MRR", "trials": trials, "spent": 2, "curve": [0.3, mrr], "winner": trials[1]}
    write_json(paths.tuning(settings, method), found)


def test_trials_are_nested_under_their_methods_tuning(settings: Settings, database: Path, tmp_path: Path) -> None:
    shutil.copy(database, tmp_path)
    settings = settings.model_copy(update={"spaces": {method: {} for method in ("gram", "holder", "pmrl")}})
    for method in ("gram", "holder"):
        tuned(settings, method, 0.4)
    with pytest.warns(UserWarning, match="pmrl"):
        tracking.record(settings, "tuning")
    first = shown(tmp_path)
    assert len(first) == 6
    parent, winner = first["tuning gram"], first["gram trial 1 (winner)"]
    assert winner.data.tags["mlflow.parentRunId"] == first["gram trial 0"].data.tags["mlflow.parentRunId"]
    assert winner.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert winner.data.params == parent.data.params == {"learning_rate": "0.02"}
    assert winner.data.metrics == {"MRR": 0.4, "val/mean/cosine/MRR": 0.4}
    assert parent.data.metrics == {"MRR": 0.4, "expected best MRR": 0.4}
    assert "best MRR 0.4000 by cosine: learning_rate 0.02" in parent.data.tags["mlflow.note.content"]

    tuned(settings, "holder", 0.5)
    with pytest.warns(UserWarning, match="pmrl"):
        tracking.record(settings, "tuning")
    second = shown(tmp_path)
    assert len(second) == 6
    assert second["gram trial 0"].info.run_id == first["gram trial 0"].info.run_id
    assert second["tuning holder"].data.metrics["MRR"] == 0.5


def test_figure_1_shows_its_trainings_and_traces(settings: Settings, database: Path, tmp_path: Path) -> None:
    shutil.copy(database, tmp_path)
    one = {"run": "gram", "M": 3, "seed": 0, "modalities": ["text", "vision", "fr"], "values": {"test/zeta": 0.9}}
    write_json(paths.theory(settings, "modalities"), {"trainings": [one]})
    for run in settings.theory.trace:
        line = [{"value": 0.1}, {"value": None}, {"value": 0.3}]
        about = {"run": run, "seeds": 1, "temperature": 0.07, "steps": [0, 5, 10], "measures": {"mean/zeta": line}}
        write_json(paths.trace(settings, run), about)
    tracking.record(settings, "figure1")
    runs = shown(tmp_path)
    assert set(runs) == {"figure1", "gram M=3 seed 0", *(f"trace of {run}" for run in settings.theory.trace)}
    training, trace = runs["gram M=3 seed 0"], runs["trace of gram"]
    assert training.data.params["modalities"] == "['text', 'vision', 'fr']"
    assert training.data.metrics == {"test/zeta": 0.9}
    assert trace.data.metrics == {"mean/zeta": 0.3}
    assert {run.data.tags.get("mlflow.parentRunId") for run in (training, trace)} == {runs["figure1"].info.run_id}


def test_unknown_table_is_a_users_error(settings: Settings) -> None:
    with pytest.raises(UserError, match="table9"):
        tracking.record(settings, "table9")


def test_batches_and_names() -> None:
    assert list(tracking.batches(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert tracked.flat({"a": {"b": 1, "c": {"d": 2}}, "e": [3]}) == {"a.b": 1, "a.c.d": 2, "e": [3]}
    assert tracking.named("val/T→V R@1") == "val/T_V R_1"


def test_two_projects_on_one_server_leave_each_others_runs(
    settings: Settings, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(database, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracking.record(settings, "table1")
    assert tracking.origin() == tracking.origin() != ""
    tracking.NAME.unlink()  # another clone
    finished(settings, "gram", 1, value=0.75)
    tracking.record(settings, "table1")
    tracking.record(settings, "table1")
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("unialign-smoke-mini-way")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == sorted(
        2 * ["table1", "vast seed 0", "gram seed 0", "gram seed 1"]
    )
