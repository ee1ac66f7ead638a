"""Captions of a corpus: all clips, deterministic, resumed in the middle of a block."""

import json

import pytest

from pipeline import paths
from pipeline.captions import caption
from pipeline.vast import train
from tests.unit.vast import project


def test_captions_resume_and_are_those_of_an_undisturbed_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(caption, "BLOCK", 16)
    settings = project.make(tmp_path, train=32)
    few = settings.vast.optimisation.model_copy(update={"steps": 4, "validate_every": 4})
    settings = settings.model_copy(update={"vast": settings.vast.model_copy(update={"optimisation": few})})
    train.train(settings)
    corpus = next(iter(settings.corpora))
    caption.caption(settings, corpus)
    path = paths.captions(settings, corpus)
    whole = path.read_text()
    lines = [json.loads(line) for line in whole.splitlines()]
    assert len({line["clip_id"] for line in lines}) == len(lines) == 32 + 16 + 20
    assert all(len(line["samples"]) == 3 for line in lines)
    original, calls = caption.captioner.beam, [0]

    def stop(*arguments):
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    path.unlink()
    monkeypatch.setattr(caption.captioner, "beam", stop)
    with pytest.raises(KeyboardInterrupt):
        caption.caption(settings, corpus)
    state = next(paths.state(settings, "captions").rglob("*.jsonl"))
    with state.open("a") as stream:
        stream.write('{"clip_id": "cut')
    caption.caption(settings, corpus)
    assert path.read_text() == whole
