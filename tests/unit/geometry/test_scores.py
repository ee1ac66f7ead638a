"""Scores, ranks, hubness and metrics on literal matrices and against full sorts."""

import pytest
import torch

from pipeline.geometry import (
    SCORES,
    cosine_score,
    flipped,
    hubness,
    hubness_both,
    mean_rank,
    median_rank,
    mrr,
    pairwise_volume,
    ranks,
    recall_at,
    residual_score,
    unit,
    volume_score,
)
from tests.unit.geometry.oracles import tuples


def table(scores):
    """A score function that reads a matrix: queries and items carry their numbers."""

    def score(queries, items):
        return scores[queries[..., 0].long()][:, items[..., 0].long()]

    return score


def numbered(n):
    return torch.arange(n, dtype=torch.float64)[:, None]


def test_scores_of_complete_items():
    z = tuples(3, 5, 6, seed=1)
    mean = z[1] + z[2]
    torch.testing.assert_close(cosine_score(3 * z[0], 2 * z[1:]), z[0] @ (mean / mean.norm(dim=-1, keepdim=True)).T)
    torch.testing.assert_close(volume_score(z[0], z[1:]), -pairwise_volume(z[0], z[1:]))
    plane = torch.linalg.qr(z[1:].permute(1, 2, 0))[0]
    inside = torch.einsum("td,idk->tik", z[0], plane).square().sum(-1)
    torch.testing.assert_close(residual_score(z[0], z[1:]), inside - 1)
    torch.testing.assert_close(flipped(cosine_score)(z[1:], z[0]), cosine_score(z[0], z[1:]).T)
    assert list(SCORES) == ["cosine", "volume", "residual"]


def test_scores_of_items_with_missing_modalities():
    z = tuples(3, 4, 6, seed=2)
    items = z[1:].clone()
    items[1, 2] = 0
    for score in SCORES.values():
        found, single = score(z[0], items), score(z[0], z[1:2])
        torch.testing.assert_close(found[:, 2], single[:, 2])
        torch.testing.assert_close(found[:, :2], score(z[0], z[1:])[:, :2])
    nothing = z[0] * 0  # a text without a direction is as far as can be, pair by pair too
    found = residual_score(nothing, items)
    assert (found == -1).all()
    pairs = residual_score.pairs(nothing, residual_score.prepare(items), torch.arange(4))
    assert torch.equal(pairs, found.diagonal())
    empty = torch.zeros(2, 1, 6, dtype=torch.float64)
    assert [score(z[0], empty).unique().item() for score in SCORES.values()] == pytest.approx([0, -1, -1])


def test_residual_removes_the_hub_that_volume_makes():
    """An item whose modalities are nearly dependent has a small volume with every text, and no smaller angle."""
    z = tuples(3, 12, 6, seed=3)
    z[2, 0] = z[1, 0] + 0.02 * z[2, 0]
    z[2, 0] /= z[2, 0].norm()
    assert volume_score(z[0], z[1:]).argmax(1).eq(0).all()
    assert residual_score(z[0], z[1:]).argmax(1).eq(0).sum() < 6
    backwards = [flipped(s)(z[1:], z[0]).argsort(1) for s in (volume_score, residual_score)]
    assert torch.equal(*backwards)  # item to text, the item's own volume is a constant


def test_ranks_of_literal_scores():
    scores = torch.tensor([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.2, 0.8, 0.5], [0.1, 0.2, 0.3]]).double()
    found = ranks(numbered(4), numbered(3), table(scores), torch.tensor([0, 1, 0, 2]))
    assert found.rank.tolist() == [1, 2, 3, 1]
    assert found.ties.tolist() == [0, 0, 0, 0]
    several = ranks(numbered(4), numbered(3), table(scores), [[0], [1, 2], [0, 2], [0, 1]])
    assert several.rank.tolist() == [1, 2, 2, 2]


@pytest.mark.parametrize("name", SCORES)
def test_ranks_equal_a_full_sort_for_every_block(name):
    z = tuples(3, 37, 8, seed=4).float()
    truth = torch.randperm(37, generator=torch.Generator().manual_seed(1))
    scores = SCORES[name](z[0].double(), z[1:].double())
    order = scores.argsort(1, descending=True)
    expected = (order == truth[:, None]).nonzero()[:, 1] + 1
    for block in (1, 5, 36, 100):
        assert torch.equal(ranks(z[0], z[1:], SCORES[name], truth, block).rank, expected)
    back = ranks(z[1:], z[0], flipped(SCORES[name]), truth, 5).rank
    expected = (scores.T.argsort(1, descending=True) == truth[:, None]).nonzero()[:, 1] + 1
    assert torch.equal(back, expected)


