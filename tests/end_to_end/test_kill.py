"""A run killed (-9) inside its stages and started again ends in the tensors and tables of an undisturbed one."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.end_to_end.compare import differences
from tests.end_to_end.kill import COMMAND, killed_run, quota
from tests.project import copy_project, environment


def test_kills_change_nothing(smoke: Path, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    lines = killed_run(project, smoke, kills=4)
    assert len(lines) == 4
    assert all(line.startswith("killed") for line in lines), lines
    done = subprocess.run(COMMAND, cwd=project, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    assert differences(smoke, project) == []


def test_twenty_kills_meet_every_stage() -> None:
    seconds = {Path("plan/scenes"): 1.0, Path("render/a"): 2.0, Path("render/b"): 2.0, Path("vast"): 9.0}
    assert quota(seconds, 3) == {"plan": 1, "render": 1, "vast": 1}
    assert quota(seconds, 8) == {"vast": 3, "render": 3, "plan": 2}
    assert quota(seconds, 2) == {"plan": 1, "render": 1}
