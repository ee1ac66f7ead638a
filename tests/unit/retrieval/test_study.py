"""The study's files: nested losses, ranks where clips lack a modality against naive ones, hubs, lessened clips."""

import pytest
import torch

from pipeline import paths
from pipeline import ranks as stored
from pipeline.errors import UserError
from pipeline.ranks import FULL, Key, missing
from pipeline.retrieval.gallery import read_gallery
from pipeline.retrieval.rank import rank
from pipeline.retrieval.study import geometry, losses, study, with_losses
from pipeline.settings import Study
from tests.unit import retrieval_project as project

HOW = Study(missing=[0, 0.25, 0.5, 0.9], followed=0.5, seeds=1, neighbours=10)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = project.settings()
    project.write_project(settings, {"gram": 1.0})
    return settings


@pytest.fixture
def gallery(settings):
    return read_gallery(paths.embeddings(settings, "gram", 0, "scenes"), paths.manifest(settings, "scenes"))


def test_losses_are_nested_and_leave_something():
    items = torch.ones(3, 50, 4)
    items[1, 7] = items[0, 7] = 0  # has one modality: keeps it
    items[2, 8] = 0
    order, lost = losses(items, 3)
    assert sorted(order.tolist()) == [clip for clip in range(50) if clip != 7]
    assert set(lost.tolist()) == {0, 1, 2}
    assert lost[8] != 2
    assert torch.equal(order, losses(items * 5, 3)[0])
    assert not torch.equal(order, losses(items, 4)[0])
    less = items.clone()
    less[lost[order], order] = 0
    assert less.any(-1).any(0).all()
    assert ((items.any(-1).sum(0) - less.any(-1).sum(0))[order] == 1).all()


def test_ranks_are_those_of_the_lessened_gallery(gallery):
    found, fare = with_losses(gallery, HOW, 7, seed=1)
    found = dict(found)
    items = torch.stack([gallery.items["vision"], gallery.items["audio"]]).double()
    order, lost = losses(items, 1)
    clips = order[:12].tolist()
    cosine = torch.empty(12, 24)
    for clip in range(24):
        kept = [m for m in (0, 1) if clip not in clips or m != lost[clip]]
        mean = sum(items[m, clip] / items[m, clip].norm() for m in kept)
        cosine[:, clip] = (gallery.text.double() @ mean / mean.norm()).float()
    for text, right in enumerate(gallery.hits):
        best = cosine[text, right].max()
        above = sum(cosine[text, clip] > best for clip in range(24) if clip not in right)
        assert found[Key("test", missing(0.5), "T2VA", "cosine")].rank[text] == 1 + above
    first = cosine.argmax(1)
    ours = fare["scores"]["cosine"]
    assert ours["won"] == pytest.approx(sum(clip in clips for clip in first.tolist()) / 12)
    whole = [text for text, right in enumerate(gallery.hits) if not set(right) & set(clips)]
    won = sum(first[text] in gallery.hits[text] for text in whole)
    assert ours["whole"] == (pytest.approx(int(won) / len(whole)) if whole else None)
    assert fare["share"] == 0.5


def test_hubs_by_hand(gallery):
    about = geometry(gallery, 1, 5)
    cosine = torch.nn.functional.normalize(gallery.items["vision"] + gallery.items["audio"], dim=1) @ gallery.text.T
    wins = cosine.argmax(0).bincount(minlength=24).double()
    hubs = about["hubness"]["T2VA"]["cosine"]
    assert hubs["winner"] == pytest.approx(float(wins.max()) / 12)
    assert hubs["orphans"] == pytest.approx(float((wins == 0).double().mean()))
    centred = wins - wins.mean()
    assert hubs["skewness"] == pytest.approx(float((centred**3).mean() / (centred**2).mean() ** 1.5))
    text = gallery.text[torch.arange(24) // 2]
    z = torch.stack([text, gallery.items["vision"], gallery.items["audio"]]).transpose(0, 1)
    assert about["collinearity"] == pytest.approx(float(torch.linalg.svdvals(z)[:, 0].square().mean() / 3), rel=1e-5)


def test_the_stage_writes_every_seed_and_names_what_is_missing(settings):
    with pytest.raises(UserError, match="missing; rank the run again"):
        study(settings, "gram", [0])
    rank(settings, "gram", [0, 1])
    study(settings, "gram", [0, 1])
    whole, _ = stored.read(paths.ranks(settings, "gram", 1, "scenes"))
    found, about = stored.read(paths.study(settings, "gram", 1, "scenes"))
    assert {key.gallery for key in found} == {missing(share) for share in settings.study.missing}
    assert {key.score for key in found} == {"cosine", "volume", "residual"}
    nothing = Key("test", missing(0), "VA2T", "volume")
    assert found[nothing].rank.tolist() == whole[nothing._replace(gallery=FULL)].rank.tolist()
    assert (about["run"], about["seed"], about["neighbours"]) == ("gram", 1, 10)
    assert 1 / 3 < about["collinearity"] < 1
    with pytest.raises(UserError, match="embed the run first"):
        study(settings, "infonce", [0])
    project.write_run(settings, "gram", 0, "scenes", 0.5)
    with pytest.raises(UserError, match="made from other embeddings than those stored now; rank the run again"):
        study(settings, "gram", [0])
