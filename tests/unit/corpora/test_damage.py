"""Damaged files of one's own corpus through plan, fetch, decode, merge, captions and embeddings: rows with reasons.

None is kept in silence; the whole clips reach the end with a small model of the paper's class.
"""

from __future__ import annotations

import json
import random
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pandas
import pytest
import torch

from pipeline import manifest, paths
from pipeline.captions import released as captions
from pipeline.corpora import annotated, verify
from pipeline.corpora.merge import merge
from pipeline.corpora.verify import Listing
from pipeline.embeddings import everything
from pipeline.errors import UserError
from pipeline.ffmpeg_process import binary
from pipeline.files import load_metadata, load_tensors, read_json
from pipeline.media.decode import decode
from pipeline.models import key_map, released, vast_full
from pipeline.settings import Corpus, Settings, Weights, load
from pipeline.vast import released as vast

ROOT = Path(__file__).parents[3]
DAMAGED = 18
OTHERS = ("absurd", "matroska", "playlist", "sound")


def damaged(content: bytes, number: int) -> bytes:
    """One of six ways to damage a file."""
    rng = random.Random(number)
    start, length = rng.randrange(len(content) // 2), len(content)
    ways = (
        lambda: content[: start + 100],
        lambda: content[:start] + content[start + 2000 :],
        lambda: content[:start] + bytes(3000) + content[start + 3000 :],
        lambda: content[:start] + rng.randbytes(3000) + content[start + 3000 :],
        lambda: rng.randbytes(length),
        lambda: b"",
    )
    return ways[number % len(ways)]()


def convert(source: Path, target: Path, *options: str) -> None:
    subprocess.run([binary(), "-v", "error", "-i", str(source), "-c", "copy", *options, str(target)], check=True)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    videos = folder / "videos"
    videos.mkdir()
    whole = videos / "whole.mp4"
    command = [binary(), "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=12:duration=3"]
    command += ["-f", "lavfi", "-i", "sine=frequency=440:duration=3"]
    command += ["-c:v", "libx264", "-c:a", "aac", "-pix_fmt", "yuv420p", str(whole)]
    subprocess.run(command, check=True)
    content = whole.read_bytes()
    (videos / "validation.mp4").write_bytes(content)
    convert(whole, videos / "silent.mp4", "-an")
    convert(whole, videos / "sound.mp4", "-vn")
    convert(whole, videos / "named.mkv")
    (videos / "matroska.mp4").write_bytes((videos / "named.mkv").read_bytes())
    (videos / "playlist.mp4").write_text(f"#EXTM3U\n#EXTINF:3,\n{whole}\n#EXT-X-ENDLIST\n")
    delta = content.index(b"stts") + 12  # of the picture's frames: 36 of them in some milliseconds
    (videos / "absurd.mp4").write_bytes(content[:delta] + struct.pack(">I", 1) + content[delta + 4 :])
    for number in range(DAMAGED):
        (videos / f"damaged{number}.mp4").write_bytes(damaged(content, number))
    rows = [f"{p.name},{p.stem},{'val' if p.stem == 'validation' else 'test'}" for p in sorted(videos.iterdir())]
    (folder / "clips.csv").write_text("\n".join(["file,caption,split", *rows]))
    return folder


def settings(floor: float = 0.0) -> Settings:
    smoke = load("smoke", ROOT)
    entry = Corpus.model_validate(
        {"kind": "annotated", "stands_for": "own", "source": "mine", "licence": "mine", "train": 0, "val": 1}
        | {"test": DAMAGED + len(OTHERS) + 3, "shards": {"val": 1, "test": 1}, "coverage": floor}
        | {"options": {"annotations": "own", "csv": "clips.csv", "folder": "videos"}}
    )
    model = smoke.vast.model_copy(update={"released": Weights(path="vast.pt")})
    media = smoke.media.model_copy(update={"storage": "archive", "seconds": 60.0, "time_limit": 60.0})
    return smoke.model_copy(update={"corpora": {"own": entry}, "vast": model, "media": media})


@pytest.fixture(scope="module")
def table(corpus: Path) -> pandas.DataFrame:
    """The manifest, by clip."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(corpus)
        s = settings()
        annotated.plan(s, "own")
        for shard in paths.shards(s, "own"):
            annotated.fetch(s, "own", shard)
            decode(s, "own", shard)
        merge(s, "own")
        return manifest.read(paths.manifest(s, "own")).set_index("clip_id")


def test_damaged_clips_are_rows(table: pandas.DataFrame) -> None:
    assert len(table) == DAMAGED + len(OTHERS) + 4
    whole = ["whole", "validation", "named"]
    assert (table.loc[whole, "status"] == "ok").all()
    assert table.loc["silent", "status"] == "no_audio"
    assert table.loc["whole", "duration"] == pytest.approx(3, abs=0.1)
    bad = table.drop([*whole, "silent"])
    assert set(bad["status"]) == {"decode_error", "gone"}
    assert (bad["reason"] != "").all()
    assert table.loc["matroska", "reason"] == "damaged: its name ends in .mp4, its content is matroska,webm"
    assert "matches no streams" in table.loc["sound", "reason"]
    assert "not" in table.loc["playlist", "reason"]
    assert "whole.mp4" not in table.loc["playlist", "reason"]  # no playlist was followed


def test_a_floor_of_its_own(table: pandas.DataFrame, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus)
    test = read_json(paths.coverage(settings(), "own"))["splits"]["test"]
    assert (test["planned"], test["usable"]) == (DAMAGED + len(OTHERS) + 3, 3)
    assert test["galleries"] == {"all items": 3, "items with audio": 2}
    assert sum(lost["clips"] for lost in test["missing"].values()) == DAMAGED + len(OTHERS)
    with pytest.raises(UserError, match=r"own, split test: 3 of 25 clips .* 0\.120, floor 0\.5 \(corpora\.own\.cov"):
        merge(settings(0.5), "own")
    merge(settings(0.1), "own")


def test_the_whole_ones_are_captioned_and_embedded(
    table: pandas.DataFrame, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(corpus)
    s = settings()
    torch.manual_seed(0)
    torch.save(key_map.released(vast_full.VastFull(released.config(s))), "vast.pt")
    vast.load(s)
    captions.caption(s, "own")
    lines = [json.loads(line) for line in paths.captions(s, "own").read_text().splitlines()]
    usable = table[table["status"].isin(manifest.USABLE)]
    assert {line["clip_id"] for line in lines} == set(usable.index)
    everything.embed(s, "vast", [0])
    file = paths.embeddings(s, "vast", 0, "own")
    found, ids = load_tensors(file), load_metadata(file)["ids"]["test"]
    assert set(ids) == set(usable.index[usable["split"] == "test"])
    silent = ids.index("silent")
    assert found["test/audio"][silent].eq(0).all()
    assert found["test/vision"][silent].norm() == pytest.approx(1, abs=1e-5)
    heard = [place for place in range(len(ids)) if place != silent]
    torch.testing.assert_close(found["test/audio"][heard].norm(dim=1), torch.ones(len(heard)))


def tampered(corpus: Path, where: Sequence[int]) -> Path:
    """A copy of the whole clip with some bits of its media data flipped."""
    content = bytearray((corpus / "videos" / "whole.mp4").read_bytes())
    start = content.index(b"mdat") + 4
    for offset in where:
        content[start + offset] ^= 1
    path = corpus / "tampered.mp4"
    path.write_bytes(content)
    return path


def test_what_no_decoder_finds_the_first_sha256_does(
    table: pandas.DataFrame, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bit of a coefficient flips after the fetch: the file still decodes whole, its manifest's sha256 tells."""
    monkeypatch.chdir(corpus)
    s = settings()
    size = (corpus / "videos" / "whole.mp4").read_bytes().index(b"moov")
    hidden = next(path for offset in range(2000, size, 97) if not verify.damage(path := tampered(corpus, [offset]), 60))
    target = paths.media(s, "own") / "whole.mp4"
    kept = target.read_bytes()
    target.unlink()  # it is a link to the user's own file
    target.write_bytes(hidden.read_bytes())
    try:
        decode(s, "own", "test-0")
        row = pandas.read_parquet(paths.decoded(s, "own", "test-0")).set_index("clip_id").loc["whole"]
        assert (row["status"], row["row"]) == ("decode_error", -1)
        assert "sha256 differs" in row["reason"]
    finally:
        target.write_bytes(kept)


def test_verify(corpus: Path) -> None:
    videos = corpus / "videos"
    assert verify.damage(videos / "whole.mp4", 60) == ""
    assert verify.damage(videos / "silent.mp4", 60) == ""
    assert verify.damage(videos / "damaged4.mp4", 60).startswith("damaged: ")
    assert verify.damage(videos / "whole.mp4", 60, asked=1) == ""
    assert verify.damage(videos / "whole.mp4", 60, asked=30).endswith(" s of 30 s asked for")  # the connection broke
    assert verify.damage(videos / "whole.mp4", 0.001).startswith("damaged: decoding took longer")
    assert verify.damage(videos / "matroska.mp4", 60, "x.mkv") == ""


@pytest.mark.parametrize(
    ("frames", "packets", "duration", "problem"),
    [
        (Listing(50, 0, 4.9, 5), Listing(50, 0, 4.9, 5), "00:00:05.00", ""),
        (Listing(1, 0, 0, 0.04), Listing(1, 0, 0, 0.04), "00:00:00.04", ""),
        (Listing(49, 0, 4.9, 5), Listing(50, 0, 4.9, 5), "00:00:05.00", "49 frames of picture in 50 packets"),
        (Listing(50, 0, 0.01, 0.01), Listing(50, 0, 0.01, 0.01), "00:00:00.01", "4.9e+03 frames a second"),
        (Listing(50, 0, 490, 500), Listing(50, 0, 490, 500), "00:08:20.00", "0.1 frames a second"),
        (Listing(50, 0, 4.9, 5), Listing(50, 0, 4.9, 5), "00:01:05.50", "5.00 s decoded, 65.50 s declared"),
    ],
)
def test_frames_are_compared_with_the_container(frames: Listing, packets: Listing, duration: str, problem: str) -> None:
    assert verify._differences({0: frames}, {0: packets}, f"Duration: {duration}, start: 0.0") == problem


def test_sound_is_compared_with_the_container() -> None:
    picture, sound = Listing(50, 0, 4.9, 5), Listing(200, 0, 4.98, 5)
    shorter = Listing(100, 0, 2.48, 2.5)
    about = "Duration: N/A"
    assert verify._differences({0: picture, 1: sound}, {0: picture, 1: Listing(202, 0, 4.98, 5)}, about) == ""
    found = verify._differences({0: picture, 1: shorter}, {0: picture, 1: sound}, about)
    assert found == "100 frames of sound in 200 packets"
    assert verify._differences({0: picture}, {0: picture, 1: sound}, about) == "0 frames of sound in 200 packets"
    assert verify._differences({1: sound}, {0: picture, 1: sound}, about) == "no frame of picture"
