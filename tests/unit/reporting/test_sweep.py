"""Tables of sweeps on ranks with known answers."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from pipeline import paths
from pipeline.errors import UserError
from pipeline.files import read_json, write_json
from pipeline.reporting.sweep import Sweep, benchmarks_of, sweep
from pipeline.settings import Settings, load
from tests.unit.retrieval_project import write_ranks

ROOT = Path(__file__).parents[3]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "params", tmp_path / "params")
    whole = load("smoke", tmp_path)
    tables = {name: table.model_copy(update={"seeds": 2}) for name, table in whole.tables.items()}
    return whole.model_copy(update={"tables": tables})


def prepare(settings: Settings, name: str, levels: list[float]) -> None:
    runs = settings.tables[name].runs
    write_ranks(settings, dict(zip(runs, levels, strict=True)))
    point = {
        "measure": "gap",
        "captions": 200,
        "value": 0.5,
        "sd": 0.1,
        "ci_low": 0.4,
        "ci_high": 0.6,
        "n": 2,
        "seeds": 2,
    }
    records = [{"run": run, "corpus": corpus} | point for run in runs for corpus in ("scenes", "average")]
    write_json(paths.theory(settings, f"geometry/{name}"), {"records": records})


def test_table2_is_cosine_on_its_own_benchmark_with_the_papers_rows_beside(settings: Settings) -> None:
    prepare(settings, "table2", [0.3, 0.4, 0.5, 0.6])
    made = Sweep(settings, "table2")
    assert made.columns == ["scenes"]
    rates = {record.row: record.value for record in made.main if record.column == "scenes.t2va"}
    assert rates == {
        "U(C) off, √det off": pytest.approx(30.0),
        "U(C) off, √det on": pytest.approx(40.0),
        "U(C) on, √det off": pytest.approx(50.0),
        "U(C) on, √det on": pytest.approx(60.0),
    }
    assert {record.score for record in made.main} == {"cosine"}
    paper = next(grid for grid in made.grids if "paper" in grid.title)
    assert list(paper.rows[0]) == ["U(C) off, √det off", "36.5", "36.8", "36.6"]
    assert all(record.paper is None for record in made.records if record.section != "quoted")


def test_differences_to_the_first_row_carry_a_verdict(settings: Settings) -> None:
    prepare(settings, "table2", [0.3, 0.3, 0.5, 0.6])
    found = {record.run: record for record in Sweep(settings, "table2").differences if record.column == "scenes.t2va"}
    assert "ablation-none" not in found
    assert found["ablation-centroid"].value == pytest.approx(20.0)
    assert found["ablation-centroid"].verdict == "better"
    assert found["ablation-volume"].verdict == "equivalent"
    assert found["ablation-volume"].p_holm == pytest.approx(1.0)


def test_files_hold_every_number_with_its_uncertainty(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(settings, "table5", [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.7, 0.7, 0.7])
    sweep(settings, "table5")
    rows = read_json(paths.table(settings, "table5", "json"))["records"]
    for row in rows:
        if row["section"] != "quoted":
            assert row["seeds"] == 2
            assert None not in (row["value"], row["sd"], row["ci_low"], row["ci_high"])
    with paths.table(settings, "table5", "csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(rows)
    text = paths.table(settings, "table5", "md").read_text()
    assert "tau_ctr=0.03" in text
    assert "56.8" in text
    assert paths.figure(settings, "table5", "svg").is_file()
    assert "tau_ctr=0.5" in capsys.readouterr().out


def test_dose_has_recall_at_fifty_and_compares_with_the_one_initial_model(settings: Settings) -> None:
    prepare(settings, "dose", [0.5, 0.4, 0.3, 0.2, 0.1, 0.5, 0.5])
    made = Sweep(settings, "dose")
    fifty = [record for record in made.main if record.column == "scenes.t2va.R@50"]
    assert [record.value for record in fifty] == [pytest.approx(100.0)] * 7
    assert made.measured.seeds["vast"] == 1
    lost = {record.run: record.value for record in made.differences if record.column == "scenes.t2va"}
    assert lost["literal-steps-10"] == pytest.approx(-10.0)
    assert lost["unialign-literal"] == pytest.approx(-40.0)


def test_missing_geometry_is_one_line(settings: Settings) -> None:
    prepare(settings, "table4", [0.1] * 6)
    paths.theory(settings, "geometry/table4").unlink()
    with pytest.raises(UserError, match="geometry --table table4"):
        Sweep(settings, "table4")


def test_a_benchmark_of_their_own(settings: Settings) -> None:
    assert benchmarks_of(settings, ["ablation-none", "ablation-volume"]) == ["scenes"]
    assert benchmarks_of(settings, ["unialign", "ablation-volume"]) == list(settings.corpora)
