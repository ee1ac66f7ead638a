"""One run a folder, through the real Snakemake: a second one is refused, jobs that outlived theirs are waited for."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import locks
from tests.project import copy_project, environment

PLAN = "data/smoke/scenes/plan.parquet"


def test_a_second_run_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".snakemake").mkdir()
    with (tmp_path / ".snakemake/run.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(locks.UserError, match="another Snakemake works in this folder"):
            locks.run(patience=0.3)
    locks.run(patience=0.3)
    with (tmp_path / ".snakemake/run.lock").open("a") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (tmp_path / ".snakemake/jobs.lock").open("a") as jobs:
        fcntl.flock(jobs, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free for the run's own jobs
    locks._held.pop().close()


def test_a_stage_by_hand_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    locks.job()
    assert not any(tmp_path.iterdir())


def test_where_no_lock_is_to_be_had_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".snakemake/jobs.lock").mkdir(parents=True)  # cannot be opened, as in a folder that one may only read
    locks.job()
    assert ".snakemake/jobs.lock: no lock to be had" in capsys.readouterr().err
    locks._held.pop().close()


def test_a_run_waits_for_the_job_that_outlived_its_snakemake(tmp_path: Path) -> None:
    """Snakemake alone is killed (-9); its job goes on, and the next run begins when that has ended."""
    project = copy_project(tmp_path)
    file = project / "pipeline/corpora/plan.py"
    slow = """
def plan(*given: object) -> None:
    import time

    open("told", "a").write("begun ")
    end = time.monotonic() + 120
    while not Path("go").exists() and time.monotonic() < end:
        time.sleep(0.05)
    _plan(*given)
    open("told", "a").write("ended ")


def _plan("""
    file.write_text("from pathlib import Path\n" + file.read_text().split("from __future__ import annotations")[1])
    file.write_text(file.read_text().replace("\ndef plan(", slow, 1))
    command = ["snakemake", "--cores", "1", "--rerun-incomplete", "--forcerun", "plan", "--", PLAN]
    with (project / "output").open("w") as output:
        begin = {"cwd": project, "env": environment(), "stdout": output, "stderr": output, "start_new_session": True}
        first = subprocess.Popen(command, **begin)  # type: ignore[call-overload]
        until((project / "told").exists, first)
        os.kill(first.pid, 9)
        first.wait()
        second = subprocess.Popen(command, **begin)  # type: ignore[call-overload]
        until(lambda: "waiting for jobs that a killed run left behind" in (project / "output").read_text(), second)
        (project / "go").touch()
        assert second.wait() == 0
    assert (project / "told").read_text().split() == ["begun", "ended", "begun", "ended"]


def until(true: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for something that happens while the process lives."""
    while not true():
        assert process.poll() is None
        time.sleep(0.05)
