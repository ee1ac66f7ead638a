"""Estimates against textbook numbers; figures are the same bytes twice; tuples leave incomplete clips out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from pipeline import figures, paths, tuples
from pipeline.errors import UserError
from pipeline.estimates import estimate
from pipeline.files import save_tensors
from pipeline.settings import load

ROOT = Path(__file__).parents[2]


def test_student_interval() -> None:
    found = estimate([1.0, 2.0, 3.0, 4.0], seeds=4, unit="%")
    assert (found["value"], found["n"], found["seeds"], found["unit"]) == (2.5, 4, 4, "%")
    assert found["sd"] == pytest.approx(1.2909944)
    assert found["ci_high"] - found["value"] == pytest.approx(3.182446 * 1.2909944 / 2, rel=1e-5)


def test_one_value_has_no_spread_and_none_is_an_error() -> None:
    assert estimate([2.0])["sd"] is None
    for bad in ([], [float("nan")]):
        with pytest.raises(ValueError, match="finite"):
            estimate(bad)


def test_figures_are_reproducible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "params", tmp_path / "params")
    settings = load("smoke", tmp_path)
    contents = []
    for _ in range(2):
        figure, panels = figures.canvas(1, 2)
        figures.curve(panels[0], [1, 2], [estimate([1, 2]), estimate([3])], figures.COLOURS[0], "a")
        figures.save(settings, "one", figure)
        contents.append([paths.figure(settings, "one", kind).read_bytes() for kind in figures.KINDS])
    assert contents[0] == contents[1]


def test_tuples_follow_captions_and_skip_absent_modalities(tmp_path: Path) -> None:
    text, vision, audio = torch.eye(4), torch.eye(3, 4), torch.eye(3, 4).roll(1, 1)
    audio[1] = 0
    stored = {"test/text": text, "test/text_clip": torch.tensor([0, 1, 2, 2]), "test/vision": vision}
    save_tensors(tmp_path / "e.safetensors", stored | {"test/audio": audio})
    z = tuples.read(tmp_path / "e.safetensors")
    assert z.shape == (3, 3, 4)
    assert torch.equal(z[1], vision[[0, 2, 2]])
    assert tuples.read(tmp_path / "e.safetensors", limit=2).shape == (3, 2, 4)
    with pytest.raises(UserError, match="embed the run first"):
        tuples.read(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="split val"):
        tuples.read(tmp_path / "e.safetensors", "val")
