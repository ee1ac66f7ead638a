"""Record, skip, force, push, pull: the reader of a clone rebuilds the table without media and without training."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.compare import differences
from tests.project import run, snakemake


@pytest.fixture(scope="module")
def recorded(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dvc")
    project = folder / "project"
    run(folder, "cp", "-a", str(smoke), str(project))
    run(project, "git", "init", "-q")
    run(project, "git", "add", ".")
    run(project, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start")
    run(project, "dvc", "repro")
    return project


def weights(project: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in (project / "models").rglob("weights.safetensors")}


def test_a_second_repro_skips(recorded: Path) -> None:
    output = run(recorded, "dvc", "repro").stdout
    assert "Running stage" not in output
    assert "up to date" in output


def test_a_forced_repro_retrains_nothing(recorded: Path) -> None:
    before = weights(recorded)
    run(recorded, "dvc", "repro", "-f")
    assert weights(recorded) == before


def test_a_pulled_clone_rebuilds_the_table_without_media(recorded: Path, tmp_path: Path) -> None:
    run(recorded, "dvc", "remote", "add", "-f", "-d", "here", str(tmp_path / "remote"))
    run(recorded, "dvc", "push")
    run(recorded, "git", "add", ".")
    run(recorded, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "recorded")
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "-q", str(recorded), str(clone))
    run(clone, "dvc", "pull", "--allow-missing")  # the sweeps of workflow/dvc.yaml are not recorded here
    assert not list((clone / "data").rglob("*.mp4"))
    snakemake(clone, "table1", "--touch")
    run(clone, "rm", "-rf", "results")
    log = snakemake(clone, "table1").stderr
    assert "report_table1" in log
    assert "train_" not in log
    assert "render" not in log
    tables = [line for line in differences(recorded, clone) if "tables/table1.json" in line]
    assert tables == []
