"""Clips with up to ten modalities: what is test has its concepts in no training; stand-ins have the same form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline import paths
from pipeline.corpora import polyglot as module
from pipeline.corpora import stamps_source
from pipeline.corpora.stamps import split_concepts
from pipeline.errors import UserError
from pipeline.files import load_metadata, load_tensors
from pipeline.models.spectrograms import heard
from pipeline.settings import Settings, load

ROOT = Path(__file__).parents[3]


@pytest.fixture
def fetched(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with fetched stamps, spoken in two languages."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / stamps_source.ROOT
    root.mkdir(parents=True)
    (root / "stamps").symlink_to(tree)
    stamps_source.build(tree, root, "fr")
    stamps_source.library.cache_clear()
    monkeypatch.setattr(module, "LANGUAGES", ("fr", "es"))
    yield root
    stamps_source.library.cache_clear()


def test_test_captions_are_those_of_no_training(fetched: Path, settings: Settings) -> None:
    module.polyglot(settings)
    about, tensors = load_metadata(paths.polyglot(settings)), load_tensors(paths.polyglot(settings))
    split = split_concepts(settings, stamps_source.library()).captions
    assert set(about["captions"]["test"]) == {*split["val"], *split["test"]}
    assert set(about["captions"]["train"]) == set(split["train"])
    assert about["real"] is True
    samples = int(settings.media.seconds * settings.media.sample_rate)
    for name in module.SPLITS:
        count = len(about["captions"][name])
        assert tensors[f"picture-{name}"].shape == (count, 96, 96, 3)
        assert tensors[f"es-{name}"].shape == (count, samples)
        assert bool(tensors[f"fr-{name}"].any(1).all())
    assert not (tensors["fr-test"] == tensors["es-test"]).all()


def test_a_language_that_nobody_speaks_is_named(
    fetched: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LANGUAGES", ("fr", "xx"))
    with pytest.raises(UserError, match="fr, xx"):
        module.polyglot(settings)


def test_stand_ins_have_ten_modalities_and_no_content_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    smoke = load("smoke", ROOT)
    module.polyglot(smoke)
    about, tensors = load_metadata(paths.polyglot(smoke)), load_tensors(paths.polyglot(smoke))
    captions = about["captions"]["train"] + about["captions"]["test"]
    assert len(set(captions)) == len(captions) == 32
    assert about["real"] is False
    assert len(tensors) == 2 * (1 + len(about["languages"]))
    assert len({tuple(row.tolist()) for row in tensors["fr-train"][:, :20000:97]}) == len(about["captions"]["train"])


def test_a_tower_that_hears_a_slice_hears_the_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's clips have up to 900 s of sound: the middle slice of a word filled up to that would be silence."""
    monkeypatch.chdir(tmp_path)
    smoke = load("smoke", ROOT)
    long = smoke.model_copy(update={"media": smoke.media.model_copy(update={"seconds": 900.0})})
    module.polyglot(long)
    waves = load_tensors(paths.polyglot(long))["fr-test"]
    assert waves.shape[1] <= module.SLICE_SECONDS * smoke.media.sample_rate
    assert len(heard(waves.shape[1], 1)) == 1
    ((start, stop),) = heard(waves.shape[1], 1)
    assert waves[:, start:stop].any(1).all()


def test_pictures_are_laid_on_grey() -> None:
    picture = np.zeros((1, 2, 4), np.uint8)
    picture[0, 0] = (200, 10, 20, 255)
    flat = module.flattened(picture)
    assert flat[0, 0].tolist() == [200, 10, 20]
    assert flat[0, 1].tolist() == [module.GROUND] * 3


def test_waves_are_cut_or_padded() -> None:
    wave = np.arange(5, dtype=np.int16)
    assert module.padded(wave, 3).tolist() == [0, 1, 2]
    assert module.padded(wave, 7).tolist() == [0, 1, 2, 3, 4, 0, 0]
