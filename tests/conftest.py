"""Fixtures that several folders share; one thread a process, since the tests run side by side."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Read by OpenMP when torch is first imported, hence before any test module.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["SB_DISABLE_QUIRKS"] = "allow_tf32"  # as pipeline/models/beats.py has it

import pytest
from filelock import FileLock

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.project import copy_project, snakemake


def made(tmp_path_factory: pytest.TempPathFactory, worker_id: str, name: str, preset: str) -> Path:
    """A project in which Table 1 has been made at smoke scale, once for all workers of a test run."""
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent
    with FileLock(shared / f"{name}.lock"):
        project, done = shared / name, shared / f"{name}.done"
        if not done.exists():
            snakemake(copy_project(project, preset=preset), "table1")
            done.touch()
    return project


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Table 1 at smoke scale, the paper's way; tests must leave its artefacts as they are."""
    return made(tmp_path_factory, worker_id, "smoke", "")


@pytest.fixture(scope="session")
def mini_way(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Table 1 at smoke scale, the way of mini; tests must leave its artefacts as they are."""
    return made(tmp_path_factory, worker_id, "mini-way", "mini-way")


def pytest_runtest_setup() -> None:
    """Take speechbrain's redirecting modules out: hypothesis asks every module for its file, and these then fail."""
    for name in [name for name, module in sys.modules.items() if type(module).__name__ == "DeprecatedModuleRedirect"]:
        del sys.modules[name]
