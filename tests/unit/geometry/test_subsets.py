"""Scores of any subset with any other against float64 determinants, pair by pair."""

import pytest
import torch

from pipeline.geometry import SCORES, SUBSET_SCORES, flipped, unit


def pieces(counts, seed=0, width=9):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(m, n, width, generator=generator, dtype=torch.float64) for m, n in counts]


def determinant(vectors):
    kept = vectors[vectors.any(-1)]
    return float(torch.linalg.det(kept @ kept.mT)) if len(kept) else 1.0


@pytest.mark.parametrize(("left", "right"), [(1, 1), (1, 3), (3, 1), (2, 1), (2, 2), (2, 4), (4, 2), (3, 3)])
def test_against_determinants(left, right):
    queries, items = pieces([(left, 5), (right, 6)], seed=left + right)
    items[0, 2], queries[-1, 3] = 0, 0  # missing
    items[0, 4] = queries[0, 4] + 1e-3 * items[0, 4]  # nearly dependent
    items[0, 5] = queries[0, 0]  # dependent
    volume, residual, cosine = (SUBSET_SCORES[name](queries, items) for name in ("volume", "residual", "cosine"))
    for i in range(5):
        for j in range(6):
            q, d = queries[:, i], items[:, j]
            joint = max(determinant(torch.cat([q, d])), 0.0)
            assert volume[i, j] == pytest.approx(-(joint**0.5), abs=2e-5)
            assert residual[i, j] == pytest.approx(-joint / (determinant(q) * determinant(d)), abs=1e-9)
            means = [(side / side.norm(dim=-1, keepdim=True).clamp_min(1e-300)).sum(0) for side in (q, d)]
            lengths = means[0].norm() * means[1].norm()
            assert cosine[i, j] == pytest.approx(float(means[0] @ means[1] / lengths) if lengths else 0.0)


@pytest.mark.parametrize("name", SCORES)
def test_a_text_alone_is_the_text_score(name):
    texts, items = pieces([(1, 7), (3, 8)])
    items[1, 3] = 0
    torch.testing.assert_close(SUBSET_SCORES[name](texts, items), SCORES[name](texts[0], items))
    torch.testing.assert_close(SUBSET_SCORES[name](items, texts), flipped(SCORES[name])(items, texts[0]))


def test_more_of_a_query_never_raises_its_residual_to_an_item():
    queries, items = (unit(side) for side in pieces([(3, 20), (2, 30)], width=12))
    whole, part = SUBSET_SCORES["residual"](queries, items), SUBSET_SCORES["residual"](queries[:2], items)
    assert (whole >= part - 1e-12).all()
    with pytest.raises(ValueError, match="need queries"):
        SUBSET_SCORES["volume"](queries[0], items)
