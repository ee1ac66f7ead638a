"""Captions of a corpus: all clips, deterministic, whatever the batch, resumed at the first unfinished shard."""

import json

import pytest

from pipeline import paths
from pipeline.captions import caption, writing
from pipeline.errors import UserError
from pipeline.vast import train
from tests.unit.vast import project


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with an initial model."""
    folder = tmp_path_factory.mktemp("captions")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = project.make(folder, train=32)
        few = settings.vast.optimisation.model_copy(update={"steps": 4, "validate_every": 4})
        how = settings.captions.model_copy(update={"length": 8, "batch": 16})
        update = {"vast": settings.vast.model_copy(update={"optimisation": few}), "captions": how}
        settings = settings.model_copy(update=update)
        train.train(settings)
    return folder, settings, next(iter(settings.corpora))


def test_a_killed_job_goes_on_with_the_next_shard_and_ends_with_the_same_file(made, monkeypatch):
    folder, settings, corpus = made
    monkeypatch.chdir(folder)
    caption.caption(settings, corpus)
    path = paths.captions(settings, corpus)
    whole = path.read_text()
    lines = [json.loads(line) for line in whole.splitlines()]
    assert len({line["clip_id"] for line in lines}) == len(lines) == 32 + 16 + 20
    assert all(len(line["samples"]) == 3 for line in lines)
    assert len({line["samples"][0] for line in lines}) > 1
    assert lines[0]["decoding"] == settings.captions.model_dump(exclude={"batch"})
    assert not list(paths.state(settings, "captions", corpus).iterdir())
    original, calls = writing.captioner.sample, [0]

    def stop(*arguments):
        calls[0] += 1
        if calls[0] == 4:  # the first block of the last shard
            raise KeyboardInterrupt
        return original(*arguments)

    path.unlink()
    monkeypatch.setattr(writing.captioner, "sample", stop)
    with pytest.raises(KeyboardInterrupt):
        caption.caption(settings, corpus)
    caption.caption(settings, corpus)
    assert calls[0] == 3 + 1 + 2  # two blocks of train, one of val; killed; two of test
    assert path.read_text() == whole


def test_the_batch_changes_nothing_and_sampling_samples_alone(made, monkeypatch):
    folder, settings, corpus = made
    monkeypatch.chdir(folder)

    def captions(**how):
        changed = settings.model_copy(update={"captions": settings.captions.model_copy(update=how)})
        caption.caption(changed, corpus, ["val"])
        return [json.loads(line) for line in paths.captions(settings, corpus).read_text().splitlines()]

    first = captions()
    assert captions(batch=5) == first
    fewer = captions(top_k=2)
    assert [line["caption"] for line in fewer] == [line["caption"] for line in first]
    assert [line["samples"] for line in fewer] != [line["samples"] for line in first]
    # A model this small hardly sees its conditions: many samples tell.
    many, heard = captions(samples=40), captions(samples=40, modalities=["audio"])
    assert [line["samples"] for line in heard] != [line["samples"] for line in many]


def test_samples_are_a_function_of_seed_and_clip(made):
    how = made[1].captions
    first = writing._draws(1, "a", how)
    assert first.equal(writing._draws(1, "a", how))
    assert not first.equal(writing._draws(1, "b", how))
    assert not first.equal(writing._draws(2, "a", how))


def test_a_split_without_clips_is_named(made, monkeypatch):
    folder, settings, corpus = made
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match="no usable clip in nothing"):
        caption.caption(settings, corpus, ["nothing"])
