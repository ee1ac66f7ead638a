"""The stage: which rankings it stores, equal captions as hits, what is re-ranked by whose matching, refusals."""

import shutil

import pytest
import torch

from pipeline import paths
from pipeline import ranks as stored
from pipeline.errors import UserError
from pipeline.files import load_metadata, load_tensors, save_tensors, sha256
from pipeline.geometry import dense_ranks
from pipeline.ranks import FULL, MATCHED, WITH_AUDIO, Key
from pipeline.retrieval.gallery import read_gallery
from pipeline.retrieval.match import wanted
from pipeline.retrieval.rank import rank
from pipeline.retrieval.rerank import rerank
from pipeline.retrieval.runs import run_gallery
from tests.unit import retrieval_project as project


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = project.settings()
    project.write_project(settings, {"gram": 0.3, HEADS: 0.3})
    return settings


#: A run of no table at smoke scale: it trains heads alone, so that `vast` matches for it.
HEADS = "pmrl"
SCORES = {"cosine", "fused", "volume", "residual"}


def ranked(settings, run, seed=0):
    rank(settings, run, [seed])
    return stored.read(paths.ranks(settings, run, seed, "scenes"))[0]


def test_stage_stores_every_score_and_direction(settings):
    rank(settings, "gram", [0, 1])
    found, metadata = stored.read(paths.ranks(settings, "gram", 1, "scenes"))
    assert (metadata["run"], metadata["seed"], metadata["corpus"]) == ("gram", 1, "scenes")
    assert len(metadata["model"]) == len(metadata["embeddings"]) == len(metadata["manifest"]) == 64
    directions = {"T2VA", "VA2T", "T2V", "V2T", "T2A", "A2T"}
    first = {(direction, score) for direction in directions for score in SCORES}
    for split in ("val", "test"):
        kept = {(key.direction, key.score) for key in found if key.split == split and key.gallery == FULL}
        again = {(direction, f"{score}+itm") for direction in ("T2VA", "VA2T") for score in SCORES}
        assert kept == first | (again if split == "test" else set())
    assert {key.gallery for key in found} == {FULL}
    t2va = found[Key("test", FULL, "T2VA", "cosine")]
    assert (len(t2va.query), t2va.items, set(t2va.relevant.tolist())) == (12, 24, {2})
    assert t2va.chance() == pytest.approx(2 / 24)
    assert ((t2va.precision > 1 / t2va.rank / 2) & (t2va.precision <= 1)).all()
    va2t = found[Key("test", FULL, "VA2T", "cosine")]
    assert va2t.precision.tolist() == pytest.approx((1 / va2t.rank).tolist())
    assert (len(va2t.query), va2t.items, set(va2t.relevant.tolist())) == (24, 12, {1})
    assert va2t.query[5] == "test5"
    assert va2t.group[5] == "test2"


def test_heads_are_reranked_by_vast_on_its_fixed_gallery(settings):
    found = ranked(settings, HEADS)
    assert {(key.direction, key.score) for key in found if key.gallery == MATCHED} == {
        (direction, score + itm) for direction in ("T2VA", "VA2T") for score in SCORES for itm in ("", "+itm")
    }
    assert not [key for key in found if key.gallery == FULL and key.score.endswith("+itm")]
    perfect = found[Key("test", MATCHED, "T2VA", "volume+itm")]
    assert perfect.rank.tolist() == [1] * 5


def test_own_matching_reranks_the_first_of_the_whole_gallery(settings):
    project.write_run(settings, "gram", 0, "scenes", 1.0)
    project.write_own_matching(settings, "gram", 0, "scenes")
    found, k = ranked(settings, "gram"), settings.retrieval.rerank
    for direction in ("T2VA", "VA2T"):
        for score in SCORES:
            first, second = (found[Key("test", FULL, direction, score + step)] for step in ("", "+itm"))
            assert (first.rank > k).any()
            assert (first.rank > 1).sum() > (second.rank > 1).sum()
            # A perfect matching puts the best hit first where it was among the first k, and changes nothing elsewhere.
            assert [1 if one <= k else one for one in first.rank.tolist()] == second.rank.tolist()


