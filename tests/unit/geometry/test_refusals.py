"""What cannot be ranked is named in one line, wherever it stands; what only leaves float32's range is ranked right."""

from dataclasses import replace

import pytest
import torch

from pipeline.geometry import SCORES, SUBSET_SCORES, dense_ranks, flipped, ranks, unit, volume_score
from pipeline.geometry.ranking import ranks_both
from pipeline.geometry.refusals import check_scores, finite_lengths

RIGHT = torch.arange(40)


def lookup(matrix):
    """A score that reads a literal matrix, with queries and items numbered `[n, 1]`."""
    return lambda rows, columns: matrix[rows[:, 0].long()][:, columns[:, 0].long()]


def numbers(n):
    return torch.arange(n, dtype=torch.float64)[:, None]


def data(seed=0):
    torch.manual_seed(seed)
    texts = unit(torch.randn(40, 16))
    return texts, unit(texts + 0.5 * torch.randn(2, 40, 16))


def broken(where, query, item, value):
    """Volume with one score (of unit texts and items that are told apart by `data`) that is `value`.

    `where`: what gives it: the score in float64, of blocks and pairs, or only what it is screened by.
    """
    texts, items = data()

    def whole(function):
        def found(part, prepared):
            scores = function(part, prepared).clone()
            asked = part[0] if isinstance(part, tuple) else part  # what `ask` makes of texts, or texts
            who = (asked.double() - texts[query].double()).abs().amax(1) < 1e-6
            what = (prepared[0][0].double() - items[0, item].double()).abs().amax(1) < 1e-6
            return scores.masked_fill(who[:, None] & what, value)

        return found

    def pairs(part, prepared, index):
        scores = volume_score.pairs(part, prepared, index).clone()
        who = (part - texts[query].double()).abs().amax(1) < 1e-6
        what = (prepared[0][0][index] - items[0, item].double()).abs().amax(1) < 1e-6
        return scores.masked_fill(who & what, value)

    changed = {"quick": whole(volume_score.quick)}
    if where == "score":
        changed |= {"apply": whole(volume_score.apply), "pairs": pairs}
    return replace(volume_score, **changed)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("block", [1, 2, 5])
def test_a_wrong_pair_in_blocks_that_are_computed_exactly(value, block):
    matrix = torch.rand(5, 5, dtype=torch.float64)
    matrix[3, 1] = value
    for way in (ranks, ranks_both):
        with pytest.raises(ValueError, match=rf"score of query 3 and item 1 is {value}, not a number"):
            way(numbers(5), numbers(5), lookup(matrix), torch.arange(5), block)
    matrix[3, 1], matrix[2, 2] = 0.5, value
    with pytest.raises(ValueError, match=rf"score of query 2 and item 2 is {value}, not a number"):
        ranks(numbers(5), numbers(5), lookup(matrix), torch.arange(5), block)
    several = [[0], [1], [2, 4], [3], [4]]  # the better of the right ones is a number
    with pytest.raises(ValueError, match=rf"score of query 2 and item 2 is {value}, not a number"):
        ranks(numbers(5), numbers(5), lookup(matrix), several, block)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("block", [1, 7, 40])
def test_a_wrong_pair_in_blocks_that_are_screened(value, block):
    texts, items = data()
    for way in (ranks, ranks_both):
        with pytest.raises(ValueError, match=rf"score of query 33 and item 17 is {value}, not a number"):
            way(texts, items, broken("score", 33, 17, value), RIGHT, block)
        with pytest.raises(ValueError, match=rf"score of query 8 and item 8 is {value}, not a number"):
            way(texts, items, broken("score", 8, 8, value), RIGHT, block)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("block", [1, 7, 40])
def test_what_screening_alone_spoils_is_computed_again(value, block):
    texts, items = data()
    plain = ranks_both(texts, items, volume_score, RIGHT, block)
    for query, item in ((33, 17), (8, 8)):
        spoilt = ranks_both(texts, items, broken("screen", query, item, value), RIGHT, block)
        for one, other in zip(plain, spoilt, strict=True):
            assert torch.equal(one.rank, other.rank)
            assert torch.equal(one.ties, other.ties)


