"""Hard negatives, masking, captioning at masked positions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from pipeline import loop
from pipeline.models import tokenizer, vast
from pipeline.settings import load
from pipeline.vast import losses

SHAPES = {"vision": (4, 24), "audio": (3, 16)}


@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 50))
@settings(deadline=None, max_examples=60)
def test_negatives_never_are_the_own_clip_or_an_equal_caption(n, captions, seed):
    generator = loop.generator(seed)
    number = torch.randint(captions, (n,), generator=generator)
    same = number[:, None] == number
    # The forbidden are by far the most similar.
    similarity = torch.randn(n, n, generator=generator) + 1000 * same
    drawn = losses.negatives(similarity, ~same, loop.generator(seed, 1))
    for row in range(n):
        if bool(same[row].all()):
            assert drawn[row] == -1
        else:
            assert not same[row, drawn[row]]


def test_negatives_are_drawn_by_similarity():
    similarity = torch.tensor([[9.0, 2.0, 0.0, 0.0]]).repeat(20000, 1)
    allowed = torch.tensor([[False, True, True, True]]).repeat(20000, 1)
    drawn = losses.negatives(similarity, allowed, loop.generator(1))
    share = float((drawn == 1).float().mean())
    assert abs(share - float(similarity[0, 1:].softmax(0)[0])) < 0.02
    assert torch.equal(drawn, losses.negatives(similarity, allowed, loop.generator(1)))


def test_masking_rule():
    pieces = tokenizer.load("tiny")
    ids, lengths = pieces.encode(["a red star is spinning"] * 4000 + ["moon"], 24)
    altered, chosen = losses.mask(ids, lengths, pieces, loop.generator(3))
    candidates = torch.arange(ids.shape[1]) < lengths[:, None]
    candidates[:, 0] = False
    assert not bool((chosen & ~candidates).any())
    assert torch.equal(altered[~chosen], ids[~chosen])
    share = chosen.sum() / candidates.sum()
    masked = (altered[chosen] == pieces.mask).float().mean()
    kept = (altered[chosen] == ids[chosen]).float().mean()
    assert abs(share - 0.6) < 0.02
    assert abs(masked - 0.8) < 0.02
    assert abs(kept - 0.1) < 0.02
    assert bool((chosen & (ids == pieces.sep)).any())
    assert int(altered[chosen][altered[chosen] != pieces.mask].min()) >= min(pieces.first, pieces.sep)


@pytest.fixture(scope="module")
def model() -> vast.Vast:
    torch.manual_seed(0)
    built = vast.Vast(load("smoke", preset="mini-way").vast, SHAPES, tokenizer.load("tiny").size)
    built.bert.initialise("tiny")
    return built


def test_captioning_at_masked_positions_equals_the_full_loss(model):
    pieces = tokenizer.load("tiny")
    ids, lengths = pieces.encode(["a red star", "a blue house plays a low flute"], 24)
    altered, chosen = losses.mask(ids, lengths, pieces, loop.generator(1))
    tokens = model.tokens({name: torch.randn(2, *shape) for name, shape in SHAPES.items()}).detach()
    known = ids.unique()
    unknown = torch.ones(pieces.size, dtype=torch.bool).index_fill(0, known, False)
    everything = torch.ones_like(ids, dtype=torch.bool)
    decoded = model.caption(altered, torch.full((2,), ids.shape[1]), everything, tokens).view(*ids.shape, -1)
    full = model.bert.logits(decoded).double().masked_fill(unknown, -torch.inf)
    labels = torch.where(chosen, ids, -100)
    expected = functional.cross_entropy(full.flatten(0, 1), labels.flatten(), ignore_index=-100)
    found = losses.captioning(model, ids, lengths, altered, chosen, tokens, known)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    assert losses.captioning(model, ids, lengths, ids, torch.zeros_like(chosen), tokens, known).item() == 0


def test_matching_is_the_mean_of_its_three_kinds(model):
    pieces = tokenizer.load("tiny")
    ids, lengths = pieces.encode(["a red star", "blue house", "a moon"], 24)
    lower = model.lower(ids, lengths)
    tokens = model.tokens({name: torch.randn(3, *shape) for name, shape in SHAPES.items()}).detach()
    turned = torch.tensor([1, 2, 0])
    found = losses.matching(model, lower, lengths, tokens, (lower[turned], lengths[turned]), tokens[turned])
    itself = torch.arange(3)[:, None].expand(-1, 2)
    parts = [
        functional.cross_entropy(model.matching(*inputs, itself), torch.full((3,), label))
        for label, *inputs in (
            (1, lower, lengths, tokens),
            (0, lower, lengths, tokens[turned]),
            (0, lower[turned], lengths[turned], tokens),
        )
    ]
    torch.testing.assert_close(found, torch.stack(parts).mean(), atol=1e-5, rtol=1e-5)
