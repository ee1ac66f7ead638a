"""From Table 1's artefacts to a sweep's table, a tuned run and the theory, at smoke scale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import paths
from pipeline.settings import Settings, load
from tests.project import ROOT, run, snakemake
from tests.workflow.test_dag import jobs

SETTINGS: Settings = load("smoke", ROOT)
TARGETS = (
    *(str(paths.table(SETTINGS, table, kind)) for table in ("table2", "scores") for kind in ("json", "csv", "md")),
    *(str(paths.theory(SETTINGS, name)) for name in ("conflicts", "modalities", "corollaries")),
    str(paths.tuning(SETTINGS, "gram")),
)


@pytest.fixture(scope="module")
def project(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with Table 1, in which the targets have been made."""
    folder = tmp_path_factory.mktemp("sweeps") / "copy"
    run(folder.parent, "cp", "-a", str(smoke), str(folder))
    snakemake(folder, *TARGETS)
    return folder


def numbers(value: object) -> list[dict[str, object]]:
    """All estimates in a JSON value."""
    if isinstance(value, dict):
        found = [value] if {"value", "ci_low"} <= value.keys() else []
        return found + [one for part in value.values() for one in numbers(part)]
    return [one for part in value for one in numbers(part)] if isinstance(value, list) else []


def test_every_number_carries_its_uncertainty(project: Path) -> None:
    for target in TARGETS:
        if target.endswith(".json") and "tuning" not in target:
            found = numbers(json.loads((project / target).read_text()))
            assert found, target
            for one in found:
                assert {"value", "sd", "seeds", "ci_low", "ci_high"} <= one.keys(), target


def test_table1_is_untouched_and_a_second_run_does_nothing(smoke: Path, project: Path) -> None:
    table = paths.table(SETTINGS, "table1", "json")
    assert (project / table).read_bytes() == (smoke / table).read_bytes()
    assert "Nothing to be done" in run(project, "snakemake", "-n", *TARGETS, "table1").stdout


def test_the_ten_modalities_leave_only_their_features(project: Path) -> None:
    assert (project / paths.polyglot_features(SETTINGS)).is_file()
    assert not (project / paths.polyglot(SETTINGS)).exists()


def test_a_changed_space_tunes_its_methods_job_alone(project: Path) -> None:
    spaces = project / "params" / "spaces.yaml"
    text = spaces.read_text()
    old = "gram:\n  learning_rate_factor: {low: 0.1"
    assert old in text
    spaces.write_text(text.replace(old, "gram:\n  learning_rate_factor: {low: 0.2"))
    output = run(project, "snakemake", "-n", *TARGETS).stdout
    spaces.write_text(text)
    assert sum(count for name, count in jobs(output).items() if name.startswith("tune_")) == 1
    assert "train_" not in output