def test_own_matching_of_few_pairs_is_that_of_all_where_it_counts(settings):
    path = paths.own_matching(settings, "gram", 0, "scenes")
    torch.manual_seed(0)
    tensors = load_tensors(path)
    save_tensors(path, tensors | {"probability": torch.rand(len(tensors["clip"]))}, load_metadata(path))
    tensors, whole = load_tensors(path), ranked(settings, "gram")
    gallery = run_gallery(settings, "gram", 0, "scenes")
    pairs = wanted(gallery, settings.retrieval.rerank, 5)
    assert len(pairs) < len(tensors["clip"])
    kept = torch.zeros(12, 24, dtype=torch.bool)
    kept[pairs[:, 1], pairs[:, 0]] = True
    some = {name: tensor[kept[tensors["text"].long(), tensors["clip"].long()]] for name, tensor in tensors.items()}
    save_tensors(path, some, load_metadata(path))
    for key, one in ranked(settings, "gram").items():
        assert one.rank.tolist() == whole[key].rank.tolist(), key
    for keep, what in (
        (some["text"] > 0, "text 'test0#0': 0 of 5"),
        ((some["clip"] != 7) | (some["text"] == 3), "clip 'test7': 1 of 5"),
    ):
        save_tensors(path, {name: tensor[keep] for name, tensor in some.items()}, load_metadata(path))
        refused(settings, "gram", rf"matching/smoke/gram/0/scenes\.safetensors: {what} pairs; match again")


def test_items_with_audio_are_a_gallery_of_their_own(settings):
    silent = {2, 3, 9}
    project.write_project(settings, {"gram": 1.0, HEADS: 1.0}, silent=silent)
    found = ranked(settings, "gram")
    assert {(key.split, key.gallery) for key in found} == {("val", FULL), ("test", FULL), ("test", WITH_AUDIO)}
    gallery = run_gallery(settings, "gram", 0, "scenes")
    heard = [clip for clip in range(24) if clip not in silent]
    mean = torch.nn.functional.normalize(gallery.items["vision"][heard] + gallery.items["audio"][heard], dim=1)
    cosine = gallery.text.double() @ mean.double().T
    t2va = found[Key("test", WITH_AUDIO, "T2VA", "cosine")]
    assert (t2va.items, len(t2va.query)) == (21, 11)  # both clips of caption 1 are silent
    for query, rank_of_query in zip(t2va.query.tolist(), t2va.rank.tolist(), strict=True):
        text = gallery.text_ids.index(query)
        hits = torch.tensor([clip in gallery.hits[text] for clip in heard])
        assert rank_of_query == 1 + (cosine[text][~hits] > cosine[text][hits].max()).sum()
    va2t = found[Key("test", WITH_AUDIO, "VA2T", "volume+itm")]
    assert (va2t.items, len(va2t.query)) == (11, 21)
    assert {key.gallery for key in ranked(settings, HEADS)} == {FULL, WITH_AUDIO, MATCHED}
    path = paths.own_matching(settings, "gram", 0, "scenes")
    tensors, about = load_tensors(path), load_metadata(path)
    # Of text 4 matched with silent clips enough for the whole gallery, too few for the items with audio.
    few = torch.isin(tensors["clip"], torch.tensor([0, 1, 2, 3, 9])) | (tensors["text"] != 4)
    save_tensors(path, {name: tensor[few] for name, tensor in tensors.items()}, about)
    refused(settings, "gram", r"gram/0/scenes\.safetensors: text 'test8#0': 2 of 5 pairs; match again")
    project.write_project(settings, {"gram": 1.0}, silent=range(24))
    assert {key.gallery for key in ranked(settings, "gram")} == {FULL}


def refused(settings, run, message):
    with pytest.raises(UserError, match=message) as caught:
        rank(settings, run, [0])
    assert "\n" not in str(caught.value)


