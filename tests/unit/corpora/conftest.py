"""A tiny fake tree of stamps, and settings that use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.settings import Corpus, Settings, load
from tests.unit.corpora.fake_stamps import add_stamp

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty stamps with captions of their own; some with effects, one as SVG; and some that must be left out."""
    folder = tmp_path_factory.mktemp("tree") / "stamps"
    kinds = [
        f"{colour} {thing}"
        for colour in ("red", "old", "big", "wet")
        for thing in ["cat", "dog", "car", "hat", "cup", "bed", "fox", "owl", "bee", "ant"]
    ]
    for number, kind in enumerate(kinds):
        add_stamp(folder, f"animals/s{number:02d}", f"A {kind}.", number, effect=number % 4 == 0, svg=number == 7)
    add_stamp(folder, "animals/s00_mirror", "A red cat.", 900)
    add_stamp(folder, "symbols/letter", "The letter a.", 901)
    add_stamp(folder, "animals/silent", "A silent thing.", 902)
    (folder / "animals/silent_desc_fr.ogg").unlink()
    return folder


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Settings of smoke with small corpora of stamps beside scenes."""
    base = load("smoke", ROOT)
    options = {"sha256": "0", "language": "fr", "noise": 0.3, "clutter": 0.5}
    entry = {"stands_for": "x", "source": "fake", "licence": "GPL-2", "options": options}
    shards = {"train": 1, "val": 1, "test": 1}
    corpora = {
        "stamps": Corpus.model_validate(entry | {"kind": "stamps", "train": 30, "val": 4, "test": 8, "shards": shards}),
        "stories": Corpus.model_validate(
            entry | {"kind": "stories", "train": 30, "val": 10, "test": 20, "shards": shards}
        ),
        "sounds": Corpus.model_validate(
            entry
            | {"kind": "sounds", "train": 12, "val": 6, "test": 10, "shards": shards}
            | {"options": options | {"captions": "written"}}
        ),
        "scenes": base.corpora["scenes"],
    }
    return base.model_copy(update={"corpora": corpora})
