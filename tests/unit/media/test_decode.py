"""Decoding a shard of real files with every way of being bad, and with a decoder that hangs."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas
import pytest

from pipeline import paths
from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.media.decode import decode
from pipeline.media.frames import pick_slots
from pipeline.media.video import read_frames
from pipeline.settings import Settings, load
from pipeline.shards import Shard
from tests.unit.media import clips

ROOT = Path(__file__).parents[3]


def hanging(path: str, *_: object) -> tuple[np.ndarray, float]:
    """A decoder that never returns on one file."""
    if path.endswith("c1.mp4"):
        time.sleep(600)
    return np.full((4, 1, 32, 32, 3), 7, np.uint8), 2.5


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A plan of six clips whose files are good, good, silent, cut short, cut in half, of a failed rendering."""
    monkeypatch.chdir(tmp_path)
    settings = load("smoke", ROOT, "mini-way")
    folder = paths.media(settings, "scenes")
    folder.mkdir(parents=True)
    for number in (0, 1):
        clips.clip(folder / f"c{number}.mp4")
    clips.clip(folder / "c2.mp4", audio=False)
    clips.clip(folder / "c3.mp4", seconds=1.0)
    (folder / "c4.mp4").write_bytes((folder / "c0.mp4").read_bytes()[:3000])
    names = [f"c{number}" for number in range(6)]
    digests = [sha256(folder / f"{name}.mp4") if name != "c5" else "" for name in names]
    common = {"clip_id": names, "status": ["ok"] * 5 + ["render_error"], "reason": [""] * 5 + ["KeyError: x"]}
    plan = paths.plan(settings, "scenes")
    pandas.DataFrame({"index": range(6), "clip_id": names, "shard": "test-0", "duration": 2.5}).to_parquet(plan)
    rendered = paths.rendered(settings, "scenes", "test-0")
    rendered.parent.mkdir()
    pandas.DataFrame(common | {"sha256": digests}).to_parquet(rendered)
    return settings


def outcome(settings: Settings) -> pandas.DataFrame:
    return pandas.read_parquet(paths.decoded(settings, "scenes", "test-0")).set_index("clip_id")


def test_each_clip_has_its_row(project: Settings) -> None:
    decode(project, "scenes", "test-0")
    table = outcome(project)
    assert table["status"].tolist() == ["ok", "ok", "no_audio", "decode_error", "decode_error", "render_error"]
    assert table["row"].tolist() == [0, 1, 2, -1, -1, -1]
    assert table.loc["c3", "reason"] == "ValueError: 4 frames instead of 10"
    assert table.loc["c2", "reason"] == "no audio stream"
    assert table.loc["c5", "reason"] == "KeyError: x"
    shard = Shard(paths.shard(project, "scenes", "test-0"))
    assert shard.ids == ["c0", "c1", "c2"]
    assert int(shard.audio([2]).abs().max()) == 0
    assert int(shard.audio([0]).abs().max()) > 10000
    frames, seconds = read_frames(str(paths.media(project, "scenes") / "c0.mp4"), "", 4, 1, 32, project.seed, 0, 10)
    assert (shard.frames([0]).numpy()[0] == frames).all()
    assert seconds == 2.5


def test_a_hanging_decoder_costs_one_clip(project: Settings) -> None:
    impatient = project.model_copy(update={"media": project.media.model_copy(update={"time_limit": 3.0})})
    decode(impatient, "scenes", "test-0", reader=hanging)
    table = outcome(project)
    assert table.loc["c1", ["status", "reason"]].tolist() == ["decode_error", "took longer than 9 s"]
    assert table.loc["c0", "status"] == "ok"


def test_frames_are_those_that_were_picked(project: Settings) -> None:
    import decord

    path = str(paths.media(project, "scenes") / "c0.mp4")
    frames, _ = read_frames(path, "", 4, 2, 32, 3, 9, 10)
    everything = decord.VideoReader(path).get_batch(list(range(10))).asnumpy()
    wanted = pick_slots(10, 4, 2, 3, 9)
    assert np.abs(everything[wanted].astype(int) - frames).max() <= 2
    with pytest.raises(ValueError, match="sha256 differs"):
        read_frames(path, "0" * 64, 4, 1, 32, 1, 0, 10)


def changed(settings: Settings, **media: object) -> Settings:
    """Settings with other settings of media."""
    return settings.model_copy(update={"media": settings.media.model_copy(update=media)})


def test_channels_are_a_setting_and_part_of_the_digest(project: Settings) -> None:
    clips.clip(paths.media(project, "scenes") / "c0.mp4", channels="0.6*sin(2764*t)|0")
    rendered = paths.rendered(project, "scenes", "test-0")
    pandas.read_parquet(rendered).assign(sha256="").to_parquet(rendered)
    found, digests = {}, set()
    for policy in ("first", "mean"):
        settings = changed(project, channels=policy)
        decode(settings, "scenes", "test-0")
        shard = Shard(paths.shard(settings, "scenes", "test-0"))
        found[policy] = shard.audio([0]).float()[0, 4000:36000].abs().mean()
        digests.add(shard.digest)
        assert shard.digest == paths.decode_digest(settings, "scenes")
    assert 1.9 < found["first"] / found["mean"] < 2.1
    assert len(digests) == 2


def test_geometry_is_a_setting_of_the_corpus(tmp_path: Path, project: Settings) -> None:
    path = str(clips.clip(tmp_path / "wide.mp4", size="128x64"))
    squashed, cropped = (
        read_frames(path, "", 4, 1, 32, 1, 0, 10, geometry)[0].astype(int) for geometry in ("squash", "crop")
    )
    assert squashed.shape == cropped.shape == (4, 1, 32, 32, 3)
    import decord

    whole = decord.VideoReader(path, width=64, height=32).get_batch([1, 4, 6, 8]).asnumpy().astype(int)
    assert (cropped[:, 0] == whole[:, :, 16:48]).all()
    assert np.abs(squashed - cropped).mean() > 5
    tall = str(clips.clip(tmp_path / "tall.mp4", size="64x150"))
    assert read_frames(tall, "", 4, 1, 32, 1, 0, 10, "crop")[0].shape == (4, 1, 32, 32, 3)
    entry = project.corpora["scenes"]
    other = project.model_copy(update={"corpora": {"scenes": entry.model_copy(update={"geometry": "crop"})}})
    assert (project.geometry("scenes"), other.geometry("scenes")) == ("squash", "crop")
    assert paths.decode_digest(project, "scenes") != paths.decode_digest(other, "scenes")


def test_an_archive_keeps_whole_sounds(project: Settings) -> None:
    settings = changed(project, storage="archive", seconds=60.0)
    decode(settings, "scenes", "test-0")
    shard = Shard(paths.shard(settings, "scenes", "test-0"))
    assert shard.ids == ["c0", "c1", "c2"]
    assert [round(shard.samples(row) / 16000, 1) for row in range(3)] == [2.5, 2.5, 0.0]
    assert shard.wave(2).shape == (0,)


def test_missing_inputs_are_named(project: Settings) -> None:
    with pytest.raises(UserError, match=r"rendered/train-0\.parquet: missing"):
        decode(project, "scenes", "train-0")
