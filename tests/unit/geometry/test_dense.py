"""Ranks of a held matrix: literally, and equal to the streamed ones, ties and seeds included."""

import pytest
import torch

from pipeline.geometry import SCORES, dense_ranks, unit
from pipeline.geometry.ranking import ranks_both


def test_literally():
    scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [2.0, 2.0, 1.0]])
    hits = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    found = dense_ranks(scores, hits)
    assert found.rank.tolist() == [1, 2, 3]
    assert found.ties.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="row 1 has no hit"):
        dense_ranks(scores, torch.tensor([[1, 0, 0], [0, 0, 0], [0, 0, 1]], dtype=torch.bool))


def test_ties_are_scores_within_1e_7():
    ulp = 2.0**-24  # of float32 numbers in [0.5, 1): 6e-8
    half = torch.tensor([[0.5, 0.5 + ulp, 0.5 + 2 * ulp, 0.5 - ulp / 2, 0.5 - 2 * ulp]])
    found = dense_ranks(half, torch.tensor([[True, False, False, False, False]]))
    assert found.ties.tolist() == [2]  # the second and the fourth
    assert found.rank.tolist()[0] in (2, 3, 4)  # the third is ahead, the fifth behind
    assert found.precision.tolist() == pytest.approx([(1 / 2 + 1 / 3 + 1 / 4) / 3])


def test_hits_within_1e_7_of_each_other_share_their_places():
    scores = torch.tensor([[0.5, 0.5 + 5e-8, 0.5 + 2e-8, 0.3]], dtype=torch.float64)
    found = dense_ranks(scores, torch.tensor([[True, True, False, False]]))
    orders = [(1 + 1) / 2, (1 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 2]  # the miss last, between, first
    assert found.precision.tolist() == pytest.approx([sum(orders) / 3])


def test_seed_is_0_unless_given():
    tied, hits = torch.zeros(50, 10), torch.nn.functional.one_hot(torch.arange(50) % 10).bool()
    assert torch.equal(dense_ranks(tied, hits).rank, dense_ranks(tied, hits, 0).rank)
    assert not torch.equal(dense_ranks(tied, hits).rank, dense_ranks(tied, hits, 1).rank)


def test_a_collapsed_model_scores_at_chance():
    found = dense_ranks(torch.zeros(2000, 10), torch.nn.functional.one_hot(torch.arange(2000) % 10).bool())
    assert found.ties.tolist() == [9] * 2000
    assert 0.07 < float((found.rank == 1).double().mean()) < 0.13
    assert 5.2 < float(found.rank.double().mean()) < 5.8


@pytest.mark.parametrize("name", SCORES)
def test_equal_to_the_streamed_ranks(name):
    torch.manual_seed(4)
    texts = unit(torch.randn(23, 5)).double()
    items = unit(texts.repeat(2, 1) + torch.randn(2, 46, 5)).double()
    items[:, 30:40] = items[:, :10]  # tied hits and tied misses
    right = [[i, i + 23] for i in range(23)]
    hits = torch.zeros(23, 46, dtype=torch.bool)
    for text, clips in enumerate(right):
        hits[text, clips] = True
    matrix = SCORES[name](texts, items)
    streamed = ranks_both(texts, items, SCORES[name], right, block=9, seed=5)
    for one, other in zip(streamed, (dense_ranks(matrix, hits, 5), dense_ranks(matrix.mT, hits.mT, 5)), strict=True):
        assert torch.equal(one.rank, other.rank)
        assert torch.equal(one.ties, other.ties)
    assert sum(int(side.ties.sum()) for side in streamed)