def test_a_matrix_that_is_held():
    hits = torch.eye(4, dtype=torch.bool)
    for value in (torch.nan, torch.inf, -torch.inf):
        scores = torch.rand(4, 4)
        scores[2, 1] = value
        with pytest.raises(ValueError, match=rf"score of query 2 and item 1 is {value}, not a number"):
            dense_ranks(scores, hits)
    assert dense_ranks(torch.ones(0, 4), hits[:0]).rank.tolist() == []
    check_scores(torch.full((2, 2), torch.finfo(torch.float64).max, dtype=torch.float64))
    with pytest.raises(ValueError, match="query 7 and item 5"):
        check_scores(torch.tensor([[0.0, 1.0], [torch.nan, torch.nan]]), 6, 5)


def test_vectors_are_named():
    for score in (*SCORES.values(), SUBSET_SCORES["cosine"]):
        for value in (torch.nan, -torch.inf):
            texts, items = data()
            asked = texts[None] if score is SUBSET_SCORES["cosine"] else texts
            items[1, 23, 4] = items[0, 30, 2] = value
            with pytest.raises(ValueError, match="item 23: its vector is not a number or infinite"):
                ranks(asked, items, score, RIGHT)
            texts[9, 0] = value
            with pytest.raises(ValueError, match="query 9: its vector is not a number or infinite"):
                ranks(asked, items, score, RIGHT)


def test_shapes_are_named():
    texts, items = data()
    both = r"need queries .*, got \[40, 16\], "
    for score in SCORES.values():
        for wrong, message in (
            (items[..., :8], both + r"\[2, 40, 8\]"),
            (items[0], both + r"\[40, 16\]"),
            (items[None], both + r"\[1, 2, 40, 16\]"),
            (items[:, :0], r"there are no items: they are \[2, 0, 16\]"),
            (items[:0], r"there are no items: they are \[0, 40, 16\]"),
        ):
            for way in (ranks, ranks_both):
                with pytest.raises(ValueError, match=message):
                    way(texts, wrong, score, RIGHT)
        with pytest.raises(ValueError, match=r"there are no queries: they are \[0, 16\]"):
            ranks(texts[:0], items, score, RIGHT[:0])
        with pytest.raises(ValueError, match=r"need queries .*, got \[2, 40, 16\], "):
            ranks(items, items, score, RIGHT)
    back = flipped(volume_score)
    assert ranks(items, texts, back, RIGHT).rank.shape == (40,)
    for queries, wrong in ((items[..., :8], texts), (items, texts[0]), (items[None], texts), (items[0, 0], texts)):
        with pytest.raises(ValueError, match=r"need queries \[N, D\] or \[K, N, D\] and items"):
            ranks(queries, wrong, back, RIGHT)
    with pytest.raises(ValueError, match=r"there are no queries: they are \[2, 0, 16\]"):
        ranks(items[:, :0], texts, back, RIGHT)
    with pytest.raises(ValueError, match=r"a correspondence is \[N\] or a list of lists, not \[40, 1\]"):
        ranks(texts, items, volume_score, RIGHT[:, None])


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize(
    ("text", "first", "second", "number"),
    [
        (1e-18, 1.0, 1.0, torch.float32),  # squares that are subnormal or zero
        (1e-25, 1.0, 1.0, torch.float32),
        (1e25, 1.0, 1.0, torch.float32),  # squares beyond the largest number
        (1.0, 1e-30, 1e20, torch.float32),
        (1.0, 1e5, 1e15, torch.float32),  # only their product is beyond
        (3e12, 1e4, 1e4, torch.float32),
        (1e3, 1e3, 1e3, torch.float32),
        (1e60, 1.0, 1.0, torch.float64),
        (1e-50, 1.0, 1e55, torch.float64),
        (1e-50, 1.0, 1.0, torch.float64),
    ],
)
def test_lengths_beyond_float32(name, text, first, second, number):
    """Ranks are those of unit vectors; by volume of all together where they are smaller than its ties."""
    texts, items = (side.to(number) for side in data(2))
    unscaled = ranks_both(texts, items, SCORES[name], RIGHT, 11)
    assert all((side.rank > 1).any() for side in unscaled)
    texts, items = text * texts, items * torch.tensor([first, second], dtype=number)[:, None, None]
    found = ranks_both(texts, items, SCORES[name], RIGHT, 11)
    small = name == "volume" and text * first * second < 1
    for one, other in zip(unscaled, found, strict=True):
        assert small or torch.equal(one.rank, other.rank)
        assert other.ties.tolist() == [39 if small else 0] * 40


