"""A run killed (-9) inside its stages and started again ends as an undisturbed one, the paper's way and mini's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.end_to_end import kill
from tests.end_to_end.compare import differences
from tests.end_to_end.kill import COMMAND, killed_run, quota
from tests.project import copy_project, environment


@pytest.mark.parametrize(("way", "preset"), [("smoke", ""), ("mini_way", "mini-way")])
def test_kills_change_nothing(way: str, preset: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    whole: Path = request.getfixturevalue(way)
    project = copy_project(tmp_path / "project", preset=preset)
    lines = killed_run(project, whole, kills=4)
    assert all(line.startswith("killed") for line in lines), lines
    assert sum(line.endswith("which ran") for line in lines) == 4
    done = subprocess.run(COMMAND, cwd=project, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    assert differences(whole, project) == []


def test_twenty_kills_meet_every_stage() -> None:
    seconds = {Path("plan/scenes"): 1.0, Path("render/a"): 2.0, Path("render/b"): 2.0, Path("vast"): 9.0}
    assert quota(seconds, 3) == {"plan": 1, "render": 1, "vast": 1}
    assert quota(seconds, 8) == {"vast": 3, "render": 3, "plan": 2}
    assert quota(seconds, 2) == {"plan": 1, "render": 1}


def test_a_kill_falls_inside_a_job_of_a_stage_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a workflow of three jobs a shell plays: what was killed starts again, what ended does not."""
    whole, project = tmp_path / "whole", tmp_path / "project"
    names = ("plan", "render/a", "vast")
    for name in names:
        file = whole / kill.BENCHMARKS / "smoke" / f"{name}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("s\th:m:s\n1.0\t0:00:01\n")
    script = "".join(
        f"if ! test -f benchmarks/smoke/{name}.tsv; then mkdir -p logs/smoke/render benchmarks/smoke/render; "
        f"echo {name} >> started; touch logs/smoke/{name}.log; sleep 1.2; touch benchmarks/smoke/{name}.tsv; fi; "
        for name in names
    )
    monkeypatch.setattr(kill, "COMMAND", ["bash", "-c", script])
    project.mkdir()
    lines = kill.killed_run(project, whole, kills=4)
    where = [line.split("the start of ")[1].split(",")[0] for line in lines]
    # Three stages take equally long: one kill each, the fourth meets the first.
    assert where == ["plan", "plan", "render/a", "vast"]
    assert all(line.endswith("which ran") for line in lines)
    assert (project / "started").read_text().split() == ["plan", "plan", "plan", "render/a", "render/a", "vast"]
    subprocess.run(kill.COMMAND, cwd=project, check=True)
    assert kill.killed_run(project, whole, kills=4) == ["the run ended before plan, render, vast could be met"]
