"""Both storages of shards behind one reader."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.shards import Shard, Writer


def made(path: Path, count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    smooth = np.linspace(0, 200, 24)[None, None, None, :, None, None] + np.zeros((count, 3, 2, 24, 20, 3))
    frames = (smooth + rng.integers(0, 40, (count, 3, 2, 1, 1, 3))).astype(np.uint8)
    audio = rng.integers(-9000, 9000, (count, 800)).astype(np.int16)
    writer = Writer(path, "d1", 16000, 800)
    for row in range(count):
        assert writer.add(f"clip-{row}", frames[row], audio[row]) == row
    writer.close()
    return frames, audio


@pytest.mark.parametrize("name", ["s.safetensors", "s.tar"])
def test_random_access(tmp_path: Path, name: str) -> None:
    frames, audio = made(tmp_path / name)
    shard = Shard(tmp_path / name)
    assert shard.ids == [f"clip-{row}" for row in range(5)]
    assert (shard.digest, shard.rate, len(shard)) == ("d1", 16000, 5)
    rows = [4, 0, 0, 2]
    loss = np.abs(shard.frames(rows).numpy().astype(int) - frames[rows])
    assert loss.max() <= (0 if name.endswith("safetensors") else 12)  # JPEG at quality 95
    assert (shard.audio(rows).numpy() == audio[rows]).all()  # FLAC loses nothing
    assert shard.frames([1], [0]).shape == (1, 3, 1, 24, 20, 3)
    assert (shard.frames([1], [1])[:, :, 0] == shard.frames([1])[:, :, 1]).all()
    assert shard.frames().shape == frames.shape
    assert shard.audio([]).shape == (0, 800)
    assert shard.frames([]).shape == (0, 3, 2, 24, 20, 3)


def test_the_archive_is_a_plain_tar(tmp_path: Path) -> None:
    made(tmp_path / "s.tar", 2)
    with tarfile.open(tmp_path / "s.tar", "r:") as tar:
        names = tar.getnames()
    assert names[0] == "index.json"
    assert names[1:8] == [*(f"clip-0.{number:03d}.jpg" for number in range(6)), "clip-0.flac"]


def test_an_archives_frames_are_those_that_other_programs_see(tmp_path: Path) -> None:
    made(tmp_path / "s.tar", 2)
    found = Shard(tmp_path / "s.tar").frames().numpy().reshape(2, 6, 24, 20, 3)
    with tarfile.open(tmp_path / "s.tar", "r:") as tar:
        for clip in range(2):
            for number in range(6):
                member = tar.extractfile(f"clip-{clip}.{number:03d}.jpg")
                assert member is not None
                assert (np.asarray(Image.open(member)) == found[clip, number]).all()


@pytest.mark.parametrize("part", ["000.jpg", "flac"])
def test_damage_in_an_archive_is_an_error(tmp_path: Path, part: str) -> None:
    path = tmp_path / "s.tar"
    made(path, 2)
    with tarfile.open(path, "r:") as tar:
        member = tar.getmember(f"clip-0.{part}")
    with path.open("r+b") as stream:
        stream.seek(member.offset_data + member.size // 2)
        stream.write(bytes(member.size // 2))
    shard = Shard(path)
    read = shard.audio if part == "flac" else shard.frames
    read([1])
    with pytest.raises(UserError, match=r"s\.tar: clip 'clip-0' is damaged .*; delete the shard and decode again"):
        read([0])


@pytest.mark.parametrize("name", ["s.safetensors", "s.tar"])
@pytest.mark.parametrize("content", [b"", b"{}", "cut", "index", "key"])
def test_a_damaged_shard_is_named(tmp_path: Path, name: str, content: bytes | str) -> None:
    path = tmp_path / name
    made(path, 2)
    whole = path.read_bytes()
    broken = {
        "cut": whole[:300],
        "index": whole.replace(b"digest", b"dig\xe9st"),
        "key": whole.replace(b"lengths", b"lengthz"),
    }
    path.write_bytes(content if isinstance(content, bytes) else broken[content])
    with pytest.raises(UserError, match=rf"{name}: damaged, or not a shard \(.*\); delete the shard and decode again"):
        Shard(path)


def test_a_raw_shard_cut_under_its_reader_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    made(path, 2)
    shard = Shard(path)
    path.write_bytes(path.read_bytes()[:-100])
    for read in (shard.audio, shard.frames, lambda: shard.wave(0)):
        with pytest.raises(UserError, match=r"s\.safetensors: damaged"):
            read()


def test_no_sound_is_made_up(tmp_path: Path) -> None:
    made(tmp_path / "s.tar", 1)
    with pytest.raises(UserError, match="a FLAC file with 700 samples from 100 on, not 701"):
        Shard(tmp_path / "s.tar").wave(0, 100, 801)


def test_no_sound_is_cut_by_a_changed_length(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    made(path, 1)
    path.write_bytes(path.read_bytes().replace(b'"lengths": [800]', b'"lengths": [100]'))
    for read in (Shard(path).audio, lambda: Shard(path).wave(0)):
        with pytest.raises(UserError, match=r"clip 'clip-0' is damaged .a FLAC file of 800 samples, not 100"):
            read()


@pytest.mark.parametrize("name", ["s.safetensors", "s.tar"])
def test_an_empty_shard(tmp_path: Path, name: str) -> None:
    Writer(tmp_path / name, "d", 16000, 800).close()
    assert Shard(tmp_path / name).ids == []


@pytest.mark.parametrize("name", ["s.safetensors", "s.tar"])
def test_the_same_clips_make_the_same_bytes(tmp_path: Path, name: str) -> None:
    for folder in ("a", "b"):
        made(tmp_path / folder / name, 2)
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "s.tar", "d", 16000, 800)
    writer.add("a", np.zeros((1, 1, 8, 8, 3), np.uint8), np.zeros(800, np.int16))
    with pytest.raises(ValueError, match="b: frames"):
        writer.add("b", np.zeros((2, 1, 8, 8, 3), np.uint8), np.zeros(800, np.int16))


@pytest.mark.parametrize("name", ["s.safetensors", "s.tar"])
def test_sounds_have_their_own_length(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    waves = [rng.integers(-9000, 9000, length).astype(np.int16) for length in (700, 0, 900, 800)]
    writer = Writer(tmp_path / name, "d", 16000, 800)
    for row, wave in enumerate(waves):
        writer.add(f"c{row}", np.zeros((1, 1, 8, 8, 3), np.uint8), wave)
    writer.close()
    shard = Shard(tmp_path / name)
    assert [shard.samples(row) for row in range(4)] == [700, 0, 800, 800]  # the longest is cut
    for row, wave in enumerate(waves):
        assert (shard.wave(row).numpy() == wave[:800]).all()
        filled = np.pad(wave[:800], (0, 800 - len(wave[:800])))
        assert (shard.audio([row]).numpy()[0] == filled).all()
    assert (shard.wave(2, 100, 250).numpy() == waves[2][100:250]).all()


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.tar: missing"):
        Shard(tmp_path / "none.tar")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(__file__, "other")
    with pytest.raises(UserError, match="not a shard"):
        Shard(tmp_path / "x.tar")
