"""The stages of the initial model on synthetic features: training, pooling, evidence, matching and its resumption."""

import json
from pathlib import Path

import pytest
import torch

from pipeline import files, paths, pooled
from pipeline.errors import UserError
from pipeline.models import vast as models
from pipeline.vast import data, embed, evidence, matching, pool, train
from tests.unit.vast import project


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vast")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = project.make(folder)
        vast = settings.vast
        steps = vast.optimisation.model_copy(update={"steps": 200, "learning_rate": 3e-3})
        settings = settings.model_copy(update={"vast": vast.model_copy(update={"optimisation": steps})})
        train.train(settings)
        yield settings


def test_weights_and_record(trained):
    folder = paths.model(trained, "vast", 0)
    tensors = files.load_tensors(folder / "weights.safetensors")
    assert tensors["heads.text.weight"].shape == (trained.vast.width, trained.vast.text.width)
    assert files.read_json(folder / "run.json")["trained_parameters"] > 0
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    matched = [line["matching"] for line in lines if "matching" in line]
    captioned = [line["captioning"] for line in lines if "captioning" in line]
    assert matched[-1] < matched[0]
    assert captioned[-1] < captioned[0]
    checked = [line for line in lines if "scenes/gap/mean" in line]
    assert checked
    assert {f"scenes/variance/{name}" for name in ("text", "vision", "audio")} <= checked[-1].keys()


def test_training_is_reproduced_and_resumed(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    project.make(tmp_path)
    short = trained.vast.optimisation.model_copy(update={"steps": 8, "checkpoint_every": 3, "validate_every": 8})
    settings = trained.model_copy(update={"vast": trained.vast.model_copy(update={"optimisation": short})})
    train.train(settings)
    path = paths.model(settings, "vast", 0) / "weights.safetensors"
    whole = files.load_tensors(path)
    for state in Path("state").rglob("step-00000008.safetensors"):
        state.unlink()
    path.unlink()
    train.train(settings)
    again = files.load_tensors(path)
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_pooled_features_are_read_by_the_runs(trained):
    pool.pool(trained)
    for corpus in trained.corpora:
        found = pooled.read(paths.pooled(trained, corpus), "test", ["text", "vision", "audio"])
        model, tokenizer = models.load(trained)
        split = data.read(trained, corpus, "test", tokenizer)
        assert found.ids == split.clips
        assert torch.equal(found.hits(), split.hits())
        embeddings = embed.embeddings(model, split)
        ours = model.contrast(found.features())
        torch.testing.assert_close(ours[0]["text"], embeddings["text"], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(ours[1]["va"], embeddings["fused_va"], atol=1e-2, rtol=1e-2)


def test_evidence_beats_chance(trained, capsys):
    evidence.evidence(trained)
    for figures in files.read_json(paths.evidence(trained))["corpora"].values():
        assert figures["R@1 T2VA"] > 2 * figures["R@1 chance"]
        assert figures["matching AUC random"] > 0.6
        assert 0 <= figures["new captions share"] <= 1
        assert figures["CIDEr"] >= 0
    assert "truth:" in capsys.readouterr().err


def test_matching_resumes_from_its_parts(trained, monkeypatch):
    corpus = next(iter(trained.corpora))
    monkeypatch.setattr(matching, "PART", 24)
    matching.match(trained, corpus)
    path = paths.matching(trained, corpus)
    whole = files.load_tensors(path)
    q, g = len(whole["captions"]), len(whole["clips"])
    assert whole["probability"].shape == (q, g)
    assert g == trained.retrieval.gallery
    assert bool(((whole["probability"] >= 0) & (whole["probability"] <= 1)).all())
    path.unlink()
    saved, count = files.save_tensors, [0]

    def stop(*arguments, **options):
        count[0] += 1
        if count[0] == 3:
            raise KeyboardInterrupt
        saved(*arguments, **options)

    monkeypatch.setattr(files, "save_tensors", stop)
    with pytest.raises(KeyboardInterrupt):
        matching.match(trained, corpus)
    monkeypatch.setattr(files, "save_tensors", saved)
    parts = sorted(paths.state(trained, "matching").rglob("*.safetensors"))
    assert len(parts) == 2
    assert not path.exists()
    before = [part.stat().st_mtime_ns for part in parts]
    computed = []
    original = models.Vast.matching
    monkeypatch.setattr(models.Vast, "matching", lambda self, *a: computed.append(len(a[0])) or original(self, *a))
    matching.match(trained, corpus)
    again = files.load_tensors(path)
    assert before
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert sum(computed) < len(whole["captions"])


def test_matching_probabilities_are_those_of_single_pairs(trained):
    corpus = next(iter(trained.corpora))
    model, tokenizer = models.load(trained)
    split = data.read(trained, corpus, "test", tokenizer)
    found = files.load_tensors(paths.matching(trained, corpus))
    lower = embed.lower(model, split).float()
    for q in (0, len(found["captions"]) - 1):
        row = found["captions"][q : q + 1]
        for g in range(3):
            tokens = model.tokens(split.features(found["clips"][g : g + 1]))
            single = model.matching(lower[row], split.lengths[row], tokens, torch.tensor([[0, 0]])).softmax(1)[0, 1]
            assert float(found["probability"][q, g]) == pytest.approx(float(single), abs=0.05)


def test_features_of_other_clips_are_refused(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = project.make(tmp_path)
    corpus = next(iter(settings.corpora))
    path = paths.features(settings, "audio", corpus)
    metadata = files.load_metadata(path)
    metadata["ids"]["val"][0] = "another"
    files.save_tensors(path, files.load_tensors(path), metadata)
    with pytest.raises(UserError, match="other clips"):
        data.read(settings, corpus, "val", None)
    path.unlink()
    with pytest.raises(UserError, match="missing"):
        data.read(settings, corpus, "val", None)
