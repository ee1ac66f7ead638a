"""A traced training passes through the run's own weights; measures against their definitions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline import paths
from pipeline.files import load_tensors, read_json
from pipeline.geometry import conflict, unit
from pipeline.objectives import OBJECTIVES
from pipeline.settings import Settings
from pipeline.training import trace as module
from pipeline.training.train import recipe, train
from tests.unit.pooled_files import project


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return project(tmp_path)


def test_a_trace_is_the_run_played_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    train(settings, "gram", [0])
    trained = load_tensors(paths.model(settings, "gram", 0) / "weights.safetensors")
    seen = []
    fit = module.fit
    monkeypatch.setattr(module, "fit", lambda *arguments: seen.append(fit(*arguments)))
    module.trace(settings, "gram")
    replayed = seen[0].tensors()
    assert replayed.keys() == trained.keys()
    assert all(torch.equal(replayed[name], trained[name]) for name in trained)

    found = read_json(paths.trace(settings, "gram"))
    every, last = settings.theory.trace_every, settings.training.optimisation.steps
    assert found["steps"] == list(range(0, last + 1, every))
    assert {"mean/zeta", "mean/chi", "mean/force", "mean/holder", "scenes/variance/text"} <= set(found["measures"])
    for points in found["measures"].values():
        assert len(points) == len(found["steps"])


@pytest.mark.parametrize("run", ["infonce", "vast-continued", "unialign", "pmrl", "holder"])
def test_force_is_the_cosine_of_the_two_gradients(settings: Settings, run: str) -> None:
    torch.manual_seed(0)
    how = recipe(settings, run)
    names = ("text", "vision", "audio")
    embeddings = {name: unit(torch.randn(8, 6, dtype=torch.float64)) for name in names}
    fused = {name: unit(torch.randn(8, 6, dtype=torch.float64)) for name in ("v", "va")}
    found = module.force(
        embeddings, fused if run == "vast-continued" else {}, torch.tensor(0.5, dtype=torch.float64), how
    )
    trained = fused | {"text": embeddings["text"]} if run == "vast-continued" else embeddings
    cosines = []
    for name, z in trained.items():
        leaf = z.clone().requires_grad_()
        given = embeddings | ({name: leaf} if name in embeddings else {})
        conditions = (fused | ({name: leaf} if name in fused else {})) if run == "vast-continued" else {}
        _, terms = OBJECTIVES[how.objective](given, conditions, torch.tensor(0.5, dtype=torch.float64), how.settings)
        pull = torch.autograd.grad(terms["attraction"], leaf, retain_graph=True)[0]
        push = torch.autograd.grad(terms["repulsion"], leaf)[0]
        cosines.append((unit(-pull.double()) * unit(push.double())).sum(1))
    assert found == pytest.approx(float(torch.cat(cosines).mean()), abs=1e-5)


def test_measures_are_means_over_anchors_and_corpora(settings: Settings) -> None:
    how = recipe(settings, "infonce")
    corpus = next(iter(settings.corpora))
    split = module.read(paths.pooled(settings, corpus), "val", how.modalities)
    watched = {"one": module.rows(split, 6), "two": module.rows(split, 12)}
    heads = module.begin(how, module.load([paths.pooled(settings, corpus)], how.modalities), {}, 0)
    with torch.no_grad():
        found = module.measures(heads, how, watched)
        z = torch.stack(list(heads(watched["one"], False)[0].values()))
    assert z.shape[1] == 6
    chi = torch.stack([conflict(z, anchor, 0.07)[1] for anchor in range(3)]).mean()
    assert found["one/chi"] == pytest.approx(float(chi), abs=1e-6)
    assert found["mean/chi"] == pytest.approx((found["one/chi"] + found["two/chi"]) / 2)
