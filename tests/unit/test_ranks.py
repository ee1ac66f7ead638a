"""Stored ranks: round trip, recall, chance, refusals."""

import numpy as np
import pandas as pd
import pytest

from pipeline import ranks
from pipeline.errors import UserError
from pipeline.ranks import Key, Ranking


def ranking(values, items=10, relevant=1):
    n = len(values)
    names = np.array([f"clip{i}" for i in range(n)])
    counts = np.full(n, relevant, np.int64)
    rank = np.array(values, float)
    return Ranking(names, names, rank, np.zeros(n, np.int64), 1 / rank, counts, items)


def test_round_trip(tmp_path):
    keys = [Key("test", ranks.FULL, "T2VA", "volume"), Key("val", ranks.MATCHED, "VA2T", "cosine+itm")]
    ranks.write(tmp_path / "a.parquet", [(keys[0], ranking([1, 2.5])), (keys[1], ranking([3]))], {"run": "gram"})
    back, metadata = ranks.read(tmp_path / "a.parquet")
    assert list(back) == keys
    assert metadata == {"run": "gram"}
    assert back[keys[0]].rank.tolist() == [1, 2.5]
    assert back[keys[0]].precision.tolist() == pytest.approx([1, 0.4])
    assert back[keys[1]].query.tolist() == ["clip0"]
    assert tuple(pd.read_parquet(tmp_path / "a.parquet").columns) == ranks.COLUMNS


def test_recall_reciprocal_and_chance():
    one = ranking([1, 2, 5.5, 1.5])
    assert one.recall(1).tolist() == [1, 0, 0, 0]
    assert one.recall(5).tolist() == [1, 1, 0, 1]
    assert one.reciprocal().tolist() == [1, 0.5, 1 / 5.5, 1 / 1.5]
    assert one.chance(1) == pytest.approx(0.1)
    assert one.chance(5) == pytest.approx(0.5)
    assert one.chance(10) == 1
    assert ranking([1], items=4, relevant=2).chance(2) == pytest.approx(1 - 1 / 6)


def test_refusals(tmp_path):
    (tmp_path / "no.parquet").write_text("nothing")
    with pytest.raises(UserError, match=r"no\.parquet: damaged or no parquet table .*; rank the run again"):
        ranks.read(tmp_path / "no.parquet")
    pd.DataFrame({"split": ["test"]}).to_parquet(tmp_path / "old.parquet")
    with pytest.raises(UserError, match="no column 'gallery'"):
        ranks.read(tmp_path / "old.parquet")
