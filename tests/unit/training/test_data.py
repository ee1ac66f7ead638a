"""Batches of pooled features: distinct clips, whole epochs, draws that are functions of (seed, epoch, row)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError
from pipeline.files import load_metadata, load_tensors, save_tensors
from pipeline.pooled import read
from pipeline.training.data import TrainSet, load

NAMES = ("text", "vision", "audio")


def write(file: Path, n: int = 10, offset: int = 0) -> Path:
    """Features that spell what they are: clip number, chunk, slot; captions 100 · clip + number."""
    clip = torch.cat([torch.arange(n), torch.arange(0, n, 2)])
    numbers = torch.cat([torch.zeros(n), torch.ones(len(clip) - n)])
    vision = torch.stack(torch.meshgrid(torch.arange(n) + offset, torch.arange(3), torch.arange(2), indexing="ij"), -1)
    audio = torch.arange(1, n + 1)[:, None] + offset
    tensors = {
        "text-train": torch.stack([100.0 * (clip + offset) + numbers, torch.ones(len(clip))], 1),
        "text-clip-train": clip,
        "vision-train": vision.float(),
        "audio-train": audio.float(),
    }
    save_tensors(file, tensors, {"ids": {"train": [f"{offset + row}" for row in range(n)]}})
    return file


@pytest.fixture
def data(tmp_path: Path) -> TrainSet:
    return load([write(tmp_path / "a.safetensors"), write(tmp_path / "b.safetensors", 6, offset=10)], NAMES)


def test_rows_belong_together_and_epochs_are_whole(data: TrainSet) -> None:
    seen = []
    for step in range(4):
        features, equal = data.batch(4, 7, step)
        clip = features["vision"][:, 0]
        assert torch.equal(features["audio"][:, 0], clip + 1)
        assert torch.equal((features["text"][:, 0] / 100).floor(), clip)
        assert len(equal.unique()) == 4
        seen += clip.tolist()
    assert sorted(seen) == list(range(16))


def test_captions_and_slots_are_drawn(data: TrainSet) -> None:
    second, slots, chunks = [], [], set()
    for step in range(200):
        features, _ = data.batch(8, 3, step)
        clip = features["vision"][:, 0]
        second.append((features["text"][:, 0] % 100)[clip % 2 == 0])
        assert not (features["text"][:, 0] % 100)[clip % 2 == 1].any()
        chunks |= set(features["vision"][:, 1].tolist())
        slots.append(features["vision"][:, 2])
    assert torch.cat(second).mean() == pytest.approx(0.5, abs=0.08)
    assert torch.cat(slots).mean() == pytest.approx(0.5, abs=0.03)
    assert set(torch.cat(slots).mul(3).round().tolist()) == {0, 1, 2, 3}  # chunks draw on their own
    assert chunks == {1.0}


def test_a_batch_is_a_function_of_seed_and_step(data: TrainSet) -> None:
    def drawn(seed: int, step: int) -> torch.Tensor:
        return torch.cat(list(data.batch(8, seed, step)[0].values()), 1)

    expected = drawn(5, 9)
    drawn(6, 1)
    assert torch.equal(drawn(5, 9), expected)
    assert not torch.equal(drawn(6, 9), expected)
    assert not torch.equal(drawn(5, 11), expected)


def test_incomplete_clips_are_left_out_and_counted(tmp_path: Path) -> None:
    file = write(tmp_path / "a.safetensors")
    tensors, about = load_tensors(file), load_metadata(file)
    tensors["audio-train"][3] = 0
    kept = tensors["text-clip-train"] != 5
    tensors["text-train"], tensors["text-clip-train"] = tensors["text-train"][kept], tensors["text-clip-train"][kept]
    save_tensors(file, tensors, about)
    data = load([file], NAMES)
    assert data.incomplete == 2
    features, _ = data.batch(8, 1, 0)
    assert sorted(features["vision"][:, 0].tolist()) == [0, 1, 2, 4, 6, 7, 8, 9]
    assert torch.equal((features["text"][:, 0] / 100).floor(), features["vision"][:, 0])
    assert load([file], ("text", "vision")).incomplete == 1


def test_equal_captions_share_a_number(tmp_path: Path) -> None:
    file = write(tmp_path / "a.safetensors")
    tensors, about = load_tensors(file), load_metadata(file)
    tensors["text-train"][5] = tensors["text-train"][7]
    save_tensors(file, tensors, about)
    features, equal = load([file], NAMES).batch(10, 1, 0)
    rows = {int(clip): row for row, clip in enumerate(features["vision"][:, 0])}
    assert equal[rows[5]] == equal[rows[7]]
    assert len(equal.unique()) == 9


def test_dealt_captions_are_the_same_captions_elsewhere(data: TrainSet) -> None:
    dealt = data.dealt(4)
    assert sorted(dealt.text[:, 0].tolist()) == sorted(data.text[:, 0].tolist())
    clips = torch.repeat_interleave(torch.arange(16), data.count)
    assert not (dealt.text[:, 0].div(100).floor() == clips).any()
    assert dealt.text[:15, 0].max() < 1000 <= dealt.text[15:, 0].min()  # each corpus among itself
    assert not torch.equal(data.dealt(5).text, dealt.text)
    assert len(dealt.equal.unique()) == len(data.equal.unique())


def test_shapes_and_files_are_checked(tmp_path: Path) -> None:
    file = write(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"none\.safetensors: missing"):
        read(tmp_path / "none.safetensors", "train", NAMES)
    with pytest.raises(UserError, match=r"a\.safetensors: split train.*speech"):
        read(file, "train", ("text", "speech"))
    with pytest.raises(UserError, match="split val"):
        read(file, "val", NAMES)
    tensors, about = load_tensors(file), load_metadata(file)
    save_tensors(tmp_path / "short.safetensors", tensors | {"audio-train": tensors["audio-train"][1:]}, about)
    with pytest.raises(UserError, match="audio-train has 9 rows for 10"):
        read(tmp_path / "short.safetensors", "train", NAMES)
    save_tensors(tmp_path / "far.safetensors", tensors | {"text-clip-train": tensors["text-clip-train"] + 1}, about)
    with pytest.raises(UserError, match="do not fit"):
        read(tmp_path / "far.safetensors", "train", NAMES)
    save_tensors(tmp_path / "c.safetensors", tensors | {"audio-train": torch.ones(10, 4)}, about)
    with pytest.raises(UserError, match="audio has shapes"):
        load([file, tmp_path / "c.safetensors"], NAMES)


def test_hits_and_evaluation_features(tmp_path: Path) -> None:
    file = write(tmp_path / "a.safetensors", 4)
    tensors, about = load_tensors(file), load_metadata(file)
    tensors["text-train"][1] = tensors["text-train"][0]
    save_tensors(file, tensors, about)
    split = read(file, "train", NAMES)
    expected = torch.eye(4, dtype=torch.bool)[[0, 1, 2, 3, 0, 2]]
    expected[0, 1] = expected[1, 0] = True
    assert torch.equal(split.hits(), expected)
    assert split.features()["vision"].tolist() == [[float(row), 1.0, 0.0] for row in range(4)]
