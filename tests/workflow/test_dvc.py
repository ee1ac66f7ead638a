"""DVC records what Snakemake makes: outs persist, cover the rules' outputs, do not overlap."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import paths
from pipeline.settings import Settings, load
from tests.project import ROOT


def stages(file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, stage) of a dvc.yaml, foreach expanded; `${scale}` stays."""
    for name, entry in yaml.safe_load((ROOT / file).read_text())["stages"].items():
        if "foreach" not in entry:
            yield name, entry
            continue
        each = entry["foreach"]
        for key, item in each.items() if isinstance(each, dict) else zip(each, each, strict=True):
            values = {f"item.{k}": v for k, v in item.items()} if isinstance(item, dict) else {"item": item}
            text = json.dumps(entry["do"])
            for variable, value in (values | {"key": key}).items():
                text = text.replace(f"${{{variable}}}", value)
            yield f"{name}@{key}", json.loads(text)


TABLE1, REST = dict(stages("dvc.yaml")), dict(stages("workflow/dvc.yaml"))
STAGES = TABLE1 | REST


def outs(some: dict[str, dict[str, Any]]) -> list[str]:
    return [next(iter(out)) for stage in some.values() for out in stage["outs"]]


def held(artefacts: list[Path], some: dict[str, dict[str, Any]], scale: str) -> None:
    """Each artefact lies in exactly one out of `some` and in no other."""
    everywhere, here = ({Path(out.replace("${scale}", scale)) for out in outs(chosen)} for chosen in (STAGES, some))
    for artefact in artefacts:
        holders = [path for path in (artefact, *artefact.parents) if path in everywhere]
        assert len(holders) == 1, f"{artefact}: {holders}"
        assert holders[0] in here, artefact


def test_every_out_persists_and_none_is_in_another() -> None:
    assert len(STAGES) == len(TABLE1) + len(REST)
    for name, stage in STAGES.items():
        for out in stage["outs"]:
            assert next(iter(out.values()))["persist"] is True, name
    every = [Path(out) for out in outs(STAGES)]
    assert len(set(every)) == len(every)
    assert not [out for out in every if set(out.parents) & set(every)]


@pytest.mark.parametrize("scale", ["smoke", "mini"])
def test_every_tracked_artefact_of_table1_lies_in_exactly_one_out(scale: str) -> None:
    settings = load(scale)
    runs = [run for run in settings.tables["table1"].runs if not settings.released(run)]
    artefacts = []
    for corpus in settings.corpora:
        artefacts += [
            paths.manifest(settings, corpus),
            paths.coverage(settings, corpus),
            paths.pooled(settings, corpus),
        ]
        artefacts += [paths.matching(settings, corpus), paths.captions(settings, corpus)]
        artefacts += [paths.own_matching(settings, run, 0, corpus) for run in runs]
        artefacts += [paths.features(settings, modality, corpus) for modality in ("vision", "audio")]
        for shard in paths.shards(settings, corpus):
            artefacts += [paths.shard(settings, corpus, shard), paths.decoded(settings, corpus, shard)]
        for run in runs:
            artefacts += [paths.embeddings(settings, run, 0, corpus), paths.ranks(settings, run, 0, corpus)]
    artefacts += [paths.model(settings, run, 0) / "weights.safetensors" for run in runs]
    artefacts += [paths.tower_weights(settings, modality) for modality in ("vision", "audio")]
    artefacts += [paths.table(settings, "table1", "json"), paths.figure(settings, "table1", "png")]
    artefacts.append(paths.evidence(settings))
    artefacts += [Path(file) for file in settings.random()]
    held(artefacts, TABLE1, scale)


def of_run(settings: Settings, run: str, tables: list[str]) -> list[Path]:
    """Model, embeddings and ranks of a run; a run that shows shared content alone has no ranks."""
    artefacts = [paths.model(settings, run, 0) / "weights.safetensors"]
    ranked = tables != ["sharing"]
    for corpus in settings.corpora if ranked else settings.run(run).corpora:
        artefacts.append(paths.embeddings(settings, run, 0, corpus))
        artefacts += [paths.ranks(settings, run, 0, corpus)] if ranked else []
    return artefacts


