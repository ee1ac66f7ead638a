"""The DAG at every scale, and what makes a stage run again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline import paths
from pipeline.settings import load
from tests.project import ROOT, copy_project, run


def jobs(output: str) -> dict[str, int]:
    """The job counts that a dry run prints."""
    return {name: int(count) for name, count in re.findall(r"^([a-z][\w.-]*) +(\d+)$", output, flags=re.M)}


@pytest.mark.parametrize(("scale", "corpora", "trainings"), [("smoke", 1, 2), ("mini", 3, 5)])
def test_dry_run_lists_the_whole_way(tmp_path: Path, scale: str, corpora: int, trainings: int) -> None:
    project = copy_project(tmp_path, scale)
    counts = jobs(run(project, "snakemake", "-n", "table1").stdout)
    assert counts["plan"] == counts["manifest"] == corpora
    assert counts.get("match", 0) == (corpora if scale == "mini" else 0)
    # Where everything is trained each run is re-ranked by its own matching; at smoke a job serves three.
    own = {name: count for name, count in counts.items() if name.startswith("match_top")}
    assert sum(own.values()) == (2 if scale == "smoke" else 0)
    assert counts["vast"] == counts["pool"] == counts["report_table1"] == 1
    assert sum(count for name, count in counts.items() if name.startswith("train_")) == trainings
    assert counts["render"] == counts["decode"] > corpora


def test_paper_scale_resolves(tmp_path: Path) -> None:
    targets = ("table1", "table1_all")
    counts = jobs(run(copy_project(tmp_path), "snakemake", "-n", *targets, "--config", "scale=paper").stdout)
    assert counts["vast"] == 1
    assert "match" not in counts
    assert counts["match_top"] == (1 + 13 * 3) * 3  # the initial model, thirteen methods' three seeds; benchmarks
    assert counts["embed_imagebind_released"] == counts["embed_languagebind_released"] == 1
    assert counts["decode"] > 10


def test_at_paper_scale_no_training_starts_before_every_corpus_is_covered(tmp_path: Path) -> None:
    settings = load("paper", ROOT)
    weights = str(paths.model(settings, "gram", 0) / "weights.safetensors")
    project = copy_project(tmp_path)
    output = run(project, "snakemake", "-n", weights, "--config", "scale=paper", "--cores", "16").stdout
    waited = output.split("rule train_")[1].split("output:")[0]
    for corpus in settings.corpora:
        assert str(paths.manifest(settings, corpus)) in waited
    assert str(paths.shard(settings, "msrvtt", "test-0")) not in waited
    # Decoding takes the cores that its processes use, and only one shard is downloaded at a time.
    blocks = output.split("\nrule ")
    assert {"threads: 8" in block for block in blocks if block.startswith("decode:")} == {True}
    asked = [block for block in blocks if block.startswith("render:") and "download=1" in block]
    assert {re.search(r"corpus=(\w+)", block)[1] for block in asked} == {"activitynet", "vast150k"}  # type: ignore[index]
    assert 'global_resources.setdefault("download", 1)' in (ROOT / "workflow" / "Snakefile").read_text()


def test_what_reads_written_captions_waits_for_them(tmp_path: Path) -> None:
    settings = load("paper", ROOT, "vggsound")
    ranks = str(paths.ranks(settings, "gram", 0, "vggsound"))
    zero_shot = str(paths.embeddings(settings, "imagebind-released", 0, "vggsound"))
    project = copy_project(tmp_path)
    config = ("--config", "scale=paper", "preset=vggsound")
    output = run(project, "snakemake", "-n", ranks, zero_shot, *config).stdout
    written = str(paths.captions(settings, "vggsound"))
    for rule in ("train_", "embed_seeds", "embed_imagebind_released", "match_top", "rank_"):
        (inputs,) = {block.split("output:")[0] for block in output.split("\nrule ") if block.startswith(rule)}
        assert written in inputs, rule


def test_every_stage_that_is_told_its_threads_asks_for_them() -> None:
    """Else a cluster gives one processor to a process of sixteen threads."""
    for file in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        for rule in re.split(r"(?m)^ *rule\b", file.read_text())[1:]:
            if "stage_beside(" in rule:
                assert "threads: SETTINGS.threads_beside" in rule, (file.name, rule[:60])


def test_two_gpu_jobs_share_a_limit(tmp_path: Path) -> None:
    """The Snakefile's own line, in a workflow of two jobs that would run beside one another without it."""
    text = (ROOT / "workflow" / "Snakefile").read_text()
    (limit,) = [line for line in text.splitlines() if 'global_resources.setdefault("gpu"' in line]
    rules = """
rule all:
    input: "a", "b"
rule one:
    output: "{name}"
    wildcard_constraints: name="[ab]"
    resources: gpu=1
    shell: "date +%s%N > {output}; sleep 1; date +%s%N >> {output}"
"""
    for line, together in ((limit, False), ("", True)):
        (tmp_path / "Snakefile").write_text(f"gpus_here = lambda: 1\n{line}\n{rules}")
        run(tmp_path, "snakemake", "--cores", "2", "--force", "all", "--forcerun", "one")
        first, second = sorted([int(t) for t in (tmp_path / name).read_text().split()] for name in ("a", "b"))
        assert (second[0] < first[1]) == together


