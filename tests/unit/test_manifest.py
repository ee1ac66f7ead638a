"""The clip table's contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
import pytest

from pipeline import manifest
from pipeline.errors import UserError


def row(**change: Any) -> dict[str, Any]:
    base = {
        "clip_id": "c0",
        "split": "test",
        "captions": ["a cat"],
        "media": "c0.mp4",
        "tracks": "{}",
        "language": "fr",
    }
    base |= {
        "modalities": ["text", "vision"],
        "duration": 2.5,
        "status": "ok",
        "reason": "",
        "source": "s",
        "licence": "l",
    }
    return base | {"sha256": "0", "shard": "test-0", "row": 0, "concepts": ["cat"], "group": "a cat"} | change


def test_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    bad = row(clip_id="c1", status="gone", reason="lost", row=-1)
    manifest.write(path, manifest.frame([row(), bad, row(clip_id="c2", split="val", row=1)]))
    table = manifest.read(path)
    assert list(table.columns) == list(manifest.COLUMNS)
    assert table["captions"][0] == ["a cat"]
    assert manifest.usable(table, "test")["clip_id"].tolist() == ["c0"]


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    for content in (b"", b"clip_id,split\n", b"PAR1" + bytes(40) + b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"manifest\.parquet: damaged or no parquet table") as caught:
            manifest.read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(), row()], "clip 'c0' appears twice"),
        ([row(status="fine")], "clip 'c0': unknown status 'fine'"),
        ([row(split="dev")], "clip 'c0': unknown split 'dev'"),
        ([row(status="gone", row=-1)], "clip 'c0' is not usable but has no reason"),
        ([row(row=-1)], "clip 'c0' is usable but has no row"),
        ([row(captions=[], concepts=[])], "clip 'c0' has neither caption nor class"),
        ([row(duration=float("nan"))], "clip 'c0' has no duration"),
        ([], "holds no clip"),
    ],
)
def test_breaches_name_file_and_clip(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        manifest.write(tmp_path / "m.parquet", manifest.frame(rows))
    assert "m.parquet" in str(caught.value)
    assert not (tmp_path / "m.parquet").exists()


def test_missing_column_and_file(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pandas.DataFrame([row()]).drop(columns="group").to_parquet(path)
    with pytest.raises(UserError, match="no column 'group'"):
        manifest.read(path)
    with pytest.raises(UserError, match="missing; make it"):
        manifest.read(tmp_path / "none.parquet")
