"""Thresholds and series by literal values, so that no constant can be halved or doubled unseen."""

import math

import pytest
import torch

from pipeline.geometry import conflict_bound, pairwise_residual, squared_geodesic, volume_score
from pipeline.geometry.kernels import geodesic_slope
from pipeline.geometry.ranking import ranks
from pipeline.geometry.unit_volume import unit_volume
from pipeline.geometry.volume import factorised_volume, pairwise_volume, root, volume


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_a_determinant_of_1e_10_of_its_bound_counts_as_dependent():
    for bound in (1.0, 4.0):
        found = root(bound * double(0.9e-10, 1.1e-10), bound)
        assert found[0] == 0
        assert found[1] == pytest.approx(math.sqrt(bound * 1.1e-10))


@pytest.mark.parametrize("length", [0.01, 1.0, 30.0])
@pytest.mark.parametrize(("beyond", "directions"), [(0.9e-6, 1), (1.1e-6, 2)])
def test_a_cosine_within_1e_6_of_one_adds_no_direction(beyond, directions, length):
    cosine = 1 - beyond
    item = double([1, 0, 0], [cosine, math.sqrt(1 - cosine**2), 0])[:, None] * length
    residual = pairwise_residual(double([0, 1, 0]), item).item()
    assert residual == pytest.approx(2 - directions, abs=1e-9)


@pytest.mark.parametrize("length", [0.01, 1.0, 30.0])
@pytest.mark.parametrize(("across", "flat"), [(0.9e-5, True), (1.1e-5, False)])
def test_dependence_is_of_directions_whatever_the_lengths(across, flat, length):
    """det G / (product of squared lengths) = across^2 against 1e-10, of whole tuples, pairs and scores."""
    text, item = double([1, 0, 0]) * length, double([4, 4 * across, 0], [0, 0, 5])[:, None]
    expected = 0 if flat else pytest.approx(across * length * 20, rel=1e-5)
    assert volume(torch.cat([text[None], item])).item() == expected
    assert pairwise_volume(text, item).item() == expected
    assert factorised_volume(text, item).item() == expected
    assert -volume_score(text, item).item() == expected
    alone = volume_score.pairs(text, volume_score.prepare(item), torch.tensor([0]))
    assert -alone.item() == expected


@pytest.mark.parametrize(("across", "flat"), [(1.3e-7, True), (1.5e-7, False)])
def test_an_items_volume_is_kept_down_to_a_cosine_of_1_minus_1e_14(across, flat):
    item = double([1, 0, 0], [1, across, 0])[:, None]  # 1 - cosine is across^2 / 2
    found = volume_score(double([0, 0, 1]), item).item()
    assert found == (0 if flat else pytest.approx(-across, rel=1e-6))


def test_scores_within_1e_7_are_tied():
    scores = double([1.0, 1 + 0.9e-7, 1 - 0.9e-7, 1 + 1.1e-7, 1 - 1.1e-7])
    found = ranks(
        torch.zeros(1, 1).double(), torch.arange(5)[:, None].double(),
        lambda queries, items: scores[:, items[..., 0].long()].expand(len(queries), -1), torch.tensor([0]),
    )  # fmt: skip
    assert found.ties.tolist() == [2]
    assert 2 <= found.rank.item() <= 4


def test_slope_of_the_squared_angle_by_its_series_and_at_antipodes():
    x = torch.logspace(-6, math.log10(0.999e-3), 25, dtype=torch.float64)
    theta = 2 * (x / 2).sqrt().arcsin()  # 1 - cos theta = x without cancellation
    torch.testing.assert_close(geodesic_slope(1 - x), theta / theta.sin(), rtol=1e-10, atol=0)
    held = math.acos(-1 + 1e-6)
    for cosine in (-1.0, -1.5, -1 + 0.5e-6):
        assert geodesic_slope(double(cosine)).item() == pytest.approx(held / math.sin(held), rel=1e-6)
    leaf = double(-1.0, 0.0).requires_grad_()
    squared_geodesic(leaf).sum().backward()
    assert leaf.grad.tolist() == pytest.approx([-2 * held / math.sin(held), -math.pi], rel=1e-6)


def test_bound_of_chi_by_hand():
    assert conflict_bound(2, 0.3).item() == 0
    assert conflict_bound(4, 0.25).item() == pytest.approx(1 - math.sqrt(1.5 / 3))
    assert conflict_bound(5, -0.9).item() == 1  # no tuple has such a mean cosine


@pytest.mark.parametrize(("across", "flat"), [(0.9e-5, True), (1.1e-5, False)])
def test_dependence_of_unit_rows(across, flat):
    text, item = double([1, 0, 0]), double([math.cos(across), math.sin(across), 0], [0, 0, 1])[:, None]
    assert unit_volume(text, item).item() == (0 if flat else pytest.approx(across, rel=1e-5))


@pytest.mark.parametrize("function", [pairwise_volume, unit_volume])
def test_a_dependent_triple_has_gradient_0_among_others_that_have_not(function):
    """Text 0 lies in the plane of item 0 and outside that of item 1."""
    text = double([0.6, 0.8, 0, 0]).requires_grad_()
    items = double([1, 0, 0, 0], [0, 1, 0, 0])[:, None].repeat(1, 2, 1)
    items[1, 1] = double([0, 0, 1, 0])
    items.requires_grad_()
    found = function(text, items)
    assert found[0, 0] == 0
    by_text, by_items = torch.autograd.grad(found[0, 0] + 0 * found[0, 1], (text, items), retain_graph=True)
    assert not by_text.any()
    assert not by_items.any()
    by_text, by_items = torch.autograd.grad(found.sum(), (text, items))
    assert by_text.any()
    assert by_items[:, 1].any()
    assert not by_items[:, 0].any()