@pytest.fixture
def in_float64(monkeypatch):
    """Ranks of both directions without screening."""

    def found(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
            return ranks_both(*arguments)

    return found


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_one_length_beyond_float32(in_float64, name, scale):
    texts, items = data(2)
    unscaled = ranks_both(texts, items, SCORES[name], RIGHT, 11)
    texts[[3, 20]] *= scale
    found = ranks_both(texts, items, SCORES[name], RIGHT, 11)
    for one, other, same in zip(unscaled, found, in_float64(texts, items, SCORES[name], RIGHT, 11), strict=True):
        assert name == "volume" or torch.equal(one.rank, other.rank)
        assert torch.equal(other.rank, same.rank)
        assert torch.equal(other.ties, same.ties)


def test_items_that_lack_their_short_modality_are_screened_by_their_long_one(in_float64):
    """Their volume is longer than any with both: what float32 makes of it strays as far as that."""
    torch.manual_seed(6)
    texts = unit(torch.randn(1, 32) + 1e-4 * torch.randn(150, 32))
    items = torch.stack(
        [1e-4 * unit(torch.randn(150, 32)), 1e3 * unit(torch.randn(1, 32) + 1e-4 * torch.randn(150, 32))]
    )
    items[0, ::2] = 0
    right = torch.arange(150)
    plain = in_float64(texts, items, volume_score, right, 40)
    for one, other in zip(plain, ranks_both(texts, items, volume_score, right, 40), strict=True):
        assert torch.equal(one.rank, other.rank)
        assert torch.equal(one.ties, other.ties)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("scale", [1e-3, 1e2, 1e4, 1e6, 1e25])
@pytest.mark.parametrize("precision", ["highest", "high"])
def test_no_truth_stands_above_itself(name, scale, precision):
    """Whatever rounding is at that size: items are equal to each other, and some lie in the span of the text."""
    texts, items = (side.double() for side in data(4))
    items = items[:, torch.arange(40) // 4]
    items[1, :8] = texts[:8] + 1e-4 * items[1, :8]
    texts[30:] *= 1e-3
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        plain, found = (
            ranks_both(c * texts, c * items, SCORES[name], [[i, (i + 7) % 40] for i in range(40)], 11)
            for c in (1.0, scale)
        )
    finally:
        torch.set_float32_matmul_precision(before)
    if name == "volume" and scale < 1:
        return
    for one, other in zip(plain, found, strict=True):
        assert torch.equal(one.rank, other.rank)
        assert torch.equal(one.ties, other.ties)
        torch.testing.assert_close(one.precision, other.precision)


def test_lengths_beyond_float64_are_an_error():
    texts, items = (side.double() for side in data())
    long = torch.ones(40, 1, dtype=torch.float64)
    long[3] = 1e200
    with pytest.raises(ValueError, match="query 3: its vector is not a number or infinite"):
        ranks(long * texts, items, volume_score, RIGHT)
    with pytest.raises(ValueError, match=r"score of query \d+ and item \d+ is (nan|-?inf), not a number"):
        ranks(1e110 * texts, 1e110 * items, volume_score, RIGHT)


def test_lengths_are_exact_in_every_format():
    z = torch.tensor([[3e-30, 4e-30], [0.0, 0.0], [3e25, 4e25], [0.6, 0.8]])
    assert finite_lengths("query", z).tolist() == pytest.approx([5e-30, 0, 5e25, 1], rel=1e-6)
    assert finite_lengths("query", z.double()).dtype == torch.float64
    assert finite_lengths("query", torch.stack([z, z])).shape == (2, 4)
    half = torch.full((1, 4), 6e4, dtype=torch.float16)
    assert finite_lengths("query", half).tolist() == pytest.approx([1.2e5], rel=1e-3)


@pytest.mark.parametrize("name", SCORES)
def test_the_callers_autocast_moves_no_rank(name):
    texts, items = data(3)
    texts = unit(texts[0] + 1e-3 * texts)  # near to each other: bfloat16 cannot tell them apart
    items = unit(texts + 1e-3 * items)
    plain = ranks_both(texts, items, SCORES[name], RIGHT)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ranks_both(texts, items, SCORES[name], RIGHT)
    assert [side.rank.tolist() for side in found] == [side.rank.tolist() for side in plain]


def test_a_right_item_that_is_named_twice_counts_once():
    matrix = torch.tensor([[0.5, 0.5, 0.5, 0.2], [0.1, 0.9, 0.3, 0.9]], dtype=torch.float64)
    once = ranks(numbers(2), numbers(4), lookup(matrix), [[0], [3, 1]])
    twice = ranks(numbers(2), numbers(4), lookup(matrix), [[0, 0, 0], [3, 1, 3]])
    assert once.ties.tolist() == [2, 0]
    for one, other in zip(once, twice, strict=True):
        assert torch.equal(one, other)
