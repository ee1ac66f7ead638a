"""What VAST hears of stored sounds of any length: the slices of the sound itself, never of what fills it up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from pipeline.clips import Clips, slices
from pipeline.errors import UserError
from pipeline.models.spectrograms import fbank
from pipeline.settings import load
from pipeline.shards import Shard, Writer

ROOT = Path(__file__).parents[2]
SECONDS = (4.0, 35.0, 0.0)


@pytest.fixture(scope="module", params=["s.tar", "s.safetensors"])
def shard(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shard:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("shard") / request.param
    writer = Writer(path, "d", 16000, 60 * 16000)
    for number, seconds in enumerate(SECONDS):
        wave = rng.integers(-3000, 3000, round(seconds * 16000)).astype(np.int16)
        writer.add(f"c{number}", np.zeros((1, 1, 8, 8, 3), np.uint8), wave)
    writer.close()
    return Shard(path)


@pytest.mark.parametrize(("count", "short", "long"), [(1, [0], [1]), (2, [0, 1], [0, 2])])
def test_slices_are_those_of_the_whole_sound(shard: Shard, count: int, short: list[int], long: list[int]) -> None:
    for row, places in enumerate((short, long)):
        every = fbank(shard.wave(row), "vast", count)
        torch.testing.assert_close(slices(shard, row, count, 64), every[places])
    assert slices(shard, 0, count, 64)[0, :390].abs().sum() > 0  # a short sound is heard, not the silence after it
    assert slices(shard, 2, count, 64).eq(0).all()
    assert slices(shard, None, count, 64).eq(0).all()


def test_training_draws_any_slice(shard: Shard) -> None:
    drawn = [slices(shard, 1, 1, 64, torch.Generator().manual_seed(seed)) for seed in range(20)]
    every = fbank(shard.wave(1), "vast")
    found = {next(n for n, one in enumerate(every) if torch.allclose(one, draw[0])) for draw in drawn}
    assert found == {0, 1, 2, 3}


def test_corpora_of_different_slices_share_no_batch() -> None:
    settings = load("paper", ROOT)
    assert [settings.slices(name) for name in ("msrvtt", "didemo", "activitynet", "vast150k")] == [1, 2, 2, 1]
    with pytest.raises(UserError, match="msrvtt, didemo: slices differ"):
        Clips(settings, dict.fromkeys(("msrvtt", "didemo"), pandas.DataFrame()))
    assert Clips(settings, {"didemo": pandas.DataFrame()}).slices == 2
