"""Table 1 at smoke scale, from mp4 files to the table, through the real Snakemake."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from pipeline import dispatch, paths
from pipeline.files import load_metadata, load_tensors, sha256
from pipeline.settings import load
from tests.project import copy_project, run, snakemake
from tests.workflow.test_dag import jobs


def test_the_table_has_a_row_a_method_and_direction(smoke: Path) -> None:
    records = json.loads((smoke / "results/smoke/tables/table1.json").read_text())["records"]
    main = {(record["run"], record["column"]): record for record in records if record["section"] == "main"}
    for name in load("smoke").tables["table1"].runs:
        for column in ("scenes.t2va", "scenes.va2t", "average.t2va"):
            record = main[name, column]
            assert 0 <= record["ci_low"] <= record["value"] <= record["ci_high"] <= 100
            assert record["score"] in ("cosine", "fused", "volume", "residual")
        assert main[name, "scenes.t2va"]["n_evaluated"] == load("smoke").corpora["scenes"].test
    text = (smoke / "results/smoke/tables/table1.md").read_text()
    assert "unialign-literal" in text
    assert "smallest visible difference" in text.lower()


def test_a_second_run_does_nothing(smoke: Path) -> None:
    assert "Nothing to be done" in run(smoke, "snakemake", "-n", "table1").stdout


def test_runs_are_in_mlflow(smoke: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.tracking.MlflowClient(f"sqlite:///{smoke / 'mlflow.db'}")
    found = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    names = {entry.info.run_name for entry in found}
    assert any("gram" in name for name in names), names
    nested = [entry for entry in found if "mlflow.parentRunId" in entry.data.tags]
    assert len(nested) >= len(load("smoke").tables["table1"].runs) - 1


def test_a_table_that_mlflow_did_not_take_is_offered_again(smoke: Path, tmp_path: Path) -> None:
    marker = "results/smoke/tables/table1.mlflow.json"
    counts = edited(smoke, tmp_path, marker, "{", '{"error": "ConnectionError: no server",')
    assert counts == {"track": 1, "table1": 1, "total": 2}


def edited(smoke: Path, tmp_path: Path, file: str, old: str, new: str) -> dict[str, int]:
    """The jobs that Snakemake would run again after an edit, in a copy that keeps times and provenance."""
    project = tmp_path / "copy"
    run(tmp_path, "cp", "-a", str(smoke), str(project))
    path = project / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    return jobs(run(project, "snakemake", "-n", "table1").stdout)


def test_a_comment_runs_nothing_again(smoke: Path, tmp_path: Path) -> None:
    assert edited(smoke, tmp_path, "pipeline/training/train.py", "\nimport", "\n# a comment\nimport") == {}


def test_a_lower_floor_of_coverage_plans_and_renders_nothing_again(smoke: Path, tmp_path: Path) -> None:
    counts = edited(smoke, tmp_path, "params/corpora.yaml", "scenes:\n", "scenes:\n  coverage: 0.5\n")
    assert counts["manifest"] == 1
    assert not {"plan", "render", "decode"} & set(counts)


def test_an_operator_of_an_objective_trains_again(smoke: Path, tmp_path: Path) -> None:
    counts = edited(smoke, tmp_path, "pipeline/objectives/gram.py", "others, temperature,", "others, 2 * temperature,")
    assert sum(count for name, count in counts.items() if name.startswith("train_")) == 2
    assert "vast" not in counts
    assert "decode" not in counts


def test_a_methods_constant_trains_that_method_again(smoke: Path, tmp_path: Path) -> None:
    counts = edited(
        smoke,
        tmp_path,
        "params/methods.yaml",
        "  objective: gram\n  temperature: 0.07",
        "  objective: gram\n  temperature: 0.08",
    )
    assert sum(count for name, count in counts.items() if name.startswith("train_")) == 1


def test_fresh_folder_needs_no_network_and_no_wheels_of_weights(tmp_path: Path) -> None:
    counts = jobs(snakemake(copy_project(tmp_path), "-n", "table1").stdout)
    assert "fetch" not in counts
    assert counts["random_weights"] == 1


def test_it_goes_the_papers_way(smoke: Path) -> None:
    settings, paper = load("smoke"), load("paper")
    for function in (*dispatch.RELEASED, *dispatch.EVERYTHING):
        assert dispatch.resolve(settings, function) == dispatch.resolve(paper, function) != function
    assert settings.media.storage == paper.media.storage
    initial = load_tensors(smoke / paths.model(settings, "vast", 0) / "weights.safetensors")
    trained = load_tensors(smoke / paths.model(settings, "unialign", 0) / "weights.safetensors")
    for name in ("vision.visual.blocks.0.attn.qkv.weight", "audio.patch_embedding.weight"):
        assert not torch.equal(trained[f"vast.{name}"], initial[f"vast.{name}"])
    # ImageBind's towers, whose vision and text are CLIP's classes, from a file in the released layout.
    entry = settings.zero_shot["imagebind-tiny"]
    about = load_metadata(smoke / paths.embeddings(settings, "imagebind-tiny", 0, "scenes"))
    assert about["model"] == hashlib.sha256(sha256(smoke / entry.weights.path).encode()).hexdigest()