def test_ties_within_tolerance_are_counted_and_broken_at_random_but_reproducibly():
    n = 2000
    scores = torch.zeros(n, 10, dtype=torch.float64)
    scores[:, 3] = 0.9e-7
    scores[:, 4] = 1.0
    truth = torch.zeros(n, dtype=torch.int64)
    found = ranks(numbered(n), numbered(10), table(scores), truth, block=300)
    assert found.ties.unique().tolist() == [8]
    assert found.rank.min() == 2
    assert found.rank.max() == 10
    assert found.rank.double().mean().item() == pytest.approx(6.0, abs=0.2)
    again = ranks(numbered(n), numbered(10), table(scores), truth, block=7)
    assert torch.equal(found.rank, again.rank)
    assert not torch.equal(found.rank, ranks(numbered(n), numbered(10), table(scores), truth, seed=1).rank)
    scores[:, 3] = 2e-7
    assert ranks(numbered(n), numbered(10), table(scores), truth).ties.unique().tolist() == [7]


def test_collapsed_model_scores_at_chance_and_several_right_items_help_as_they_should():
    n = 4000
    flat = table(torch.zeros(n, 5, dtype=torch.float64))
    one = ranks(numbered(n), numbered(5), flat, torch.zeros(n, dtype=torch.int64))
    assert recall_at(one.rank, 1) == pytest.approx(0.2, abs=0.02)
    two = ranks(numbered(n), numbered(5), flat, [[0, 4]] * n)
    assert recall_at(two.rank, 1) == pytest.approx(0.4, abs=0.02)
    assert recall_at(two.rank, 2) == pytest.approx(0.7, abs=0.02)
    assert two.rank.max() == 4
    assert two.ties.unique().tolist() == [3]


def test_ranks_reject_what_cannot_be_ranked():
    scores = torch.rand(3, 3, dtype=torch.float64)
    for wrong in (torch.tensor([0, 1]), torch.tensor([0, 1, 3]), torch.tensor([0, 1, -1]), [[0], [], [1]]):
        with pytest.raises(ValueError, match=r"correspondence|gallery"):
            ranks(numbered(3), numbered(3), table(scores), wrong)
    z = tuples(2, 3, 4)
    z[0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="not a number"):
        ranks(z[0], z[1:], cosine_score, torch.arange(3))


def test_hubness_of_literal_scores():
    scores = torch.tensor([[3.0, 1, 2, 0], [3, 2, 1, 0], [3, 1, 2, 0], [0, 3, 1, 2]]).double()
    for block in (1, 3, 100):
        found = hubness(numbered(4), numbered(4), table(scores), 1, block)
        assert found.occurrences.tolist() == [3, 1, 0, 0]
        assert found.largest == 3
        assert found.orphans == 0.5
        assert found.skewness == pytest.approx(6.0 / 4 / (6 / 4) ** 1.5)
        two = hubness(numbered(4), numbered(4), table(scores), 2, block)
        assert (two.occurrences.tolist(), two.orphans) == ([3, 2, 2, 1], 0.0)
    assert hubness(numbered(4), numbered(4), table(scores), 4).skewness == 0.0
    with pytest.raises(ValueError, match="gallery"):
        hubness(numbered(4), numbered(4), table(scores), 5)
    assert hubness(numbered(4), numbered(4), table(scores)).occurrences.tolist() == [3, 1, 0, 0]
    assert hubness_both(numbered(4), numbered(4), table(scores))[0].occurrences.tolist() == [3, 1, 0, 0]
    one = hubness(numbered(1), numbered(4), table(scores[:1]))  # a deviation below 1
    assert one.skewness == pytest.approx((0.75**3 - 3 * 0.25**3) / 4 / (3 / 16) ** 1.5)
    forward, backward = hubness_both(numbered(4), numbered(4), table(scores), 2, 3)
    assert forward.first.tolist() == [3, 1, 0, 0]
    assert forward.winner == 0.75
    assert int(backward.occurrences.sum()) == 8


@pytest.mark.parametrize("name", SCORES)
def test_hubness_orders_as_the_score_does(name):
    z = tuples(3, 25, 6, seed=5)
    matrix = SCORES[name](z[0], z[1:])
    forward, backward = hubness_both(z[0], z[1:], SCORES[name], 4, 7)
    for found, scores in ((forward, matrix), (backward, matrix.T)):
        best = scores.topk(4, dim=1).indices
        assert torch.equal(found.occurrences, best.flatten().bincount(minlength=25))
        assert torch.equal(found.first, best[:, 0].bincount(minlength=25))
    alone = hubness(z[1:], z[0], flipped(SCORES[name]), 4, 7)
    assert torch.equal(alone.occurrences, backward.occurrences)


