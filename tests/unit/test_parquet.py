"""Tables come back as they were written, or not at all."""

import errno
import random
from pathlib import Path

import pandas
import pyarrow
import pyarrow.parquet
import pytest
from pandas.testing import assert_frame_equal

from pipeline import parquet
from pipeline.errors import UserError
from pipeline.files import load_metadata, load_tensors


@pytest.fixture
def table() -> pandas.DataFrame:
    rows = [{"clip_id": f"c{n}", "row": n, "duration": n / 7, "captions": [f"a lion {n}", "roars"]} for n in range(200)]
    return pandas.DataFrame(rows)


def test_what_is_written_is_read(table: pandas.DataFrame, tmp_path: Path) -> None:
    parquet.write(tmp_path / "t.parquet", table.set_axis(range(5, 205)))
    found = parquet.read(tmp_path / "t.parquet")
    found["captions"] = found["captions"].map(list)
    assert_frame_equal(found, table)
    arrow = pyarrow.table({"a": [1, 2]}).replace_schema_metadata({"about": "x"})
    parquet.write(tmp_path / "a.parquet", arrow)
    assert parquet.read_arrow(tmp_path / "a.parquet").schema.metadata == {b"about": b"x"}


def test_no_changed_value_is_read(table: pandas.DataFrame, tmp_path: Path) -> None:
    """Bytes of the pages are changed one run at a time: a checksum tells, or nothing that is read has changed."""
    path = tmp_path / "t.parquet"
    parquet.write(path, table)
    whole, footer = path.read_bytes(), int.from_bytes(path.read_bytes()[-8:-4], "little") + 8
    expected, messages = parquet.read(path), []
    for number in range(120):
        draw = random.Random(number)
        content = bytearray(whole)
        start = draw.randrange(len(whole) - footer - 8)
        content[start : start + 8] = draw.randbytes(8)
        path.write_bytes(content)
        try:
            assert parquet.read(path).equals(expected)
        except UserError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all("t.parquet: damaged or no parquet table (" in message for message in messages)
    assert not any("\n" in message for message in messages)


@pytest.mark.parametrize("content", [b"", b"clip_id,row\nc0,0\n", "cut", "name"])
def test_other_files_are_named(table: pandas.DataFrame, tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "t.parquet"
    parquet.write(path, table)
    whole = path.read_bytes()
    broken = {"cut": whole[:-100], "name": whole.replace(b"clip_id", b"clip\xe9id")}
    path.write_bytes(content if isinstance(content, bytes) else broken[content])
    with pytest.raises(
        UserError,
        match=r"t\.parquet: damaged or no parquet table \(.+\); if it was made here, delete it; make it with `snake",
    ):
        parquet.read(path)
    path.unlink()
    with pytest.raises(UserError, match=r"t\.parquet: missing; rank the run again"):
        parquet.read_arrow(path, "rank the run again")


def test_a_file_that_may_not_be_read_is_not_called_damaged(
    table: pandas.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:  # what Arrow raises for anybody but root
        raise PermissionError(errno.EACCES, "[Errno 13] Failed to open local file")

    parquet.write(tmp_path / "t.parquet", table)
    monkeypatch.setattr(pyarrow.parquet, "read_table", refused)
    with pytest.raises(UserError, match=r"t\.parquet: cannot be read \(Permission denied\)$"):
        parquet.read(tmp_path / "t.parquet")


@pytest.mark.parametrize("read", [load_tensors, load_metadata])
def test_damaged_tensors_are_named(tmp_path: Path, read: object) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"\x10\0\0\0\0\0\0\0{half")
    assert callable(read)
    with pytest.raises(UserError, match=r"weights\.safetensors: damaged \(.*\); delete it and run again"):
        read(path)
