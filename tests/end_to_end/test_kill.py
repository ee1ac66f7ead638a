"""A run killed (-9) inside its stages and started again ends in the tensors and tables of an undisturbed one."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.end_to_end.compare import artefacts, differences
from tests.end_to_end.kill import COMMAND, killed_run
from tests.project import copy_project, environment


def test_kills_change_nothing(smoke: Path, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    lines = killed_run(project, artefacts(smoke), kills=4)
    assert all(line.endswith(" killed") for line in lines), lines
    done = subprocess.run(COMMAND, cwd=project, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    assert differences(smoke, project) == []
