"""Captions dealt out anew: the same captions, none where it was."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dealing import deal
from pipeline.errors import UserError
from pipeline.loop import generator


@settings(deadline=None)
@given(st.integers(6, 12), st.integers(1, 2), st.integers(0, 99))
def test_no_clip_gets_a_caption_that_it_had(kinds: int, each: int, seed: int) -> None:
    number = torch.arange(kinds).repeat(3)[torch.randperm(3 * kinds, generator=generator(seed))]  # every text thrice
    clip = torch.arange(3 * kinds) // each
    had = {(int(c), int(n)) for c, n in zip(clip, number, strict=True)}
    order = deal(number, clip, generator(seed))
    assert sorted(order.tolist()) == list(range(3 * kinds))
    assert not had & {(int(c), int(number[o])) for c, o in zip(clip, order, strict=True)}
    assert torch.equal(order, deal(number, clip, generator(seed)))


def test_it_is_random_beyond_that() -> None:
    number = clip = torch.arange(200)
    first, second = deal(number, clip, generator(1)), deal(number, clip, generator(2))
    assert (first == second).sum() < 20
    assert len((first - number).unique()) > 100  # no mere shift


def test_one_caption_cannot_be_dealt() -> None:
    with pytest.raises(UserError, match="too many of them equal"):
        deal(torch.zeros(6, dtype=torch.long), torch.arange(6), generator(0))
