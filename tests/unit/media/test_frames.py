"""Choice of frames against the rule written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.media.frames import pick, pick_slots


def naive(total: int, n: int) -> list[int]:
    """Chunk sizes as np.array_split makes them: the first `total % n` chunks are one longer."""
    indices, start = [], 0
    for chunk in range(n):
        length = total // n + (chunk < total % n)
        indices.append(start + (length + 1) // 2 - 1)
        start += length
    return indices


@given(n=st.integers(1, 16), extra=st.integers(0, 300))
def test_evaluation_takes_the_middles(n: int, extra: int) -> None:
    assert pick(n + extra, n).tolist() == naive(n + extra, n)


@pytest.mark.parametrize(
    ("total", "n", "expected"),
    [(10, 4, [1, 4, 6, 8]), (8, 8, list(range(8))), (3, 5, [0, 1, 2, 2, 2]), (1, 4, [0, 0, 0, 0]), (300, 2, [74, 224])],
)
def test_literal_choices(total: int, n: int, expected: list[int]) -> None:
    assert pick(total, n).tolist() == expected


@given(total=st.integers(1, 60), n=st.integers(1, 12), seed=st.integers(0, 99))
def test_training_draws_one_of_each_chunk(total: int, n: int, seed: int) -> None:
    drawn = pick(total, n, np.random.default_rng(seed))
    assert (np.diff(drawn) >= 0).all()
    assert ((drawn >= 0) & (drawn < total)).all()
    if total >= n:
        assert all(index in chunk for index, chunk in zip(drawn, np.array_split(np.arange(total), n), strict=True))


def test_training_reaches_every_frame() -> None:
    rng = np.random.default_rng(0)
    seen = {int(index) for _ in range(300) for index in pick(10, 4, rng)}
    assert seen == set(range(10))


@given(total=st.integers(1, 60), n=st.integers(1, 8), slots=st.integers(1, 4), index=st.integers(0, 50))
def test_stored_slots(total: int, n: int, slots: int, index: int) -> None:
    stored = pick_slots(total, n, slots, 1, index)
    assert stored.shape == (n, slots)
    assert stored[:, 0].tolist() == pick(total, n).tolist()
    assert (stored == pick_slots(total, n, slots, 1, index)).all()
    if total >= n:
        for row, chunk in zip(stored, np.array_split(np.arange(total), n), strict=True):
            assert set(row) <= set(chunk)
            assert len(set(row)) == min(slots, len(chunk))


def test_slots_differ_between_clips() -> None:
    draws = {tuple(pick_slots(40, 4, 2, 1, index)[:, 1]) for index in range(20)}
    assert len(draws) > 10


@pytest.mark.parametrize(("total", "n"), [(0, 4), (4, 0)])
def test_nothing_to_pick(total: int, n: int) -> None:
    with pytest.raises(ValueError, match="cannot pick"):
        pick(total, n)
