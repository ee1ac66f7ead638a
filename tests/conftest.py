"""Fixtures that several folders share; one thread a process, since the tests run side by side."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Read by OpenMP when torch is first imported, hence before any test module.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import pytest
from filelock import FileLock

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.project import copy_project, snakemake


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A project in which Table 1 has been made at smoke scale; tests must leave its artefacts as they are."""
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent  # all workers of a test run see the same project
    with FileLock(shared / "smoke.lock"):
        project, done = shared / "smoke", shared / "smoke.done"
        if not done.exists():
            snakemake(copy_project(project), "table1")
            done.touch()
    return project


def pytest_runtest_setup() -> None:
    """Take speechbrain's redirecting modules out: hypothesis asks every module for its file, and these then fail."""
    for name in [name for name, module in sys.modules.items() if type(module).__name__ == "DeprecatedModuleRedirect"]:
        del sys.modules[name]
