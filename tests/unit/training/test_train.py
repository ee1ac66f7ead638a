"""Training of a run on synthetic pooled features: what it writes, what it learns, how it resumes and fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline import loop, paths
from pipeline.collapse import collapse
from pipeline.errors import UserError
from pipeline.files import load_tensors, read_json
from pipeline.models.heads import Heads, restore
from pipeline.objectives import OBJECTIVES
from pipeline.pooled import Pooled, read
from pipeline.settings import Run, Settings
from pipeline.training import train as training
from pipeline.training.validation import scored, validate
from tests.unit.pooled_files import ROOT, project

NAMES = ("text", "vision", "audio")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    found = project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return found


def adding(settings: Settings, **runs: Run) -> Settings:
    return settings.model_copy(update={"runs": {**settings.runs, **runs}})


def weights(settings: Settings, run: str, seed: int) -> dict[str, torch.Tensor]:
    return load_tensors(paths.model(settings, run, seed) / "weights.safetensors")


def validation(settings: Settings) -> dict[str, Pooled]:
    return {corpus: read(paths.pooled(settings, corpus), "val", NAMES) for corpus in settings.corpora}


def test_writes_what_the_contract_says_and_learns(settings: Settings) -> None:
    settings = adding(settings, longer=Run(method="infonce", steps=150, learning_rate=0.01))
    training.train(settings, "longer", [0, 1])
    for seed in (0, 1):
        folder = paths.model(settings, "longer", seed)
        assert {entry.name for entry in folder.iterdir()} == {"weights.safetensors", "run.json", "metrics.jsonl"}
        about = read_json(folder / "run.json")
        assert (about["run"], about["seed"], about["threads"]) == ("longer", seed, torch.get_num_threads())
        assert about["settings"]["optimisation"]["learning_rate"] == 0.01
        assert set(about["digests"]["data"]) == set(settings.corpora)
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
        assert {"loss", "attraction", "repulsion", "temperature", "gradient_norm"} <= set(lines[0])
        start = validate(
            restore(load_tensors(paths.model(settings, "vast", 0) / "weights.safetensors")), validation(settings)
        )
        assert about["validation"]["val/mean/cosine/MRR"] > start["val/mean/cosine/MRR"] + 0.2
        assert about["validation"] == validate(restore(weights(settings, "longer", seed)), validation(settings))
    first, second = weights(settings, "longer", 0), weights(settings, "longer", 1)
    assert first.keys() == second.keys()
    assert not torch.equal(first["heads.text.weight"], second["heads.text.weight"])


@pytest.mark.parametrize("run", ["vast-continued", "gram", "unialign", "unialign-literal", "captions-masked"])
def test_every_method_trains(settings: Settings, run: str) -> None:
    training.train(settings, run, [0])
    initial = load_tensors(paths.model(settings, "vast", 0) / "weights.safetensors")
    trained = weights(settings, run, 0)
    fused = not torch.equal(trained["heads.fused_va.weight"], initial["heads.fused_va.weight"])
    assert fused == (run == "vast-continued")
    assert not torch.equal(trained["heads.text.weight"], initial["heads.text.weight"])
    learnt = trained["heads.temperature"].item() != pytest.approx(0.07)
    assert learnt == settings.methods[settings.run(run).method].learn_temperature


def test_run_starts_at_the_initial_model(settings: Settings) -> None:
    how = training.recipe(settings, "gram")
    initial = training.initial_heads(paths.model(settings, "vast", 0) / "weights.safetensors")
    data = training.load([paths.pooled(settings, corpus) for corpus in how.corpora], NAMES)
    x = next(iter(validation(settings).values())).features()
    before = restore(load_tensors(paths.model(settings, "vast", 0) / "weights.safetensors"))(x)
    after = training.begin(how, data, initial, seed=5)(x)
    for one, two in zip(before, after, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_same_seed_same_weights_and_a_killed_job_continues(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    training.train(settings, "gram", [0, 1])
    expected = weights(settings, "gram", 1)
    metrics = (paths.model(settings, "gram", 1) / "metrics.jsonl").read_text()
    shutil.rmtree(paths.model(settings, "gram", 0).parent)
    shutil.rmtree("state")

    calls = 0
    whole = OBJECTIVES["gram"]

    def dies(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 33:  # in the second seed, after a checkpoint
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setitem(OBJECTIVES, "gram", dies)
    with pytest.raises(KeyboardInterrupt):
        training.train(settings, "gram", [0, 1])
    assert not (paths.model(settings, "gram", 1) / "weights.safetensors").exists()
    training.train(settings, "gram", [0, 1])
    assert calls == 33 + 20 - 10  # nothing of seed 0, the rest of seed 1
    again = weights(settings, "gram", 1)
    assert all(torch.equal(again[name], expected[name]) for name in expected)
    assert (paths.model(settings, "gram", 1) / "metrics.jsonl").read_text() == metrics


def test_changed_data_or_settings_start_anew(settings: Settings) -> None:
    training.train(settings, "gram", [0])
    folder = paths.state(settings, "gram", "0")
    assert len(list(folder.iterdir())) == 1
    training.train(settings, "gram", [0])
    assert len(list(folder.iterdir())) == 1
    training.train(adding(settings, gram=Run(method="gram", learning_rate=0.02)), "gram", [0])
    assert len(list(folder.iterdir())) == 2


def test_shuffled_text_learns_nothing(settings: Settings) -> None:
    runs = {
        "true": Run(method="infonce", steps=150, learning_rate=0.01),
        "shuffled": Run(method="infonce", steps=150, learning_rate=0.01, shuffle_text=True),
    }
    settings = adding(settings, **runs)
    mrr = {}
    for run in runs:
        training.train(settings, run, [0])
        mrr[run] = read_json(paths.model(settings, run, 0) / "run.json")["validation"]["val/mean/cosine/MRR"]
    assert mrr["true"] > 0.6
    assert mrr["shuffled"] < 0.4  # chance is 0.21 for 16 clips


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (Run(method="gram", settings={"anchr": "text"}), r"params/methods\.yaml: gram .*odd.*anchr"),
        (Run(method="gram", modalities=["vision", "audio"]), r"runs\.odd\.modalities"),
        (Run(method="vast"), "stage vast"),
    ],
)
def test_wrong_runs_are_named(settings: Settings, run: Run, message: str) -> None:
    with pytest.raises(UserError, match=message):
        training.train(adding(settings, odd=run), "odd", [0])


def test_missing_initial_model_is_named(settings: Settings) -> None:
    (paths.model(settings, "vast", 0) / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"vast/0/weights\.safetensors: missing"):
        training.train(settings, "gram", [0])


def test_training_never_imports_transformers() -> None:
    code = "import sys, pipeline.training.train, pipeline.embeddings.embed; print([m for m in sys.modules if m in " \
        "('transformers', 'diffusers', 'mlflow', 'pandas', 'scipy', 'torch._dynamo')])"  # fmt: skip
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_scores_are_naive(settings: Settings) -> None:
    z = {name: torch.nn.functional.normalize(torch.randn(5, 4, generator=loop.generator(i)), dim=1).double()
         for i, name in enumerate(NAMES)}  # fmt: skip
    fused = {"v": z["vision"], "va": z["audio"]}
    matrices = scored(z, fused)
    for i in range(5):
        for j in range(5):
            t, v, a = z["text"][i], z["vision"][j], z["audio"][j]
            mean = (v + a) / (v + a).norm()
            rows = torch.stack([t, v, a])
            volume = torch.linalg.det(rows @ rows.T).clamp_min(0).sqrt()
            items = torch.linalg.det(rows[1:] @ rows[1:].T).sqrt()
            assert matrices["cosine"][i, j] == pytest.approx(float(t @ mean))
            assert matrices["volume"][i, j] == pytest.approx(-float(volume), abs=1e-6)
            assert matrices["residual"][i, j] == pytest.approx(-float((volume / items) ** 2), abs=1e-6)
            assert matrices["fused"][i, j] == pytest.approx(float(t @ a))


def test_collapse_measures_and_alarm() -> None:
    z = {"text": torch.eye(4), "vision": -torch.eye(4)}
    values = collapse(z)
    assert values["variance/text"] == pytest.approx(0.75)
    assert values["effective_rank/vision"] == pytest.approx(4.0)
    assert values["gap/text-vision"] == values["gap/mean"] == pytest.approx(1.0)
    with pytest.raises(UserError, match="run: all vision embeddings are one point"):
        collapse({"text": torch.eye(4), "vision": torch.ones(4, 4) / 2}, "run")


def test_validation_is_the_mean_over_corpora_and_directions(settings: Settings) -> None:
    splits = validation(settings)
    values = validate(Heads({"text": 12, "vision": 20, "audio": 8}, 16, 0, loop.generator(1)), splits)
    parts = [value for key, value in values.items() if key.endswith("/volume/MRR") and "/mean/" not in key]
    assert len(parts) == 2 * len(splits)
    assert values["val/mean/volume/MRR"] == pytest.approx(sum(parts) / len(parts))
