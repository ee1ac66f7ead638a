"""Plans, rendering, decoding, merging and leakage of all rendered corpora on a fake tree of stamps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from pipeline import manifest, paths
from pipeline.corpora import leakage, render, stamps_source
from pipeline.corpora.merge import merge
from pipeline.corpora.plan import plan
from pipeline.errors import UserError
from pipeline.media.decode import decode
from pipeline.settings import Settings
from pipeline.shards import Shard


@pytest.fixture(scope="module")
def project(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fetched fake stamps."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(tree, folder / stamps_source.ROOT / "stamps")
    stamps_source.build(tree, folder / stamps_source.ROOT, "fr")
    return folder


@pytest.fixture(autouse=True)
def _inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(project)
    stamps_source.library.cache_clear()
    yield
    stamps_source.library.cache_clear()


def planned(settings: Settings, corpus: str) -> pandas.DataFrame:
    plan(settings, corpus)
    return pandas.read_parquet(paths.plan(settings, corpus))


@pytest.mark.parametrize("corpus", ["stamps", "stories", "sounds", "scenes"])
def test_plans_are_deterministic_and_of_the_asked_size(settings: Settings, corpus: str) -> None:
    table = planned(settings, corpus)
    pandas.testing.assert_frame_equal(table, planned(settings, corpus))
    entry = settings.corpora[corpus]
    assert {split: int((table["split"] == split).sum()) for split in paths.SPLITS} == {
        split: getattr(entry, split) for split in paths.SPLITS
    }
    assert table["clip_id"].is_unique
    assert list(table["shard"].unique()) == paths.shards(settings, corpus)
    other = settings.model_copy(update={"seed": 2})
    assert planned(other, corpus)["recipe"].tolist() != table["recipe"].tolist()


def test_concepts_of_stamps_are_split_once_for_all(settings: Settings) -> None:
    stamps, stories = planned(settings, "stamps"), planned(settings, "stories")
    captions = {split: {c[0] for c in part["captions"]} for split, part in stamps.groupby("split")}
    assert len(captions["test"]) == 4
    assert len(captions["val"]) == 2
    assert not captions["train"] & (captions["test"] | captions["val"])
    told = {concept for concepts in stories["concepts"] for concept in concepts}
    assert told <= captions["train"] | told - captions["test"] - captions["val"]
    assert not told & (captions["test"] | captions["val"])


def test_sounds_say_seen_concepts_in_recordings_of_their_own(settings: Settings) -> None:
    stamps, table = planned(settings, "stamps"), planned(settings, "sounds")
    library = stamps_source.library()
    held = {c for captions in stamps["captions"][stamps["split"] != "train"] for c in captions}
    voices = []
    for clip in table.to_dict("records"):
        recipe = json.loads(clip["recipe"])
        stamp = library.stamps[recipe["shown"][0]]
        assert len(clip["captions"]) == 0
        assert list(clip["concepts"]) == [stamp.caption, "animals"]
        assert clip["group"] == stamp.caption
        assert stamp.caption not in held
        assert clip["language"] == "es"
        assert recipe["voice"] == f"{stamp.name}_desc_es.ogg"
        voices.append((stamps_source.ROOT / "stamps" / recipe["voice"]).read_bytes())
    assert len(set(voices)) == len(table)


def test_a_probe_knows_the_concepts_of_the_scale(settings: Settings) -> None:
    beside = settings.corpora.copy()
    only = settings.model_copy(update={"corpora": beside, "probes": {}}).only("sounds")
    assert list(only.corpora) == ["sounds"]
    assert planned(only, "sounds").equals(planned(settings, "sounds"))


def test_families_of_stories(settings: Settings) -> None:
    table = planned(settings, "stories")
    test = table[table["split"] == "test"]
    kinds = set()
    for _, family in test.groupby("group"):
        shown = {tuple(concepts[:2]) for concepts in family["concepts"]}
        heard = {concepts[2] for concepts in family["concepts"]}
        assert {len(shown), len(heard)} == {1, 5}
        kinds.add(len(heard))
    assert kinds == {1, 5}
    for concepts, captions in zip(table["concepts"], table["captions"], strict=True):
        assert len(set(concepts)) == 3
        assert all(name in captions[0] for name in concepts)
        assert len(captions[0].split()) <= 14


@pytest.mark.parametrize("sharing", ["redundant", "unique", "synergistic"])
def test_sharing_of_scenes(settings: Settings, sharing: str) -> None:
    from pipeline.corpora.scenes import FACTORS, SIZES

    entry = settings.corpora["scenes"]
    entry = entry.model_copy(update={"options": {**entry.options, "sharing": sharing}})
    table = planned(settings.model_copy(update={"corpora": {"scenes": entry}}), "scenes")
    assert table["captions"].map(lambda captions: captions[0]).is_unique
    for concepts, recipe in zip(table["concepts"], map(json.loads, table["recipe"]), strict=True):
        content = [words.index(word) for words, word in zip(FACTORS.values(), concepts, strict=True)]
        if sharing == "unique":
            assert recipe["picture"] + recipe["sound"] == content
        elif sharing == "redundant":
            assert recipe["picture"] == recipe["sound"] == content
        else:
            assert [(a + b) % n for a, b, n in zip(recipe["picture"], recipe["sound"], SIZES, strict=True)] == content


@pytest.mark.parametrize(
    ("corpus", "change", "message"),
    [
        ("scenes", {"options": {"sharing": "all"}}, "'all' is none of redundant"),
        ("scenes", {"train": 99999}, "99999 clips asked"),
        ("stamps", {"test": 999, "val": 0}, r"stamps\.(test|train): \d+ clips asked"),
        ("scenes", {"kind": "annotated"}, "'annotated' is not rendered"),
        ("sounds", {"train": 99}, r"sounds: 115 clips asked, \d+ recordings are left"),
        ("scenes", {"shards": {"train": 1, "val": 1}}, r"scenes\.shards\.test: missing"),
    ],
)
def test_impossible_plans(settings: Settings, corpus: str, change: dict[str, Any], message: str) -> None:
    corpora = settings.corpora | {corpus: settings.corpora[corpus].model_copy(update=change)}
    with pytest.raises(UserError, match=message):
        plan(settings.model_copy(update={"corpora": corpora}), corpus)


def small(settings: Settings, **media: Any) -> Settings:
    """Six clips a corpus and split."""
    size = {"train": 6, "val": 6, "test": 6, "shards": {"train": 1, "val": 1, "test": 1}}
    corpora = {name: entry.model_copy(update=size) for name, entry in settings.corpora.items()}
    changed = settings.media.model_copy(update={"workers": 1, **media})
    return settings.model_copy(update={"corpora": corpora, "media": changed})


@pytest.fixture(scope="module")
def made(project: Path, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings]:
    """A project in which all corpora went the whole way."""
    few = small(settings)
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(project / "downloads", folder / "downloads")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        stamps_source.library.cache_clear()
        for corpus in few.corpora:
            plan(few, corpus)
            for shard in paths.shards(few, corpus):
                render.render(few, corpus, shard)
                decode(few, corpus, shard)
            merge(few, corpus)
    return folder, few


def test_the_whole_way(made: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, few = made
    monkeypatch.chdir(folder)
    for corpus in few.corpora:
        table = manifest.read(paths.manifest(few, corpus))
        assert (table["status"] == "ok").all(), table[["clip_id", "reason"]].to_dict("records")
        assert table["clip_id"].tolist() == pandas.read_parquet(paths.plan(few, corpus))["clip_id"].tolist()
        assert (table["duration"] == 2.5).all()
        assert len({Path(file).stat().st_size for file in table["media"]}) == 1  # file sizes tell nothing
        for name, part in table.groupby("shard"):
            shard = Shard(paths.shard(few, corpus, str(name)))
            assert shard.ids == part["clip_id"].tolist()
            slots = few.media.train_slots if str(name).startswith("train") else 1
            assert shard.frames().shape == (6, 4, slots, few.media.size, few.media.size, 3)
            assert shard.audio().shape == (6, 40000)
            assert float(shard.audio().float().std(1).min()) > 1000  # loudness is the same everywhere
    monkeypatch.setattr(leakage.shuffled, "checks", lambda settings: [])  # of trained models: test_shuffled.py
    leakage.check(few)
    records = json.loads(paths.table(few, "leakage", "json").read_text())["checks"]
    assert all(record["ok"] for record in records)
    assert {record["corpus"] for record in records} >= set(few.corpora)
    found = {"corpus": "scenes", "check": "R@1 T2VA in % by fused of vast-shuffled", "value": 30.0, "limit": 2.0}
    monkeypatch.setattr(leakage.shuffled, "checks", lambda settings: [found])
    with pytest.raises(UserError, match=r"corpus scenes: leak: R@1 T2VA .* of vast-shuffled: 30\.0, at most 2"):
        leakage.check(few)


def test_a_rendered_clip_shows_and_says_its_recipe(
    made: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, few = made
    monkeypatch.chdir(folder)
    stamps_source.library.cache_clear()
    recipe = {"kind": "stamps", "shown": [3], "heard": 3, "noise": 0.0, "clutter": 0.0, "seed": 5}
    frames, wave = render.COMPOSE["stamps"](recipe, few.media)
    again = render.COMPOSE["stamps"](recipe, few.media)
    assert (frames == again[0]).all()
    assert (wave == again[1]).all()
    tone = np.abs(np.fft.rfft(wave.astype(float), 64000)).argmax() / 4
    assert 0.9 < tone / (300 + 40 * 3) < 1.1
    assert not all((a == b).all() for a, b in pairwise(frames))  # it moves
    noisy = render.COMPOSE["stamps"](recipe | {"noise": 0.9, "clutter": 1.0}, few.media)
    assert abs(float(noisy[1].astype(float).std()) / float(wave.astype(float).std()) - 1) < 0.1


def test_rendering_resumes_and_follows_its_recipe(
    made: tuple[Path, Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, few = made
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder / "data", tmp_path / "data")
    media = paths.media(few, "scenes")
    first, second, third = (media / f"scenes-val-0000{n}.mp4" for n in range(3))
    before = {file: file.read_bytes() for file in (first, second, third)}
    kept = first.stat().st_mtime_ns
    second.unlink()
    third.write_bytes(third.read_bytes()[:500])  # cannot happen by a kill, since files are renamed when whole
    (media / ".val-0-killed").mkdir()
    render.render(few, "scenes", "val-0")
    assert first.stat().st_mtime_ns == kept
    assert {file: file.read_bytes() for file in before} == before
    assert not list(media.glob(".*"))
    table = pandas.read_parquet(paths.plan(few, "scenes"))
    table["recipe"] = table["recipe"].str.replace('"clutter": 1.0', '"clutter": 0.0')
    table.to_parquet(paths.plan(few, "scenes"))
    render.render(few, "scenes", "val-0")
    assert first.read_bytes() != before[first]


def test_bad_clips_are_rows(made: tuple[Path, Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, few = made
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder / "data", tmp_path / "data")
    table = pandas.read_parquet(paths.plan(few, "scenes"))
    table.loc[table["clip_id"] == "scenes-test-00000", "recipe"] = '{"kind": "nothing"}'
    table.to_parquet(paths.plan(few, "scenes"))
    render.render(few, "scenes", "test-0")
    media = paths.media(few, "scenes")
    (media / "scenes-test-00001.mp4").unlink()
    damaged = bytearray((media / "scenes-test-00002.mp4").read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    (media / "scenes-test-00002.mp4").write_bytes(damaged)
    decode(few, "scenes", "test-0")
    with pytest.raises(UserError, match=r"corpus scenes, split test: 3 of 6 clips are usable, .*render_error × 1"):
        merge(few, "scenes")
    lenient = few.model_copy(update={"media": few.media.model_copy(update={"coverage": 0.5})})
    merge(lenient, "scenes")
    rows = manifest.read(paths.manifest(few, "scenes")).set_index("clip_id")
    assert rows["status"].value_counts().to_dict() == {"ok": 15, "render_error": 1, "gone": 1, "decode_error": 1}
    assert "sha256 differs" in rows.loc["scenes-test-00002", "reason"]
    assert rows.loc["scenes-test-00000", "reason"] == "KeyError: 'nothing'"
    assert rows["row"][rows["shard"] == "test-0"].tolist() == [-1, -1, -1, 0, 1, 2]


def test_archive_storage_holds_the_same_clips(made: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, few = made
    monkeypatch.chdir(folder)
    raw, tar = (
        few.model_copy(update={"media": few.media.model_copy(update={"storage": s})}) for s in ("raw", "archive")
    )
    for each in (raw, tar):
        decode(each, "stories", "val-0")
    raw, tar = (Shard(paths.shard(s, "stories", "val-0")) for s in (raw, tar))
    assert tar.ids == raw.ids
    assert (tar.audio() == raw.audio()).all()
    assert float((tar.frames().float() - raw.frames().float()).abs().mean()) < 8
    assert tar.digest != raw.digest


def test_leaks_are_found(made: tuple[Path, Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, few = made
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder / "data", tmp_path / "data")
    (tmp_path / "downloads").symlink_to(folder / "downloads")
    path = paths.plan(few, "stories")
    table = pandas.read_parquet(path)
    table.at[0, "concepts"] = list(table["concepts"].iloc[-1])[::-1]
    table.to_parquet(path)
    monkeypatch.setattr(leakage.shuffled, "checks", lambda settings: [])
    with pytest.raises(UserError, match="corpus stories: leak: combinations in two splits: 1"):
        leakage.check(few)


def test_a_recording_heard_twice_is_a_leak(made: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, few = made
    monkeypatch.chdir(folder)
    table = pandas.read_parquet(paths.plan(few, "sounds"))
    plans = {"sounds": table}
    assert [record["value"] for record in leakage._recordings(few, plans)] == [0, 0]
    table.at[0, "recipe"] = table["recipe"].iloc[-1]
    table.at[1, "recipe"] = table["recipe"].iloc[1].replace("_desc_es", "_desc_fr")
    assert [record["value"] for record in leakage._recordings(few, plans)] == [1, 1]


def test_the_probe_finds_what_nuisance_tells() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 5, 400)
    bags = np.eye(5)[kinds]
    captions = [f"word{kind}" for kind in kinds]
    told = kinds[:, None] == np.arange(3)
    for inputs, leaks in ((rng.standard_normal((400, 3)), False), (told + 0.1 * rng.standard_normal((400, 3)), True)):
        found = leakage.probe(inputs[:200], bags[:200], inputs[200:], bags[200:], captions[200:], 0)
        assert all((value > limit) == leaks for value, _, limit in found.values())


def test_crossing_counts_keys_of_several_splits() -> None:
    assert (
        leakage.crossing([("train", "a"), ("test", "a"), ("val", "b"), ("val", "b"), ("train", ""), ("test", "")]) == 1
    )