def test_matching_of_another_gallery_is_refused(settings):
    path = paths.matching(settings, "scenes")
    tensors, about = load_tensors(path), load_metadata(path)
    for change, message in (
        ({"manifest": "0" * 64}, r"vast/scenes\.safetensors: manifest is 000000000000, expected .*; match again"),
        ({"model": "0" * 64}, r"vast/scenes\.safetensors: model is 000000000000, expected .*; match again"),
        (
            {"ids": ["test1", *about["ids"][1:]]},
            r"scenes\.safetensors: ids: row 0 is clip 'test1', embedded is 'test0'",
        ),
    ):
        save_tensors(path, tensors, about | change)
        refused(settings, HEADS, message)
    save_tensors(path, tensors, {"ids": about["ids"]})
    refused(settings, HEADS, "does not say its model; match again")
    (
        paths.model(settings, "vast", 0) / "weights.safetensors"
    ).unlink()  # as after a pull of embeddings and matching alone
    refused(settings, HEADS, "does not say its manifest; match again")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("run", "unialign", "run is unialign, expected gram; match again"),
        ("seed", 1, "seed is 1, expected 0"),
        ("corpus", "stamps", "corpus is stamps, expected scenes"),
        ("manifest", "0" * 64, "manifest is 000000000000, expected"),
        ("embeddings", "0" * 64, "embeddings is 000000000000, expected"),
        ("model", "0" * 64, "model is 000000000000, expected"),
        ("ids", ["test1"], "ids is a list of 1, expected a list of 24"),
        ("k", 4, r"k is 4, retrieval\.rerank 5; match again"),
    ],
)
def test_own_matching_of_something_else_is_refused(settings, key, value, message):
    path = paths.own_matching(settings, "gram", 0, "scenes")
    save_tensors(path, load_tensors(path), load_metadata(path) | {key: value})
    refused(settings, "gram", rf"matching/smoke/gram/0/scenes\.safetensors: {message}")


def test_embeddings_of_another_run_or_seed_are_refused(settings):
    file = paths.embeddings(settings, "gram", 0, "scenes")
    kept = file.read_bytes()
    shutil.copy(paths.embeddings(settings, HEADS, 0, "scenes"), file)
    refused(settings, "gram", r"gram/0/scenes\.safetensors: run is pmrl, expected gram; embed gram again")
    shutil.copy(paths.embeddings(settings, "gram", 1, "scenes"), file)
    refused(settings, "gram", r"gram/0/scenes\.safetensors: seed is 1, expected 0; embed gram again")
    file.write_bytes(kept)
    weights = paths.model(settings, "gram", 0) / "weights.safetensors"
    save_tensors(weights, {"weights": torch.ones(1)})
    refused(
        settings, "gram", r"gram/0/scenes\.safetensors: model is .*weights\.safetensors are others; embed gram again"
    )
    save_tensors(file, load_tensors(file), {"ids": load_metadata(file)["ids"]})
    refused(settings, "gram", "does not say its run; embed gram again")


def test_a_missing_clip_or_file_is_named(settings):
    refused(settings, "infonce", r"infonce.*missing; embed the run first")
    paths.matching(settings, "scenes").unlink()
    refused(settings, HEADS, "run the stage match first")
    paths.own_matching(settings, "gram", 0, "scenes").unlink()
    refused(settings, "gram", r"gram/0/scenes\.safetensors: missing; run: python -m pipeline match-top --run gram")
    refused(settings, "grams", "no run 'grams'")
    rows = project.clip_rows(26, "test") + project.clip_rows(12, "val")
    project.write_manifest(paths.manifest(settings, "scenes"), rows)
    refused(settings, "gram", "made from another manifest than")
    file = paths.embeddings(settings, "gram", 0, "scenes")
    about = load_metadata(file) | {"manifest": sha256(paths.manifest(settings, "scenes"))}
    save_tensors(file, load_tensors(file), about)
    refused(settings, "gram", "24 of 26 test clips; embed the run again")


def test_rerank_replaces_inside_and_keeps_order_outside():
    first = torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.5]])
    probability = torch.tensor([[0.1, 0.9, 1.0, 1.0, 1.0]])
    assert rerank(first, probability, 2)[0].argsort(descending=True).tolist() == [1, 0, 2, 3, 4]
    assert rerank(first, probability, 50)[0].argmax() in (2, 3, 4)
    assert rerank(first, torch.zeros(1, 5), 2)[0].argsort(descending=True)[2:].tolist() == [2, 3, 4]
    with pytest.raises(ValueError, match="differ in shape"):
        rerank(first, probability[:, :4], 2)
    some = torch.tensor([[0.1, 0.9, torch.nan, 0.2, torch.nan]])
    assert rerank(first, some, 3)[0].argsort(descending=True).tolist() == [1, 3, 0, 2, 4]
    with pytest.raises(ValueError, match="query 0: fewer than 4 items are matched"):
        rerank(first, some, 4)


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
