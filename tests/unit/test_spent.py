"""Costs of stages out of Snakemake's benchmark files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.settings import load
from pipeline.spent import spent, stages
from tests.project import ROOT

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tcpu_time\n"


def job(name: str, line: str) -> None:
    path = Path("benchmarks/smoke") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + line)


def test_stages_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    settings = load("smoke", ROOT)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="benchmarks/smoke/: no benchmark files; run a target first"):
        spent(settings)
    job("train/gram/seeds0to1.tsv", "10.4\t0:00:10\t700.2\t1\t9\n")
    job("train/unialign/seeds0to1.tsv", "30.3\t0:00:30\t500\t1\t9\n")
    job("vast.tsv", "50\t0:00:50\tNA\t1\t9\n")
    assert stages(Path("benchmarks/smoke")) == [("vast", 1, 50, 50, 0), ("train", 2, 41, 30, 700)]
    spent(settings)
    written = Path("results/smoke/costs.csv").read_text()
    assert capsys.readouterr().out == written
    assert written.splitlines()[0] == "stage,jobs,seconds,longest,peak_mb"
    job("half.tsv", "")
    with pytest.raises(UserError, match=r"half\.tsv: holds no run; delete it"):
        spent(settings)
