"""The command line, called in this process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import pipeline.cli  # noqa: F401  (registers the commands)
from pipeline import paths
from pipeline.cli.calling import app
from pipeline.errors import UserError
from pipeline.settings import load

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with params alone; what a command puts into the environment is put back."""
    shutil.copytree(ROOT / "params", tmp_path / "params")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("GOMP_SPINCOUNT", "3000")
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "1")
    return tmp_path


def call(*arguments: str) -> None:
    """Run a command; what it raises is raised."""
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0


@pytest.mark.parametrize("command", ["estimate", "doctor"])
def test_an_unknown_target_is_named(project: Path, command: str) -> None:
    with pytest.raises(UserError, match=r"--target tabel1: no such table in params/runs\.yaml; .*table1"):
        call(command, "--scale", "smoke", "--target", "tabel1")


def test_a_tower_is_that_of_the_preset(project: Path) -> None:
    """At smoke scale the towers come out of the released file; the preset trains its own."""
    call("--preset", "mini-way", "tower", "--modality", "vision", "--scale", "smoke")
    assert paths.tower_weights(load("smoke", project, "mini-way"), "vision").is_file()
    with pytest.raises(UserError, match=r"the towers come out of the file that vast\.released names"):
        call("tower", "--modality", "vision", "--scale", "smoke")