def strays(name, texts, items):
    """Float32's distance from float64, and the bound at the float64 score, of every pair."""
    score = SCORES[name]
    prepared = score.prepare(items.double())
    exact = score.scale(score.apply(texts.double(), prepared))
    quick = score.quick(score.ask(texts), tuple(part.float() for part in prepared)).double()
    lengths = texts.double().norm(dim=-1), items.double().norm(dim=-1)
    slack = score.precision(*lengths, texts.shape[-1]).slack
    return (quick - exact).abs(), slack(exact)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("modalities", [1, 2, 4, 9])
@pytest.mark.parametrize("kind", ["apart", "near", "one sign", "constant"])
@pytest.mark.parametrize("sizes", [0.0, 1.0])
def test_float32_strays_less_than_it_may(name, modalities, kind, sizes):
    """Also where all products have one sign, so that rounding errors need not cancel, and for texts in the span."""
    generator = torch.Generator().manual_seed(modalities)
    z = torch.randn(modalities + 1, 60, 512, generator=generator)
    if kind == "near":
        z = z[:1, :1] + 0.1 * z
    elif kind == "one sign":
        z = z.abs()
    elif kind == "constant":
        z = torch.full_like(z, 0.1) + 1e-3 * z
    z = unit(z) * torch.logspace(-sizes, sizes, 60)[:, None]
    texts, items = z[0], z[1:]
    items[0, :5] = texts[:5]
    stray, bound = strays(name, texts, items)
    assert (stray <= bound).all()
    if not sizes:
        assert float(bound.max()) < 4e-4  # wide bounds are safe and slow


def test_metrics():
    rank = torch.tensor([1, 2, 4, 10])
    assert [recall_at(rank, k) for k in (1, 2, 5, 10)] == [0.25, 0.5, 0.75, 1.0]
    assert mrr(rank) == pytest.approx((1 + 1 / 2 + 1 / 4 + 1 / 10) / 4)
    assert median_rank(rank) == 3.0
    assert mean_rank(rank) == 4.25
    for bad in (torch.tensor([]), torch.tensor([0, 1]), torch.ones(2, 2)):
        with pytest.raises(ValueError, match="ranks"):
            mrr(bad)


def lengths(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("texts", "items", "inside"),
    [
        ((1.1e-12, 1), (1, 1), True),
        ((0.9e-12, 1), (1, 1), False),
        ((0, 1), (1, 1), True),  # a zero text has no digits to lose
        ((1, 1), (0.9e18, 1), True),
        ((1, 1), (1.1e18, 1), False),
        ((1, 1e10), (1e9, 1), False),  # the product counts
        ((1e-3, 1e-3), (0.9e18, 1), True),
    ],
)
def test_float32_is_for_lengths_between_1e_12_and_1e18(texts, items, inside):
    found = volume_score.precision(lengths(*texts), lengths(*items)[None], 512)
    assert (found.slack is not None) == inside


def test_resolution_and_slack_by_hand():
    """Ties within 1e-11 of the largest score; a cosine of 512 numbers strays 1.5 (512 + 8) half units in float32."""
    one = lengths(1.0)
    assert volume_score.precision(lengths(1e3), lengths(1e3)[None], 512).tolerance == pytest.approx(1e-5)
    found = cosine_score.precision(one, one[None], 512)
    assert found.tolerance == 1e-7
    assert found.slack is not None
    assert found.slack(torch.zeros(1, dtype=torch.float64)).item() == pytest.approx(1.5 * 520 * 2.0**-24)


def test_slack_of_residual_and_volume_by_hand():
    """|Q^T t|^2 of K directions: each product errs by `each`, hence its square by 2 |x| `each` + `each`^2."""

    def error(shadow, longest, width, modalities):
        each = (width + 8) * 2.0**-24 * longest
        return 2 * each * (modalities * shadow) ** 0.5 + modalities * each**2 + (modalities + 8) * 2.0**-24 * longest**2

    scores = lengths(-0.75, -1.5, 0.5)
    texts, items = lengths(0.5, 2.0), lengths(0.25, 3.0)[None].expand(3, -1) ** (1 / 3)
    found = residual_score.precision(texts, items, 300)
    assert found.tolerance == 1e-7
    expected = [1.5 * error(shadow, 1.0, 300, 3) for shadow in (0.25, 0.0, 1.0)]
    assert found.slack(scores).tolist() == pytest.approx(expected, rel=1e-12)
    scores = lengths(-9.0, -45.0, 9.0)  # of a volume of 3 and a text of 2: shadows of 3, 0 and 4
    found = volume_score.precision(texts, items, 300)
    expected = [1.5 * 9 * error(shadow, 2.0, 300, 3) for shadow in (3.0, 0.0, 4.0)]
    assert found.slack(scores).tolist() == pytest.approx(expected, rel=1e-12)
