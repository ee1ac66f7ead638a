"""Whole files or none, and equal content in equal bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline import files

METADATA = {key: {"été": [key]} for key in ("ids", "run", "digest", "tower", "rate")}


def test_equal_tensors_make_equal_files(tmp_path: Path) -> None:
    for name in ("1", "2", "3", "4"):
        tensors = {"b": torch.arange(6.0), "a": torch.ones(3, dtype=torch.int8)}
        files.save_tensors(tmp_path / f"{name}.safetensors", tensors, METADATA)
    first, *others = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("1", "2", "3", "4"))
    assert all(other == first for other in others)
    path = tmp_path / "1.safetensors"
    assert files.load_metadata(path)["ids"] == {"été": ["ids"]}
    assert torch.equal(files.load_tensors(path)["b"], torch.arange(6.0))


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    files.write_json(target, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(target, {"a": float("nan")})
    assert files.read_json(target) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]
