"""The index of stamps on a fake tree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.corpora import stamps_source
from pipeline.errors import UserError
from tests.unit.corpora.fake_stamps import add_stamp


def test_index(tree: Path) -> None:
    stamps, pictures = stamps_source.index(tree, "fr")
    assert len(stamps) == len(pictures) == 40
    assert {stamp.caption for stamp in stamps if "cat" in stamp.caption} == {"red cat", "old cat", "big cat", "wet cat"}
    assert not any(word in stamp.name for stamp in stamps for word in ("mirror", "symbols", "silent"))
    assert sum(bool(stamp.effect) for stamp in stamps) == 10
    assert [stamp.picture for stamp in stamps if stamp.picture.endswith(".svg")] == ["animals/s07.svg"]
    assert len({stamp.component for stamp in stamps}) == 40


def test_arrays(tree: Path, tmp_path: Path) -> None:
    stamps_source.build(tree, tmp_path, "fr")
    found = stamps_source.library(tmp_path)
    assert found.pictures.shape == (40, 96, 96, 4)
    assert found.pictures[7, 48, 48].tolist() == [192, 48, 32, 255]  # the SVG's red
    row = next(row for row, stamp in enumerate(found.stamps) if stamp.effect)
    assert abs(len(found.sound(row, effect=False)) - 6000) < 1000
    assert len(found.sound(row, effect=True)) > 5000
    silent = next(row for row, stamp in enumerate(found.stamps) if not stamp.effect)
    assert len(found.sound(silent, effect=True)) == 0
    tone = np.abs(np.fft.rfft(np.asarray(found.sound(3, effect=False), dtype=float), 16000)).argmax()
    assert abs(int(tone) - (300 + 40 * 3)) < 5


def test_components_join_captions_recordings_and_near_pictures(tmp_path: Path) -> None:
    for number, caption in enumerate(("A cat.", "The Cat", "A dog.", "A fox.", "A bee.", "An owl.")):
        add_stamp(tmp_path, f"animals/x{number}", caption, number)
    (tmp_path / "animals/x3_desc_es.ogg").write_bytes((tmp_path / "animals/x2_desc_es.ogg").read_bytes())
    (tmp_path / "animals/x5.png").write_bytes((tmp_path / "animals/x4.png").read_bytes())
    stamps, _ = stamps_source.index(tmp_path, "fr")
    assert [stamp.component for stamp in stamps] == [0, 0, 1, 1, 2, 2]


def components_naive(keys: list[set[str]]) -> list[set[int]]:
    groups = [({number}, set(names)) for number, names in enumerate(keys)]
    changed = True
    while changed:
        changed = False
        for a in groups:
            for b in groups:
                if a is not b and a[1] & b[1]:
                    groups.remove(b)
                    a[0].update(b[0])
                    a[1].update(b[1])
                    changed = True
                    break
            if changed:
                break
    return [members for members, _ in groups]


@pytest.mark.parametrize("seed", range(5))
def test_components_against_naive_merging(seed: int) -> None:
    rng = np.random.default_rng(seed)
    keys = [[f"k{key}" for key in rng.integers(0, 30, 2)] for _ in range(20)]
    far = np.arange(20, dtype=np.float32)[:, None] * np.ones((1, 4), np.float32)
    found = stamps_source.components(keys, far)
    expected = components_naive([set(names) for names in keys])
    made = [{row for row in range(20) if found[row] == part} for part in set(found)]
    assert sorted(map(sorted, made)) == sorted(map(sorted, expected))


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("A very large bunch of grapes.\nfr.utf8=x", "very large bunch of grapes"),
        ("The sun!", "sun"),
        ("", ""),
        ("Apple", "apple"),
    ],
)
def test_captions(text: str, caption: str) -> None:
    assert stamps_source.caption_of(text) == caption


def test_missing_stamps_and_language(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"index\.json: missing; fetch the stamps"):
        stamps_source.library(tmp_path / "nothing")
    with pytest.raises(UserError, match="description in 'xx'"):
        stamps_source.build(tree, tmp_path, "xx")


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    stamps_source.library.cache_clear()
