"""Whole files or none, and equal content in equal bytes."""

from __future__ import annotations

import subprocess
import sys
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


WRITER = """
import sys, time
from pathlib import Path
from pipeline import files

with files.atomic(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_writer_left_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "plan@x"
    with_killed, with_living = (
        subprocess.Popen([sys.executable, "-c", WRITER, folder / name], stdout=subprocess.PIPE, text=True)
        for name in ("a.b.parquet", "plan.json")
    )
    try:
        assert with_killed.stdout
        assert with_living.stdout
        left, kept = (Path(process.stdout.readline().strip()) for process in (with_killed, with_living))  # type: ignore[union-attr]
        assert left.suffix == ".parquet"
        with_killed.kill()
        with_killed.wait()
        assert left.is_file()
        files.write_json(folder / "other.json", 1)
        assert sorted(folder.iterdir()) == sorted([kept, folder / "other.json"])
    finally:
        with_living.kill()
        with_living.wait()
