"""A wrong key, type or name in params/ stops before any job, in one line that names file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.settings import load
from tests.project import copy_project, run


@pytest.mark.parametrize("scale", ["smoke", "mini", "paper"])
def test_every_scale_loads(scale: str) -> None:
    settings = load(scale)
    assert settings.scale == scale
    assert settings.corpora
    assert "vast" in settings.tables["table1"].runs


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("params/default.yaml", "seed: 1", "seed: 1\nsede: 2", "params/default.yaml: sede: unknown key"),
        ("params/default.yaml", "  rerank: 50", "  rerankk: 50", "params/default.yaml: retrieval.rerankk: unknown key"),
        ("params/default.yaml", "seed: 1", "seed: one", "params/default.yaml: seed: Input should be a valid integer"),
        (
            "params/smoke.yaml",
            "frozen_layers: 0",
            "frozen_layers: 2",
            "vast.text: frozen_layers 2: must be fewer than layers, 2",
        ),
        ("params/smoke.yaml", "threads: 1", "threads: 1\njobs: {trian: {}}", "jobs.trian"),
        ("params/smoke.yaml", "threads: 1", "threads: 0", "params/smoke.yaml: threads: Input should be greater than 0"),
        ("params/runs.yaml", "{method: gram}", "{method: grim}", "runs.gram.method: unknown method 'grim'"),
        ("params/smoke.yaml", "  scenes:", "  scense:", "params/smoke.yaml: corpora.scense: unknown corpus"),
        ("params/default.yaml", "scale: smoke", "scale: huge", "scale: 'huge' is none of smoke, mini, paper"),
        ("params/methods.yaml", "scale: U*tau2", "scael: 1", "objective unialign: unknown setting 'scael'"),
        (
            "params/smoke.yaml",
            "name: eva01-tiny",
            "name: tiny",
            "params/smoke.yaml: vast.released: goes with the towers",
        ),
        ("params/smoke.yaml", "[vast, ", "[vaast, ", "params/smoke.yaml: tables.table1.runs: unknown run 'vaast'"),
        ("params/runs.yaml", "tables:\n", "table:\n", "params/runs.yaml: table: unknown key; there are runs"),
        ("params/runs.yaml", "corpora: [scenes]", "corpora: [scense]", "unknown corpus 'scense'"),
        ("params/runs.yaml", "gram: {method: gram}", "gram: {method: gram, modalities: [text, sound]}", "modalities.1"),
        ("params/smoke.yaml", "table1:\n    seeds: 1", "table1:\n    seeds: 0", "smoke.yaml: tables.table1.seeds"),
        (
            "params/smoke.yaml",
            "trace: [infonce,",
            "trace: [infonec,",
            "params/smoke.yaml: theory.trace: 'infonec' is no trained run",
        ),
        (
            "params/smoke.yaml",
            "runs: [infonce, unialign]",
            "runs: [vast]",
            "params/smoke.yaml: theory.modalities.runs: 'vast' is no trained",
        ),
        ("params/spaces.yaml", "settings.lambda_align:", "settings.lambda_aling:", "unknown setting 'lambda_aling'"),
        (
            "params/spaces.yaml",
            "  temperature: {low",
            "  temperatur: {low",
            "vast-continued.temperatur: unknown; there are",
        ),
        (
            "params/corpora.yaml",
            "  kind: scenes\n",
            "  kind: scenery\n",
            "params/corpora.yaml: corpora.scenes.kind: Input should",
        ),
        (
            "params/corpora.yaml",
            "    clutter: 1.0\nscenes-redundant",
            "    cluter: 1.0\nscenes-redundant",
            "params/corpora.yaml: corpora.scenes.options.cluter: unknown key",
        ),
        (
            "params/default.yaml",
            "audio_candidates: []",
            "audio_candidates: [beats]",
            "audio_candidates: 'beats' is neither",
        ),
        ("params/corpora.yaml", "noise: 0.95", "noise: loud", "corpora.scenes.options.noise: Input should be a valid"),
        ("params/corpora.yaml", "sharing: unique", "sharing: all", "corpora.scenes.options.sharing: Input should be"),
        ("params/runs.yaml", "{method: gram}", "{method: gram, steps: 0}", "runs.gram.steps: Input should be greater"),
        ("params/runs.yaml", "{method: gram}", "{method: gram, temperature: -0.07}", "runs.gram.temperature: Input"),
        (
            "params/runs.yaml",
            "{method: gram}",
            "{method: gram, modalities: [vision, audio]}",
            "params/runs.yaml: runs.gram.modalities: text is missing",
        ),
        (
            "params/runs.yaml",
            "{method: gram}",
            "{method: gram, modalities: [text, vision]}",
            "'gram' has text, vision; tables compare T→VA",
        ),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    project = copy_project(tmp_path)
    path = project / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError) as error:
        load(root=project)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("preset=nothing", "error: preset: 'nothing' is none of gram-released, gram-shipped, mini-way, "),
        ("preset=gram-shipped", "error: params/presets/gram-shipped.yaml: is made for scale paper, not smoke"),
        ("sede=2", "error: --config sede: only scale and preset are chosen so"),
        ("seed=2", "error: --config seed: only scale and preset are chosen so"),
    ],
)
def test_what_config_cannot_choose_is_one_line(tmp_path: Path, given: str, message: str) -> None:
    dag = run(copy_project(tmp_path), "snakemake", "-n", "table1", "--config", given, check=False)
    assert dag.returncode != 0
    assert len([line for line in (dag.stdout + dag.stderr).splitlines() if line.startswith(message)]) == 1


def test_a_preset_reaches_the_stages_in_folders_of_its_own(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    dag = run(project, "snakemake", "-n", "-p", "table1", "--config", "preset=mini-way").stdout
    commands = [line for line in dag.splitlines() if "python -m pipeline" in line]
    assert commands
    assert all("python -m pipeline --preset 'mini-way' " in line and "--scale smoke" in line for line in commands)
    assert "models/smoke-mini-way/gram" not in dag  # its table has no such run
    assert "models/smoke-mini-way/unialign/0/weights.safetensors" in dag
    assert "smoke/" not in dag
    base = run(project, "snakemake", "-n", "-p", "table1").stdout
    assert "--preset" not in base
    assert "models/smoke/unialign/0/weights.safetensors" in base
    run(project, "python", "-m", "pipeline", "--preset", "mini-way", "plan", "--corpus", "scenes")
    assert (project / "data/smoke-mini-way/scenes/plan.parquet").is_file()


def test_snakemake_and_the_command_line_stop_before_any_job(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    (project / "params" / "default.yaml").write_text((project / "params" / "default.yaml").read_text() + "extra: 1\n")
    dag = run(project, "snakemake", "-n", "table1", check=False)
    assert dag.returncode != 0
    assert "params/default.yaml: extra: unknown key" in dag.stdout + dag.stderr
    stage = run(project, "python", "-m", "pipeline", "plan", "--corpus", "scenes", check=False)
    assert stage.returncode == 2
    assert stage.stderr.strip() == "error: params/default.yaml: extra: unknown key"
