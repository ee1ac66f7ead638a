"""Search: the scores' own order, refusals, the contact sheet."""

import pytest
import torch
from PIL import Image

from pipeline import paths
from pipeline.errors import UserError
from pipeline.retrieval import search as searching
from pipeline.retrieval.gallery import read_gallery
from pipeline.retrieval.search import Hit, contact_sheet, scored, search
from tests.unit import retrieval_project as project


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = project.settings(seeds=1)
    project.write_project(settings, {"unialign": 0.2, "vast-continued": 0.2})
    return settings


class Clips:
    """A shard whose frames are of one colour."""

    def __init__(self, path):
        self.path = path

    def frames(self, rows, slots):
        return torch.full((len(rows), 4, 1, 8, 8, 3), 10 * rows[0], dtype=torch.uint8)


@pytest.mark.parametrize("score", ["cosine", "fused", "volume", "residual"])
def test_finds_the_clips_of_a_caption(settings, monkeypatch, capsys, tmp_path, score):
    run = "vast-continued" if score == "fused" else "unialign"
    gallery = read_gallery(paths.embeddings(settings, run, 0, "scenes"), paths.manifest(settings, "scenes"))
    monkeypatch.setattr(searching, "embed_text", lambda *_: gallery.text[4:5])
    monkeypatch.setattr(searching, "Shard", Clips)
    hits = search(settings, "Caption, number 4!", "scenes", run, score, 3, 0, tmp_path / "sheet.png")
    assert {hit.clip_id for hit in hits[:2]} == {"test8", "test9"}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert hits[0].caption == "test caption 4"
    printed = capsys.readouterr().out
    assert "  1. test" in printed
    assert "sheet.png" in printed
    assert Image.open(tmp_path / "sheet.png").getpixel((10, 34)) == tuple([10 * int(hits[0].clip_id[4:])] * 3)


def test_refusals(settings, monkeypatch):
    with pytest.raises(UserError, match="the query is empty"):
        search(settings, " ", "scenes")
    with pytest.raises(UserError, match="no run 'unaligned'"):
        search(settings, "a lion", "scenes", "unaligned")
    (paths.model(settings, "unialign", 0) / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"weights.safetensors: missing; train unialign with seed 0 first"):
        search(settings, "a lion", "scenes")
    with pytest.raises(UserError, match="--score fused: unialign does not train that head, it is stale; there are"):
        search(settings, "a lion", "scenes", score="fused")
    gallery = read_gallery(paths.embeddings(settings, "unialign", 0, "scenes"), paths.manifest(settings, "scenes"))
    with pytest.raises(UserError, match="--score euclid: there are cosine, volume, residual, fused"):
        scored(gallery, gallery.text[:1], "euclid")


def test_long_captions_are_cut_to_the_sheet(tmp_path):
    hits = [Hit("clip", -0.5, "word " * 500, "clip.mp4")]
    contact_sheet(tmp_path / "a.png", "q", hits, [torch.zeros(2, 16, 16, 3, dtype=torch.uint8)])
    assert Image.open(tmp_path / "a.png").size[0] < 600
