"""The summary of traces: start and end of every measure, and a missing trace is one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline import paths
from pipeline.errors import UserError
from pipeline.estimates import estimate
from pipeline.files import read_json, write_json
from pipeline.settings import Settings, load
from pipeline.theory.conflicts import conflicts

ROOT = Path(__file__).parents[3]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "params", tmp_path / "params")
    return load("smoke", tmp_path)


def test_summary_and_figures(settings: Settings) -> None:
    for number, run in enumerate(settings.theory.trace):
        points = [estimate([number + 0.1 * step, number + 0.2 * step], 2) for step in range(3)]
        measures = {"mean/zeta": points, "scenes/zeta": points, "mean/variance/text": points}
        about = {"run": run, "steps": [0, 5, 10], "seeds": 2, "temperature": 0.07, "captions": {"scenes": 16}}
        write_json(paths.trace(settings, run), about | {"measures": measures})
    conflicts(settings)
    records = read_json(paths.theory(settings, "conflicts"))["records"]
    last = [row for row in records if row["run"] == settings.theory.trace[1] and row["moment"] == "end"]
    assert {(row["corpus"], row["measure"]) for row in last} == {
        ("mean", "zeta"),
        ("scenes", "zeta"),
        ("mean", "variance/text"),
    }
    assert last[0]["value"] == pytest.approx(1.3)
    assert last[0]["step"] == 10
    for name in ("conflicts", "collapse"):
        assert paths.figure(settings, name, "png").is_file()


def test_a_missing_trace_is_named(settings: Settings) -> None:
    with pytest.raises(UserError, match=r"traces/infonce\.json: missing; run: python -m pipeline trace --run infonce"):
        conflicts(settings)