def test_a_training_at_paper_scale_asks_for_what_it_needs(tmp_path: Path) -> None:
    weights = str(paths.model(load("paper", ROOT), "gram", 0) / "weights.safetensors")
    output = run(copy_project(tmp_path), "snakemake", "-n", weights, "--config", "scale=paper", "--cores", "16").stdout
    training = next(block for block in output.split("\nrule ") if block.startswith("train_"))
    for asked in ("threads: 16", "gpu=4", "runtime=1440", "mem_mb=96000"):
        assert asked in training


def test_code_digest_sees_operators_and_not_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pipeline.digests as digests

    package = tmp_path / "pipeline"
    (package / "stage").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "stage" / "__init__.py").write_text("")
    main, helper = package / "stage" / "main.py", package / "helper.py"
    main.write_text('"""Doc."""\nfrom pipeline.helper import add\n\n\ndef run():\n    return add(1, 2)\n')
    helper.write_text("def add(a, b):\n    return a + b\n")
    monkeypatch.setattr(digests, "ROOT", package)

    def value() -> str:
        for cached in (digests._read, digests.code_digest):
            cached.cache_clear()
        return digests.code_digest("pipeline.stage.main")

    before = value()
    helper.write_text('def add(a, b):\n    """Sum."""\n    # a comment\n    return a + b\n')
    assert value() == before
    helper.write_text("def add(a, b):\n    return a - b\n")
    assert value() != before
    changed = value()
    for name in ("settings", "settings.values"):  # how settings are typed and loaded changes no result by itself
        path = package.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text("LIMIT = 1\n")
        main.write_text(main.read_text().replace("def run", f"from pipeline.{name} import LIMIT\n\n\ndef run"))
        imported = value()
        path.write_text("LIMIT = 2\n")
        assert value() == imported != changed
    for cached in (digests._read, digests.code_digest):
        cached.cache_clear()


def test_nothing_the_snakefile_imports_imports_torch() -> None:
    code = "import sys, pipeline.settings, pipeline.paths, pipeline.digests; sys.exit('torch' in sys.modules)"
    run(ROOT, "python", "-c", code)


def test_stages_do_not_import_each_other() -> None:
    stages = {"corpora", "media", "features", "vast", "captions", "training", "embeddings", "retrieval", "generation"}
    stages |= {"theory", "reporting"}
    for path in (ROOT / "pipeline").rglob("*.py"):
        own = path.relative_to(ROOT / "pipeline").parts[0]
        if own not in stages:
            continue
        for module in re.findall(r"^\s*(?:from|import) pipeline\.(\w+)", path.read_text(), flags=re.M):
            assert module == own or module not in stages, f"{path}: imports pipeline.{module}"


def test_the_package_imports_neither_snakemake_nor_dvc() -> None:
    for path in (ROOT / "pipeline").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) (snakemake|dvc)\b", path.read_text(), flags=re.M), path
