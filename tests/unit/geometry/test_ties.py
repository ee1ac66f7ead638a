"""Average precision against every order of tied items, streamed and held, with several right answers."""

from itertools import combinations, permutations

import pytest
import torch

from pipeline.geometry import SCORES, dense_ranks, ranks, unit
from pipeline.geometry.ranking import ranks_both
from pipeline.geometry.ties import average_precision, places


def naive(scores, hits):
    """Mean average precision over all orders of equal scores."""
    levels = sorted(set(scores), reverse=True)
    groups = [[i for i, score in enumerate(scores) if score == level] for level in levels]
    orders = [[]]
    for group in groups:
        orders = [order + list(part) for order in orders for part in permutations(group)]
    total = 0.0
    for order in orders:
        found, value = 0, 0.0
        for place, item in enumerate(order, start=1):
            if item in hits:
                found += 1
                value += found / place
        total += value / len(hits)
    return total / len(orders)


@pytest.mark.parametrize("seed", range(6))
def test_against_every_order_of_ties(seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 4, (8, 7), generator=generator).double()
    hits = torch.rand(8, 7, generator=generator) < 0.4
    hits[torch.arange(8), torch.randint(0, 7, (8,), generator=generator)] = True
    expected = [naive(row.tolist(), set(hit.nonzero()[:, 0].tolist())) for row, hit in zip(scores, hits, strict=True)]
    assert dense_ranks(scores, hits).precision.tolist() == pytest.approx(expected)
    numbers = torch.arange(8, dtype=torch.float64)[:, None], torch.arange(7, dtype=torch.float64)[:, None]
    right = [hit.nonzero()[:, 0].tolist() for hit in hits]
    for block in (1, 3, 8):
        found = ranks(*numbers, lambda r, c: scores[r[:, 0].long()][:, c[:, 0].long()], right, block)
        assert found.precision.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", SCORES)
def test_streamed_by_our_scores_both_ways(name):
    torch.manual_seed(2)
    texts = unit(torch.randn(20, 6))
    items = unit(texts.repeat(3, 1) + torch.randn(2, 60, 6))
    items[:, 50:] = items[:, 20:30]  # tied hits of one text, misses of others
    right = [[i, i + 20, i + 40] for i in range(20)]
    right[3].append(5)  # and item 5 answers two texts
    hits = torch.zeros(20, 60, dtype=torch.bool)
    for text, clips in enumerate(right):
        hits[text, clips] = True
    matrix = SCORES[name](texts.double(), items.double())
    expected = [dense_ranks(matrix, hits).precision, dense_ranks(matrix.mT, hits.mT).precision]
    for block in (1, 7, 60):
        for found, wanted in zip(ranks_both(texts, items, SCORES[name], right, block), expected, strict=True):
            torch.testing.assert_close(found.precision, wanted, rtol=1e-12, atol=0)


def test_one_right_answer_without_ties_is_the_reciprocal_rank():
    texts, items = unit(torch.randn(50, 8)), unit(torch.randn(2, 50, 8))
    for found in ranks_both(texts, items, SCORES["volume"], torch.arange(50)):
        assert torch.equal(found.precision, 1 / found.rank.double())


def test_a_collapsed_model_has_the_mean_over_all_places():
    n = 1000
    value = average_precision(torch.tensor([0]), torch.ones(1).double(), torch.tensor([0]), torch.tensor([n]), 1)
    assert float(value) == pytest.approx(sum(1 / k for k in range(1, n + 1)) / n)


@pytest.mark.parametrize(("wrong", "right"), [(1, 1), (4, 1), (3, 2), (5, 3), (2, 7)])
def test_places_are_those_of_every_order(wrong, right):
    n = 20_000
    every = combinations(range(wrong + right), right)  # places of the right ones, each as likely as any other
    orders = [min(own) for own in every]
    found = places(torch.full((n,), wrong), torch.full((n,), right), 3).bincount(minlength=wrong + 1).double() / n
    expected = torch.tensor(orders).bincount(minlength=wrong + 1).double() / len(orders)
    error = (expected * (1 - expected) / n).sqrt()
    assert found.shape == expected.shape
    assert ((found - expected).abs() <= 4 * error).all()


def test_a_place_is_a_function_of_seed_and_query_number():
    wrong, right = torch.randint(0, 40, (2, 300), generator=torch.Generator().manual_seed(0))
    whole = places(wrong, right + 1, 5)
    assert (whole <= wrong).all()
    assert whole[wrong == 0].sum() == 0
    for number in (1, 16, 17, 299):
        assert torch.equal(places(wrong[:number], right[:number] + 1, 5), whole[:number])
    others = wrong.clone()
    others[:200] = 3  # other queries' ties
    assert torch.equal(places(others, right + 1, 5)[200:], whole[200:])
    assert not torch.equal(places(wrong, right + 1, 6), whole)


def test_places_among_many():
    n, wrong = 1000, 10**6
    found = places(torch.full((n,), wrong), torch.ones(n, dtype=torch.int64), 0).double() / wrong
    assert found.max() <= 1
    assert found.sort().values.sub(torch.linspace(0, 1, n)).abs().max() < 0.05  # uniform (Kolmogorov-Smirnov)
    few = places(torch.full((n,), wrong), torch.full((n,), 99), 0).double() / wrong
    assert float(few.mean()) == pytest.approx(1 / 100, rel=0.15)
