"""Generation: beam search against exhaustive search, determinism, batches."""

import itertools

import pytest
import torch

from pipeline.models import captioner, tokenizer, vast
from pipeline.settings import load

SHAPES = {"vision": (2, 8), "audio": (2, 8)}


class Pieces:
    """A vocabulary of four words."""

    size, pad, cls, sep, mask, first = 8, 0, 1, 2, 3, 4

    def decode(self, ids):
        return " ".join(map(str, ids))


@pytest.fixture(scope="module")
def model() -> vast.Vast:
    torch.manual_seed(5)
    built = vast.Vast(load("smoke").vast, SHAPES, Pieces.size)
    built.bert.initialise("tiny")
    torch.nn.init.normal_(built.bert.bias, std=0.5)
    for projection in built.condition.values():
        torch.nn.init.normal_(projection.linear.weight, std=1.0)
    return built.requires_grad_(False).eval()


def condition(model: vast.Vast, n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return model.tokens({name: torch.randn(n, *shape, generator=generator) * 3 for name, shape in SHAPES.items()})


def exhaustive(model: vast.Vast, tokens: torch.Tensor, length: int, penalty: float) -> tuple[list[int], float]:
    """The best caption of one clip among all, by log-probability over length ** penalty."""
    words = [piece for piece in range(Pieces.size) if piece not in (Pieces.pad, Pieces.cls, Pieces.mask)]
    best: tuple[list[int], float] = ([], -float("inf"))
    for size in range(1, length + 1):
        for inner in itertools.product([w for w in words if w != Pieces.sep], repeat=size - 1):
            ends = words if size == length else [Pieces.sep]
            prefix, score = [Pieces.cls], 0.0
            for piece in inner:
                score += float(captioner._next(model, Pieces, torch.tensor([prefix]), tokens)[0, piece])
                prefix.append(piece)
            final = captioner._next(model, Pieces, torch.tensor([prefix]), tokens)[0]
            for end in ends:
                value = (score + float(final[end])) / size**penalty
                if value > best[1]:
                    best = ([*inner] if end == Pieces.sep else [*inner, end], value)
    return best


@pytest.mark.parametrize("penalty", [0.6, 1.0])
def test_a_wide_beam_is_exhaustive(model, penalty):
    tokens = condition(model, 3)
    found = captioner.beam(model, Pieces, tokens, beams=300, length=3, penalty=penalty)
    for clip in range(3):
        assert found[clip] == exhaustive(model, tokens[clip : clip + 1], 3, penalty)[0]


def test_beams_are_deterministic_and_independent_of_the_batch(model):
    tokens = condition(model, 4)
    whole = captioner.beam(model, Pieces, tokens, length=8)
    assert whole == captioner.beam(model, Pieces, tokens, length=8)
    assert whole == [captioner.beam(model, Pieces, tokens[row : row + 1], length=8)[0] for row in range(4)]
    assert all(piece >= Pieces.first for caption in whole for piece in caption)
    assert max(map(len, whole)) <= 8


def test_samples_follow_the_seed(model):
    tokens = condition(model, 4)
    first = captioner.sample(model, Pieces, tokens, seed=1, k=4, length=6)
    assert first == captioner.sample(model, Pieces, tokens, seed=1, k=4, length=6)
    assert first != captioner.sample(model, Pieces, tokens, seed=2, k=4, length=6)
    assert [len(clip) for clip in first] == [captioner.SAMPLES] * 4


def test_texts_of_the_real_tokenizer():
    pieces = tokenizer.load("tiny")
    ids, _ = pieces.encode(["a red star"], 24)
    assert captioner.texts(pieces, [ids[0, 1:].tolist()]) == ["a red star"]
