"""The features stage on synthetic shards: tower, comparison, extraction in the manifest's order, bad input by name."""

import numpy as np
import pytest
import torch

from pipeline import files, manifest, paths
from pipeline.errors import UserError
from pipeline.features import augment, candidates, convert, extract, probe, tower
from pipeline.loop import generator
from pipeline.models import audio, efficientnet
from pipeline.settings import load
from pipeline.shards import Writer
from tests.unit.vast import project


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Manifests and shards of random clips at smoke scale; manifest order is not the shards' order."""
    monkeypatch.chdir(tmp_path)
    found = load("smoke", project.ROOT, "mini-way")
    media, draws = found.media, np.random.default_rng(0)
    for corpus in found.corpora:
        rows = []
        for split, count, slots in (("train", 24, media.train_slots), ("val", 8, 1), ("test", 6, 1)):
            for part in range(2):
                samples = int(media.seconds * media.sample_rate)
                name = f"{split}-{part}"
                writer = Writer(paths.shard(found, corpus, name), "d", media.sample_rate, samples)
                for number in range(part, count, 2):
                    frames = draws.integers(0, 256, (media.chunks, slots, media.size, media.size, 3), dtype=np.uint8)
                    wave = draws.integers(-9000, 9000, samples, dtype=np.int16)
                    row = writer.add(f"{split}-{number}", frames, wave)
                    rows.append(
                        project._row(f"{split}-{number}", split, f"a {'red' if number % 3 else 'blue'} star {number}")
                    )
                    rows[-1] |= {"shard": name, "row": row}
                writer.close()
        order = sorted(rows, key=lambda row: (row["split"], int(row["clip_id"].split("-")[1])))
        manifest.write(paths.manifest(found, corpus), manifest.frame(order))
    return found


def test_from_shards_to_features(settings):
    convert.convert(settings, "vision")
    tower.train(settings)
    first = files.load_tensors(paths.tower_weights(settings, "audio"))
    candidates.compare(settings)
    figures = files.read_json(paths.table(settings, "candidates", "json"))
    assert figures["chosen"] == settings.audio.name
    assert {name: counts["train"] for name, counts in figures["clips"].items()} == dict.fromkeys(settings.corpora, 24)
    assert all(0 <= row["MRR"] <= 100 for row in figures["validation"][settings.audio.name].values())
    tower.train(settings)
    again = files.load_tensors(paths.tower_weights(settings, "audio"))
    assert all(torch.equal(first[name], again[name]) for name in first)
    corpus = next(iter(settings.corpora))
    for modality, encoder in (("vision", efficientnet.load(settings)), ("audio", audio.load(settings))):
        extract.extract(settings, modality, corpus)
        path = paths.features(settings, modality, corpus)
        features, ids = files.load_tensors(path), files.load_metadata(path)["ids"]
        assert ids["train"] == [f"train-{number}" for number in range(24)]
        table = manifest.usable(manifest.read(paths.manifest(settings, corpus)), "train")
        from pipeline.shards import Shard

        for place in (0, 5, 23):
            shard = Shard(paths.shard(settings, corpus, table["shard"][place]))
            row = [int(table["row"][place])]
            raw = shard.frames(row).flatten(0, 2) if modality == "vision" else shard.audio(row)
            expected = encoder.encode(raw).view(features["train"][place].shape)
            torch.testing.assert_close(features["train"][place], expected, atol=0.05, rtol=0.05)
    assert features["val"].shape == (8, settings.audio.tokens, settings.audio.width)


def test_a_clip_without_sound_has_audio_features_of_zeros_and_trains_no_tower(settings):
    convert.convert(settings, "vision")
    corpus = next(iter(settings.corpora))
    path = paths.manifest(settings, corpus)
    table = manifest.read(path)
    silent = int(table.index[table["clip_id"] == "train-3"][0])
    table.at[silent, "status"], table.at[silent, "reason"] = "no_audio", "it has no audio stream"
    table.at[silent, "modalities"] = ["text", "vision"]
    manifest.write(path, table)
    assert len(tower.read(settings, "train").waves) == 24 * len(settings.corpora) - 1
    tower.train(settings)
    for modality in ("audio", "vision"):
        extract.extract(settings, modality, corpus)
        rows = files.load_tensors(paths.features(settings, modality, corpus))["train"].flatten(1).any(1)
        assert rows.tolist() == [number != 3 or modality == "vision" for number in range(24)]


def test_a_shard_of_other_clips_is_refused(settings):
    convert.convert(settings, "vision")
    corpus = next(iter(settings.corpora))
    path = paths.manifest(settings, corpus)
    table = manifest.read(path)
    table.loc[[0, 1], "row"] = table["row"][[1, 0]].tolist()
    table.loc[[0, 1], "shard"] = table["shard"][[1, 0]].tolist()
    table.loc[0, "clip_id"], table.loc[1, "clip_id"] = "x", "y"
    manifest.write(path, table)
    with pytest.raises(UserError, match="is not clip"):
        extract.extract(settings, "vision", corpus)
    with pytest.raises(UserError, match="expected vision or audio"):
        extract.extract(settings, "smell", corpus)


def test_the_probe_finds_a_linear_relation_and_no_other():
    draws = generator(1)
    weight = torch.randn(20, 8, generator=draws)
    x, other = torch.randn(300, 20, generator=draws), torch.randn(100, 20, generator=draws)
    found = probe.retrieval((x, x @ weight), (other, other @ weight))
    assert found["R@1"] > 95
    noise = probe.retrieval((x, torch.randn(300, 8, generator=draws)), (other, torch.randn(100, 8, generator=draws)))
    assert noise["R@1"] < 10
    assert noise["chance R@1"] == 1.0


def test_augmentation_is_a_function_of_its_generator_and_keeps_power_positive():
    power = torch.rand(6, 64, 50)
    first = augment.augment(power, 0.5, 5, generator(1))
    assert torch.equal(first, augment.augment(power, 0.5, 5, generator(1)))
    assert not torch.equal(first, augment.augment(power, 0.5, 5, generator(2)))
    assert first.shape == power.shape
    assert bool((first > 0).all())
    silent = augment.augment(torch.zeros(2, 64, 50), 0.5, 5, generator(1))
    assert bool(silent.isfinite().all())


def test_equal_captions_share_an_embedding():
    settings = load("smoke", project.ROOT, "mini-way")
    found = tower.caption_embeddings(settings, ["a red star", "a moon", "a red star"])
    assert torch.equal(found[0], found[2])
    assert not torch.allclose(found[0], found[1])
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
