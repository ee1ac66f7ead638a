"""Embedding files: names, shapes, ids and digests of the contract."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline import paths
from pipeline.embeddings.embed import embed
from pipeline.errors import UserError
from pipeline.files import load_metadata, load_tensors, sha256
from pipeline.models.heads import restore
from pipeline.settings import Settings
from pipeline.training.train import train
from tests.unit.pooled_files import project


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    found = project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return found


def test_files_hold_the_contract(settings: Settings) -> None:
    train(settings, "gram", [0, 1])
    embed(settings, "gram", [0, 1])
    entry, width = settings.corpora["scenes"], settings.vast.width
    for seed in (0, 1):
        file = paths.embeddings(settings, "gram", seed, "scenes")
        tensors, about = load_tensors(file), load_metadata(file)
        kinds = ("text", "text_clip", "vision", "audio", "fused_v", "fused_a", "fused_va")
        assert set(tensors) == {f"{split}/{kind}" for split in ("val", "test") for kind in kinds}
        assert tensors["test/vision"].shape == (entry.test, width)
        assert tensors["val/fused_va"].shape == (entry.val, width)
        assert tensors["test/text"].shape == (len(tensors["test/text_clip"]), width)
        assert len(about["ids"]["test"]) == entry.test
        assert about["manifest"] == sha256(paths.manifest(settings, "scenes"))
        weights = paths.model(settings, "gram", seed) / "weights.safetensors"
        assert about["model"] == sha256(weights)
        assert about["stale"] == ["fused"]
        for name, tensor in tensors.items():
            if not name.endswith("text_clip"):
                torch.testing.assert_close(tensor.norm(dim=1), torch.ones(len(tensor)))
        audio = load_tensors(paths.pooled(settings, "scenes"))["audio-test"]
        assert torch.equal(restore(load_tensors(weights)).embed(audio=audio)["audio"], tensors["test/audio"])


def test_initial_model_is_embedded_by_its_own_heads(settings: Settings) -> None:
    embed(settings, "vast", [0])
    assert load_metadata(paths.embeddings(settings, "vast", 0, "scenes"))["stale"] == []
    tensors = load_tensors(paths.embeddings(settings, "vast", 0, "scenes"))
    pooled = load_tensors(paths.pooled(settings, "scenes"))
    weight = load_tensors(paths.model(settings, "vast", 0) / "weights.safetensors")["heads.vision.weight"]
    expected = pooled["vision-test"][:, :, 0].float().mean(1) @ weight.T
    torch.testing.assert_close(tensors["test/vision"], expected / expected.norm(dim=1, keepdim=True))


def test_what_is_missing_is_named(settings: Settings) -> None:
    with pytest.raises(UserError, match="train gram with seed 3"):
        embed(settings, "gram", [3])
    paths.manifest(settings, "scenes").unlink()
    with pytest.raises(UserError, match=r"manifest\.parquet"):
        embed(settings, "vast", [0])
