"""Fixtures that several folders share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.project import copy_project, snakemake


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which Table 1 has been made at smoke scale; tests must leave its artefacts as they are."""
    project = copy_project(tmp_path_factory.mktemp("smoke"))
    snakemake(project, "table1")
    return project
