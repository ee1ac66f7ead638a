"""The DAG of tuning, sweeps and theory: every target resolves, nothing is trained twice, table1 needs none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import paths
from pipeline.settings import load
from tests.project import ROOT, copy_project, run
from tests.workflow.test_dag import jobs

TARGETS = ("tune", "table1_tuned", "table2", "table4", "table5", "readings", "gaps", "scores", "figure1")


@pytest.mark.parametrize("scale", ["smoke", "mini"])
def test_all_targets_resolve_in_few_jobs(tmp_path: Path, scale: str) -> None:
    output = run(copy_project(tmp_path, scale), "snakemake", "-n", *TARGETS).stdout
    counts = jobs(output.replace("-", "_").replace(".", "_"))
    settings = load(scale, ROOT)
    tunings = sum(count for name, count in counts.items() if name.startswith("tune_"))
    assert tunings == -(-len(settings.spaces) // settings.tuning.methods_per_job)
    assert counts["trace"] == len(settings.theory.trace)
    assert counts["report_sweep"] == counts["geometry"] == 10
    assert counts["report_retrieval"] == 2
    assert counts["report_scores"] == 1
    assert counts["pool_probe"] == len(settings.probes) - len(settings.captioned_corpora())
    assert counts["modalities"] == counts["conflicts"] == counts["corollaries"] == counts["sharing"] == 1
    trainings = sum(count for name, count in counts.items() if name.startswith("train_"))
    assert trainings < len(settings.runs) / 2


def test_paper_scale_resolves(tmp_path: Path) -> None:
    output = run(copy_project(tmp_path), "snakemake", "-n", "table2", "--config", "scale=paper").stdout
    assert sum(count for name, count in jobs(output).items() if name.startswith("train_")) >= 4


def test_table1_depends_on_none_of_it(tmp_path: Path) -> None:
    output = run(copy_project(tmp_path, "mini"), "snakemake", "-n", "table1").stdout
    for word in ("tuning", "theory", "study", "scenes-", "batch", "polyglot", "shuffled"):
        assert word not in output, word


def test_leakage_trains_a_second_vast_on_shuffled_text_beside_the_first(tmp_path: Path) -> None:
    project = copy_project(tmp_path, preset="mini-way")
    counts = jobs(run(project, "snakemake", "-n", "leakage").stdout)
    assert counts["vast"] == counts["pool"] == 2
    assert counts["check_leakage"] == 1
    assert sum(count for name, count in counts.items() if name.startswith("train_")) == 4
    released = jobs(run(copy_project(tmp_path / "released"), "snakemake", "-n", "leakage").stdout)
    assert released["check_leakage"] == 1
    assert "vast" not in released


@pytest.mark.parametrize("table", ["table4", "readings"])
def test_a_sweep_reads_as_many_seeds_as_it_asks_for(tmp_path: Path, table: str) -> None:
    settings = load("mini", ROOT)
    output = run(copy_project(tmp_path, "mini"), "snakemake", "-n", table).stdout
    block = output.split("rule report_sweep:")[1].split("output:")[0]
    assert str(paths.ranks(settings, "unialign", 2, "scenes")) in block
    assert str(paths.ranks(settings, "unialign", 3, "scenes")) not in block


def test_a_tuned_run_waits_for_its_winner(tmp_path: Path) -> None:
    settings = load("smoke", ROOT)
    weights = paths.model(settings, "gram-tuned", 0) / "weights.safetensors"
    output = run(copy_project(tmp_path), "snakemake", "-n", str(weights)).stdout
    assert str(paths.tuning(settings, "gram")) in output.split("rule train_batch_table1_tuned")[1].split("output:")[0]


def test_commands_name_what_they_do_not_know(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    for command, message in (
        (("sweep", "--table", "table9"), "--table table9: no such table in params/runs.yaml; did you mean table"),
        (("tune", "--method", "clip"), "--method clip: no such space in params/spaces.yaml; none of the 13 is near"),
        (("pool", "--corpus", "scense"), "--corpus scense: no such corpus at scale smoke; there are scenes,"),
    ):
        done = run(project, "python", "-m", "pipeline", *command, check=False)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
