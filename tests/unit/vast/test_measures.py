"""Figures of evidence on literal inputs."""

import pytest
import torch

from pipeline.vast import measures


def test_auc_against_all_pairs():
    positive, negative = torch.tensor([0.9, 0.5, 0.5, 0.1]), torch.tensor([0.5, 0.2, 0.0])
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positive.tolist() for n in negative.tolist()]
    assert measures.auc(positive, negative) == pytest.approx(sum(pairs) / len(pairs))


def test_recall_shares_ties_and_gives_chance():
    scores = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    hits = torch.tensor([[True, False, False], [True, False, True], [True, False, False]])
    assert measures.recall_at_1(scores, hits) == pytest.approx((50.0, 100 * 4 / 9))