@pytest.mark.parametrize("scale", ["smoke", "mini"])
def test_every_tracked_artefact_of_the_rest_lies_in_exactly_one_out(scale: str) -> None:
    settings = load(scale)
    artefacts = [paths.tuning(settings, method) for method in settings.spaces]
    for run in settings.runs:
        tables = [name for name, table in settings.tables.items() if run in table.runs]
        if "table1" not in tables and tables != ["leakage"]:  # controls are no results
            artefacts += of_run(settings, run, tables)
    for name in settings.tables:
        if name not in ("table1", "sharing", "leakage"):
            artefacts += [paths.table(settings, name, kind) for kind in ("json", "csv", "md")]
            artefacts += [paths.figure(settings, name, kind) for kind in ("png", "svg")]
            if name not in ("table1_all", "table1_tuned", "scores"):
                artefacts.append(paths.theory(settings, f"geometry/{name}"))
    artefacts += [paths.theory(settings, n) for n in ("corollaries", "conflicts", "modalities", "sharing")]
    artefacts += [paths.trace(settings, run) for run in settings.theory.trace]
    figures = ("corollary1", "corollary2", "conflicts", "collapse", "figure1", "sharing")
    artefacts += [paths.figure(settings, name, kind) for name in figures for kind in ("png", "svg")]
    held(artefacts, REST, scale)


def test_outs_name_no_run_that_is_gone() -> None:
    known = {*load("mini").runs, "tuning", "towers"}
    named = [Path(out).parts for out in outs(STAGES)]
    listed = [parts[2] for parts in named if parts[0] in ("models", "embeddings", "ranks")]
    assert set(listed) <= known


def test_probes_and_the_study_are_ignored() -> None:
    """Otherwise making figure 1 or the scores would change the outs of Table 1's stages."""
    settings = load("mini")
    artefacts = [paths.polyglot(settings), paths.polyglot_features(settings)]
    for probe in settings.probes:
        artefacts += [paths.manifest(settings, probe), paths.features(settings, "vision", probe)]
        artefacts += [paths.features(settings, "audio", probe), paths.pooled(settings, probe)]
    artefacts += [paths.study(settings, "gram", 0, corpus) for corpus in settings.corpora]
    patterns = (ROOT / ".dvcignore").read_text().splitlines()
    assert set(settings.tables["table1"].runs) == {
        pattern.split("/")[2] for pattern in patterns if pattern.startswith("!matching")
    }

    def ignored(path: Path) -> bool:
        # A star of .dvcignore stops at a slash; so many slashes are in pattern and path. The last that fits decides.
        last = ""
        for pattern in patterns:
            plain = pattern.removeprefix("!")
            for one in (path, *path.parents):
                if str(one).count("/") == plain.count("/") and fnmatch(str(one), plain):
                    last = pattern
        return bool(last) and not last.startswith("!")

    artefacts += [paths.own_matching(settings, "pmrl", 0, corpus) for corpus in settings.corpora]
    for artefact in artefacts:
        assert ignored(artefact), artefact
    for corpus in settings.corpora:
        for run in settings.tables["table1"].runs:
            assert not ignored(paths.own_matching(settings, run, 0, corpus)), run
        assert not ignored(paths.matching(settings, corpus))
        kept = [paths.manifest(settings, corpus), paths.features(settings, "audio", corpus)]
        kept += [paths.pooled(settings, corpus), paths.ranks(settings, "gram", 0, corpus)]
        assert not any(map(ignored, kept)), corpus


def test_deps_exist_or_are_outs() -> None:
    every = outs(STAGES)
    for name, stage in STAGES.items():
        for dep in stage["deps"]:
            made = dep in every or any(out.startswith(f"{dep}/") for out in every)
            assert made or (ROOT / dep).exists(), f"{name}: {dep}"


def test_commands_are_targets_of_the_snakefile() -> None:
    rules = (ROOT / "workflow" / "Snakefile").read_text()
    for stage in STAGES.values():
        target = stage["cmd"].split()[-1]
        assert f"rule {target}:" in rules or target in outs({"": stage})


def test_a_plain_repro_needs_nothing_of_the_rest() -> None:
    beyond = set(outs(REST))
    assert not [dep for stage in TABLE1.values() for dep in stage["deps"] if dep in beyond]
    assert {stage["wdir"] for stage in REST.values()} == {".."}


def test_no_code_and_no_setting_is_left_out() -> None:
    """A change of either must make DVC ask Snakemake, which knows what it touches."""
    for name, stage in STAGES.items():
        assert {"pipeline", "params", "workflow/rules", "workflow/Snakefile"} <= set(stage["deps"]), name
