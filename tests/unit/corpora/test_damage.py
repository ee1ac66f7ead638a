"""Damaged files of one's own corpus through plan, fetch, decode and merge: rows with reasons, none kept in silence."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from pipeline import manifest, paths
from pipeline.corpora import annotated, verify
from pipeline.corpora.merge import merge
from pipeline.ffmpeg_process import binary
from pipeline.media.decode import decode
from pipeline.settings import Corpus, Settings, load

ROOT = Path(__file__).parents[3]
DAMAGED = 24


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


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    videos = folder / "videos"
    videos.mkdir()
    command = [binary(), "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=12:duration=3"]
    command += [
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:duration=3",
        "-c:v",
        "libx264",
        "-c:a",
        "aac",
        "-pix_fmt",
        "yuv420p",
    ]
    subprocess.run([*command, str(videos / "whole.mp4")], check=True)
    subprocess.run([*command[:-4], "-an", str(videos / "silent.mp4")], check=True)
    content = (videos / "whole.mp4").read_bytes()
    for number in range(DAMAGED):
        (videos / f"damaged{number}.mp4").write_bytes(damaged(content, number))
    lines = ["file,caption,split", *(f"{path.name},{path.stem},test" for path in sorted(videos.iterdir()))]
    (folder / "clips.csv").write_text("\n".join(lines))
    return folder


def settings() -> Settings:
    smoke = load("smoke", ROOT)
    entry = Corpus.model_validate(
        {"kind": "annotated", "stands_for": "own", "source": "mine", "licence": "mine", "train": 0, "val": 0}
        | {"test": DAMAGED + 2, "shards": {"test": 1}}
        | {"options": {"annotations": "own", "csv": "clips.csv", "folder": "videos"}}
    )
    media = smoke.media.model_copy(update={"coverage": 0.0})
    return smoke.model_copy(update={"corpora": {"own": entry}, "media": media})


def test_damaged_clips_are_rows(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus)
    s = settings()
    annotated.plan(s, "own")
    annotated.fetch(s, "own", "test-0")
    decode(s, "own", "test-0")
    merge(s, "own")
    table = manifest.read(paths.manifest(s, "own")).set_index("clip_id")
    assert len(table) == DAMAGED + 2
    assert table.loc["whole", "status"] == "ok"
    assert table.loc["silent", "status"] == "no_audio"
    assert table.loc["whole", "duration"] == pytest.approx(3, abs=0.1)
    bad = table.drop(["whole", "silent"])
    assert set(bad["status"]) == {"decode_error", "gone"}
    assert (bad["reason"] != "").all()


def test_verify(corpus: Path) -> None:
    assert verify.damage(corpus / "videos" / "whole.mp4", 20) == ""
    assert verify.damage(corpus / "videos" / "silent.mp4", 20) == ""
    assert verify.damage(corpus / "videos" / "damaged4.mp4", 20).startswith("damaged: ")
    assert verify.damage(corpus / "videos" / "whole.mp4", 0.001).startswith("damaged: decoding took longer")
