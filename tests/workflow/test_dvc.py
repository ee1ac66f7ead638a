"""DVC records what Snakemake makes: outs persist, cover the rules' outputs, do not overlap."""

from __future__ import annotations

from pathlib import Path

import yaml

from pipeline import paths
from pipeline.settings import load
from tests.project import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
OUTS = [next(iter(out)) for stage in STAGES.values() for out in stage["outs"]]


def resolved(scale: str) -> list[Path]:
    return [Path(out.replace("${scale}", scale)) for out in OUTS]


def test_every_out_persists() -> None:
    for name, stage in STAGES.items():
        for out in stage["outs"]:
            assert next(iter(out.values()))["persist"] is True, name


def test_every_tracked_artefact_lies_in_exactly_one_out() -> None:
    for scale in ("smoke", "mini"):
        settings = load(scale)
        artefacts = []
        for corpus in settings.corpora:
            artefacts += [paths.manifest(settings, corpus), paths.pooled(settings, corpus)]
            artefacts += [paths.matching(settings, corpus), paths.captions(settings, corpus)]
            artefacts += [paths.features(settings, modality, corpus) for modality in ("vision", "audio")]
            for shard in paths.shards(settings, corpus):
                artefacts += [paths.shard(settings, corpus, shard), paths.decoded(settings, corpus, shard)]
            for run in settings.tables["table1"].runs:
                artefacts += [paths.embeddings(settings, run, 0, corpus), paths.ranks(settings, run, 0, corpus)]
        artefacts += [paths.model(settings, run, 0) / "weights.safetensors" for run in settings.tables["table1"].runs]
        artefacts += [paths.tower_weights(settings, modality) for modality in ("vision", "audio")]
        artefacts += [paths.table(settings, "table1", "json"), paths.figure(settings, "table1", "png")]
        artefacts += [paths.evidence(settings)]
        for artefact in artefacts:
            holders = [out for out in resolved(scale) if artefact == out or out in artefact.parents]
            assert len(holders) == 1, f"{artefact}: {holders}"


def test_the_models_stage_lists_the_runs_of_table1() -> None:
    listed = {Path(next(iter(out))).name for out in STAGES["models"]["outs"]}
    assert listed == set(load("mini").tables["table1"].runs) - {"vast"}


def test_deps_exist_or_are_outs() -> None:
    for name, stage in STAGES.items():
        for dep in stage["deps"]:
            assert dep in OUTS or (ROOT / dep).exists(), f"{name}: {dep}"


def test_commands_are_targets_of_the_snakefile() -> None:
    rules = (ROOT / "workflow" / "Snakefile").read_text()
    for stage in STAGES.values():
        assert f"rule {stage['cmd'].split()[-1]}:" in rules
