"""The stage: which rankings it stores, equal captions as hits, the matched gallery, refusals."""

import pytest
import torch

from pipeline import paths
from pipeline import ranks as stored
from pipeline.errors import UserError
from pipeline.geometry import dense_ranks
from pipeline.ranks import FULL, MATCHED, Key
from pipeline.retrieval.gallery import read_gallery
from pipeline.retrieval.rank import rank
from pipeline.retrieval.rerank import rerank
from tests.unit import retrieval_project as project


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = project.settings()
    project.write_project(settings, {"gram": 0.3})
    return settings


def test_stage_stores_every_score_and_direction(settings):
    rank(settings, "gram", [0, 1])
    found, metadata = stored.read(paths.ranks(settings, "gram", 1, "scenes"))
    assert (metadata["run"], metadata["seed"], metadata["corpus"]) == ("gram", 1, "scenes")
    scores = {"cosine", "fused", "volume", "residual"}
    directions = {"T2VA", "VA2T", "T2V", "V2T", "T2A", "A2T"}
    for split in ("val", "test"):
        kept = {(key.direction, key.score) for key in found if key.split == split and key.gallery == FULL}
        assert kept == {(direction, score) for direction in directions for score in scores}
    matched = {(key.direction, key.score) for key in found if key.gallery == MATCHED}
    assert matched == {
        (direction, score + itm) for direction in ("T2VA", "VA2T") for score in scores for itm in ("", "+itm")
    }
    t2va = found[Key("test", FULL, "T2VA", "cosine")]
    assert (len(t2va.query), t2va.items, set(t2va.relevant.tolist())) == (12, 24, {2})
    assert t2va.chance() == pytest.approx(2 / 24)
    assert ((t2va.precision > 1 / t2va.rank / 2) & (t2va.precision <= 1)).all()
    va2t = found[Key("test", FULL, "VA2T", "cosine")]
    assert va2t.precision.tolist() == pytest.approx((1 / va2t.rank).tolist())
    assert (len(va2t.query), va2t.items, set(va2t.relevant.tolist())) == (24, 12, {1})
    assert va2t.query[5] == "test5"
    assert va2t.group[5] == "test2"
    perfect = found[Key("test", MATCHED, "T2VA", "volume+itm")]
    assert perfect.rank.tolist() == [1] * 5


def test_a_missing_clip_or_file_is_named(settings):
    with pytest.raises(UserError, match=r"infonce.*missing; embed the run first"):
        rank(settings, "infonce", [0])
    paths.matching(settings, "scenes").unlink()
    with pytest.raises(UserError, match="run the stage match first"):
        rank(settings, "gram", [0])
    with pytest.raises(UserError, match="no run 'grams'"):
        rank(settings, "grams", [0])
    rows = project.clip_rows(26, "test") + project.clip_rows(12, "val")
    project.write_manifest(paths.manifest(settings, "scenes"), rows)
    with pytest.raises(UserError, match="24 of 26 test clips; embed the run again"):
        rank(settings, "gram", [0])


def test_rerank_replaces_inside_and_keeps_order_outside():
    first = torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.5]])
    probability = torch.tensor([[0.1, 0.9, 1.0, 1.0, 1.0]])
    assert rerank(first, probability, 2)[0].argsort(descending=True).tolist() == [1, 0, 2, 3, 4]
    assert rerank(first, probability, 50)[0].argmax() in (2, 3, 4)
    assert rerank(first, torch.zeros(1, 5), 2)[0].argsort(descending=True)[2:].tolist() == [2, 3, 4]
    with pytest.raises(ValueError, match="differ in shape"):
        rerank(first, probability[:, :4], 2)


def test_rerank_cannot_find_what_the_first_stage_lost():
    first = torch.eye(6).flip(1) + 0.01 * torch.randn(6, 6)
    found = dense_ranks(rerank(first, torch.eye(6), 1), torch.eye(6, dtype=torch.bool))
    assert (found.rank > 1).all()


def test_part_keeps_hits_and_captions(settings):
    gallery = read_gallery(paths.embeddings(settings, "gram", 0, "scenes"), paths.manifest(settings, "scenes"))
    part = gallery.part([3, 2, 7], [1, 3])
    assert part.ids == ["test3", "test2", "test7"]
    assert part.captions == ["test caption 1", "test caption 3"]
    assert part.hits == [[1, 0], [2]]
