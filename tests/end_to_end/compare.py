"""Whether two projects hold the same tensors and tables."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import torch

from pipeline.files import load_metadata, load_tensors

FOLDERS = ("data", "features", "models", "captions", "matching", "embeddings", "ranks", "results")
PARSED = (".safetensors", ".parquet", ".json")
BYTES = (".tar", ".jsonl", ".csv", ".md")


def artefacts(project: Path, suffixes: tuple[str, ...] = PARSED + BYTES) -> list[Path]:
    """All compared files, relative to the project."""
    files = [path for folder in FOLDERS for path in (project / folder).rglob("*") if path.suffix in suffixes]
    return sorted(path.relative_to(project) for path in files)


def differences(one: Path, two: Path) -> list[str]:
    """Names of files that differ or are missing; host and wall time in run.json aside."""
    found = [f"{path}: only in one" for path in set(artefacts(one)) ^ set(artefacts(two))]
    for path in set(artefacts(one)) & set(artefacts(two)):
        if path.suffix == ".safetensors":
            a, b = load_tensors(one / path), load_tensors(two / path)
            same = a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
            same &= load_metadata(one / path) == load_metadata(two / path)
        elif path.suffix in BYTES:
            same = (one / path).read_bytes() == (two / path).read_bytes()
        elif path.suffix == ".parquet":
            same = pd.read_parquet(one / path).equals(pd.read_parquet(two / path))
        elif path.name == "run.json" or path.name.endswith(".mlflow.json"):
            continue
        else:
            same = json.loads((one / path).read_text()) == json.loads((two / path).read_text())
        if not same:
            found.append(f"{path}: differs")
    return sorted(found)
