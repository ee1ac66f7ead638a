"""Generation: beam search against exhaustive search, the decoder's cache against whole passes, determinism, batches."""

import itertools

import pytest
import torch

from pipeline.models import captioner, tokenizer, vast, vast_full
from pipeline.models.decoder import Decoder
from pipeline.settings import load

SHAPES = {"vision": (2, 8), "audio": (2, 8)}
HOW = load("smoke", preset="mini-way").captions.model_copy(update={"length": 8, "top_k": 4})


class Pieces:
    """A vocabulary of four words."""

    size, pad, cls, sep, mask, first = 8, 0, 1, 2, 3, 4

    def decode(self, ids):
        return " ".join(map(str, ids))


class Whole:
    """A decoder without a cache: every step passes the whole prefix and [MASK] through `caption`."""

    def __init__(self, caption, condition):
        self.caption, self.condition = caption, condition
        self.clips, self.device = len(condition), condition.device
        self.ids = None

    def next(self, newest):
        self.ids = newest[:, None] if self.ids is None else torch.cat([self.ids, newest[:, None]], 1)
        masked = torch.cat([self.ids, torch.full_like(newest[:, None], Pieces.mask)], 1)
        return self.caption(masked, self.condition.repeat_interleave(len(masked) // self.clips, 0))[:, -1]

    def keep(self, rows):
        self.ids = self.ids[rows]

    def leave(self, clips):
        self.ids = self.ids.unflatten(0, (self.clips, -1))[clips].flatten(0, 1)
        self.condition, self.clips = self.condition[clips], len(clips)


def lively(model):
    """Large weights, so that captions differ by clip."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.6)


def small():
    """The model of mini and smoke, whose lower layer has no cross-attention: (its parts for a Decoder, whole pass)."""
    torch.manual_seed(5)
    model = vast.Vast(load("smoke", preset="mini-way").vast, SHAPES, Pieces.size)
    model.bert.initialise("tiny")
    lively(model)
    model.requires_grad_(False).eval()

    def whole(ids, on):
        everything, lengths = torch.ones_like(ids, dtype=torch.bool), torch.full((len(ids),), ids.shape[1])
        return model.bert.logits(model.caption(ids, lengths, everything, on)).view(*ids.shape, -1)

    return (model.bert.body, model.bert.logits), whole, 32


def full():
    """The released model's class."""
    torch.manual_seed(6)
    config = vast_full.TINY
    model = vast_full.bert.Bert(vast_full.replace(config.text, vocabulary=Pieces.size))
    lively(model)
    model.requires_grad_(False).eval()

    def whole(ids, on):
        return model.predict(model.encode(ids, torch.ones_like(ids), on, causal=True))

    return (model.bert, model.predict), whole, config.text.width


@pytest.fixture(scope="module", params=[small, full])
def model(request):
    return request.param()


def condition(width, n):
    return torch.randn(n, 4, width, generator=torch.Generator().manual_seed(2)) * 2


def decoder(model, n, rows=slice(None)):
    return Decoder(*model[0], condition(model[2], n)[rows], Pieces.mask)


def draws(n, how=HOW, seed=3):
    return torch.rand(n, how.samples, how.length, generator=torch.Generator().manual_seed(seed))


def exhaustive(model, tokens, length, penalty):
    """The best caption of one clip among all, by log-probability over length ** penalty, from whole passes."""
    words = [piece for piece in range(Pieces.size) if piece not in (Pieces.pad, Pieces.cls, Pieces.mask)]

    def scores(prefix):
        row = model[1](torch.tensor([[*prefix, Pieces.mask]]), tokens)[0, -1].clone()
        row[[Pieces.pad, Pieces.cls, Pieces.mask]] = -torch.inf
        if len(prefix) == 1:  # no caption is empty
            row[Pieces.sep] = -torch.inf
        return row.log_softmax(0)

    best = ([], -float("inf"))
    for size in range(1, length + 1):
        for inner in itertools.product([w for w in words if w != Pieces.sep], repeat=size - 1):
            prefix, score = [Pieces.cls], 0.0
            for piece in inner:
                score += float(scores(prefix)[piece])
                prefix.append(piece)
            final = scores(prefix)
            for end in words if size == length else [Pieces.sep]:
                value = (score + float(final[end])) / size**penalty
                if value > best[1]:
                    best = ([*inner] if end == Pieces.sep else [*inner, end], value)
    return best


@pytest.mark.parametrize("penalty", [0.6, 1.0])
def test_a_wide_beam_is_exhaustive(model, penalty):
    how = HOW.model_copy(update={"beams": 300, "length": 3, "length_penalty": penalty})
    found = captioner.beam(decoder(model, 3), Pieces, how)
    tokens = condition(model[2], 3)
    for clip in range(3):
        assert found[clip] == exhaustive(model, tokens[clip : clip + 1], 3, penalty)[0]


def test_the_cache_changes_nothing(model):
    tokens = condition(model[2], 5)
    assert captioner.beam(decoder(model, 5), Pieces, HOW) == captioner.beam(Whole(model[1], tokens), Pieces, HOW)
    found = captioner.sample(decoder(model, 5), Pieces, HOW, draws(5))
    assert found == captioner.sample(Whole(model[1], tokens), Pieces, HOW, draws(5))
    cached, whole = decoder(model, 5), Whole(model[1], tokens)
    for step, rows in enumerate(([0, 1, 2, 3, 4], [0, 0, 1, 1, 2, 2, 3, 3, 4, 4], [1, 0, 3, 3, 4, 4, 7, 6, 9, 9])):
        newest = torch.arange(5 * (1 + (step > 1))) % 4 + 4
        torch.testing.assert_close(cached.next(newest), whole.next(newest), rtol=1e-4, atol=1e-4)
        cached.keep(torch.tensor(rows))
        whole.keep(torch.tensor(rows))


def test_captions_are_deterministic_and_independent_of_the_batch(model):
    whole = captioner.beam(decoder(model, 4), Pieces, HOW)
    assert whole == captioner.beam(decoder(model, 4), Pieces, HOW)
    assert whole == [captioner.beam(decoder(model, 4, [row]), Pieces, HOW)[0] for row in range(4)]
    assert len({tuple(caption) for caption in whole}) > 1
    assert all(piece >= Pieces.first for caption in whole for piece in caption)
    assert max(map(len, whole)) <= HOW.length
    drawn = captioner.sample(decoder(model, 4), Pieces, HOW, draws(4))
    assert drawn == [captioner.sample(decoder(model, 4, [r]), Pieces, HOW, draws(4)[[r]])[0] for r in range(4)]
    assert drawn != captioner.sample(decoder(model, 4), Pieces, HOW, draws(4, seed=4))
    assert [len(clip) for clip in drawn] == [HOW.samples] * 4


def test_samples_have_the_probabilities_of_the_likeliest_pieces(model):
    how = HOW.model_copy(update={"length": 1, "samples": 4000, "top_k": 3})
    found = captioner.sample(decoder(model, 1), Pieces, how, draws(1, how))[0]
    logits = model[1](torch.tensor([[Pieces.cls, Pieces.mask]]), condition(model[2], 1))[0, -1].clone()
    logits[[Pieces.pad, Pieces.cls, Pieces.mask, Pieces.sep]] = -torch.inf
    top, pieces = logits.topk(3)
    pieces = pieces.tolist()
    share = [sum(row[0] == piece for row in found) / len(found) for piece in pieces]
    torch.testing.assert_close(torch.tensor(share), top.softmax(0), rtol=0, atol=0.03)


def test_texts_of_the_real_tokenizer():
    pieces = tokenizer.load("tiny")
    ids, _ = pieces.encode(["a red star"], 24)
    assert captioner.texts(pieces, [ids[0, 1:].tolist()]) == ["a red star"]
