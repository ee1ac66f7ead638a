"""Volumes, areas and residuals against determinants, projections and their known identities."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.geometry import (
    dot,
    factorised_volume,
    gram,
    pairwise_area,
    pairwise_residual,
    pairwise_volume,
    unit,
    unit_volume,
    volume,
)
from pipeline.geometry.volume import EPSILON, determinant, directions, root
from tests.unit.geometry.oracles import determinant_volume, every_pair, tuples

quick = settings(max_examples=25, deadline=None, derandomize=True)


def projection_residual(query, vectors):
    basis = torch.stack(list(vectors), 1)
    rest = query - basis @ torch.linalg.pinv(basis) @ query
    return float(rest @ rest / (query @ query))


def edges_determinant(query, vectors):
    edges = torch.stack([v - query for v in vectors])
    return float(torch.linalg.det(edges @ edges.T)) / 2


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("modalities", [2, 3, 4, 5, 7])
def test_closed_form_equals_factorised_equals_determinant(modalities, unit):
    z = tuples(modalities, 5, 8, unit=unit)
    queries, items = z[0], z[1:, :4]
    expected = every_pair(lambda q, d: determinant_volume([q, *d]), queries, items)
    torch.testing.assert_close(pairwise_volume(queries, items), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(factorised_volume(queries, items), expected, rtol=1e-9, atol=1e-12)
    own = [determinant_volume(list(z[:, i])) for i in range(5)]
    torch.testing.assert_close(volume(z), torch.tensor(own, dtype=torch.float64), rtol=1e-9, atol=1e-12)


def test_volume_of_unit_rows_has_the_general_value_and_gradient_through_normalisation():
    leaf = tuples(3, 6, 8, seed=12, unit=False).requires_grad_()
    weights = tuples(1, 6, 6, seed=13)[0]
    found = []
    for function in (pairwise_volume, unit_volume):
        z = unit(leaf)
        value = function(z[0], z[1:])
        found.append((value, torch.autograd.grad((value * weights).sum(), leaf)[0]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)


def test_volume_of_unit_rows_needs_no_gradient_for_a_side_that_is_held():
    z = tuples(3, 4, 6, seed=14)
    text, items = z[0].clone().requires_grad_(), z[1:].clone().requires_grad_()
    both = torch.autograd.grad(unit_volume(text, items).sum(), (text, items))
    alone = torch.autograd.grad(unit_volume(text, items.detach()).sum(), text)
    beside = torch.autograd.grad(unit_volume(text.detach(), items).sum(), items)
    torch.testing.assert_close((*alone, *beside), both)


@pytest.mark.parametrize("modalities", [2, 3, 4, 6])
def test_residual_and_area_against_projection_and_edges(modalities):
    z = tuples(modalities, 5, 8, seed=1, unit=False)
    residual = every_pair(projection_residual, z[0], z[1:, :4])
    torch.testing.assert_close(pairwise_residual(z[0], z[1:, :4]), residual, rtol=1e-9, atol=1e-12)
    area = every_pair(edges_determinant, z[0], z[1:, :4])
    torch.testing.assert_close(pairwise_area(z[0], z[1:, :4]), area, rtol=1e-9, atol=1e-12)


def test_triangle_area_is_the_releases_expression():
    t, v, a = tuples(3, 4, 6, seed=2)
    u, w = t[:, None] - v, t[:, None] - a
    expected = (u.square().sum(-1) * w.square().sum(-1) - (u * w).sum(-1).square()) / 2
    torch.testing.assert_close(pairwise_area(t, torch.stack([v, a])), expected)


def test_determinant_splits_into_item_and_residual():
    z = tuples(4, 6, 9, seed=3)
    own = volume(z[1:])
    expected = (own.square() * pairwise_residual(z[0], z[1:])).sqrt()
    torch.testing.assert_close(pairwise_volume(z[0], z[1:]), expected)


def test_volume_of_equal_pair_is_zero_whatever_the_third_vector():
    t, a = tuples(2, 6, 5, seed=4)
    z = torch.stack([t, t, a])
    assert volume(z).abs().max() == 0
    assert pairwise_volume(t, torch.stack([t, a])).diagonal().abs().max() < 1e-6
    assert volume(torch.stack([t, a, (t + a) / 2])).abs().max() == 0  # coplanar, not collinear
    assert pairwise_volume(-t, torch.stack([t, a])).diagonal().abs().max() < 1e-6  # signs are ignored


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("modalities", [2, 3, 4, 5])
def test_gradients_are_finite_at_dependent_tuples(modalities, dtype):
    t = tuples(1, 4, 6, seed=5)[0].to(dtype)
    for z in (torch.stack([t] * modalities), torch.zeros(modalities, 4, 6, dtype=dtype)):
        leaf = z.clone().requires_grad_()
        items = leaf[1:]
        total = volume(leaf).sum() + pairwise_volume(leaf[0], items).sum()
        total = total + factorised_volume(leaf[0], items).sum() + pairwise_residual(leaf[0], items).sum()
        (total + pairwise_area(leaf[0], items).sum()).backward()
        assert leaf.grad.isfinite().all()
        assert volume(z).abs().max() < 1e-3
    doubled = torch.stack([t] * modalities).requires_grad_()
    volume(doubled).sum().backward()
    assert doubled.grad.abs().max() < 1e-2


@pytest.mark.parametrize("function", [unit_volume, dot])
def test_gradcheck_of_explicit_scores(function):
    z = tuples(3, 3, 5).requires_grad_()
    chosen = slice(1, 3 if function is unit_volume else 2)
    assert (function(z[0], z[chosen]) != 0).all()
    assert torch.autograd.gradcheck(lambda z: function(z[0], z[chosen]), z)


def test_explicit_scores_are_of_their_number_of_vectors():
    z = tuples(3, 3, 5)
    for items in (z[1:2], z):
        with pytest.raises(ValueError, match="triples"):
            unit_volume(z[0], items)
    with pytest.raises(ValueError, match="one vector"):
        dot(z[0], z[1:])


@pytest.mark.parametrize("modalities", [2, 3, 4])
@pytest.mark.parametrize(
    "function",
    [volume, *(lambda z, f=f: f(z[0], z[1:]) for f in (
        pairwise_volume, factorised_volume, pairwise_residual, pairwise_area))],
)  # fmt: skip
def test_gradcheck(function, modalities):
    assert torch.autograd.gradcheck(function, tuples(modalities, 3, 5, unit=False).requires_grad_())


@quick
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_rotation_permutation_and_bounds(seed, modalities):
    z = tuples(modalities, 4, 6, seed=seed)
    turn = torch.linalg.qr(tuples(1, 6, 6, seed=seed + 1)[0])[0]
    order = torch.randperm(modalities, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(volume(z @ turn), volume(z))
    torch.testing.assert_close(volume(z[order]), volume(z))
    torch.testing.assert_close(pairwise_volume(z[0] @ turn, z[1:] @ turn), pairwise_volume(z[0], z[1:]))
    torch.testing.assert_close(pairwise_residual(z[0], z[1:].flip(0)), pairwise_residual(z[0], z[1:]))
    torch.testing.assert_close(pairwise_area(z[0], z[1:].flip(0)), pairwise_area(z[0], z[1:]))
    assert (volume(z) <= 1 + 1e-12).all()
    assert (pairwise_residual(z[0], z[1:]) <= 1 + 1e-12).all()


def test_numerical_rank_rule():
    v = torch.tensor([[1.0, 0, 0]], dtype=torch.float64)
    t = torch.tensor([[0.0, 1, 0]], dtype=torch.float64)

    def near(cosine):
        return torch.tensor([[cosine, (1 - cosine**2) ** 0.5, 0]], dtype=torch.float64)

    inside, outside = near(1 - 0.5e-6), near(1 - 2e-6)
    assert pairwise_residual(t, torch.stack([v, inside])).item() == 1.0  # one direction: t is orthogonal to it
    assert pairwise_residual(t, torch.stack([v, outside])).item() < 1e-9  # two directions: t lies in their plane
    assert pairwise_residual(t, torch.stack([v, -inside])).item() == 1.0
    basis, height = directions(torch.stack([v, inside]))
    assert height[1].item() == 0
    assert basis[1].abs().max() == 0


def test_zero_vectors_and_small_volumes():
    t, v = tuples(2, 3, 5, seed=6)
    zero = torch.zeros_like(v)
    torch.testing.assert_close(pairwise_residual(t, torch.stack([v, zero])), pairwise_residual(t, v[None]))
    assert (pairwise_residual(zero, v[None]) == 1).all()
    assert (pairwise_volume(t, torch.stack([v, zero])) == 0).all()
    small = torch.tensor([0.9 * EPSILON, 1.1 * EPSILON], dtype=torch.float64)
    assert root(small)[0] == 0
    assert root(small)[1] == (1.1 * EPSILON) ** 0.5
    assert root(small * 4, 4.0)[0] == 0  # the bound scales with the lengths


def test_nearly_dependent_items_keep_an_orthogonal_basis():
    v = tuples(1, 4, 6, seed=7)[0]
    items = torch.stack([v, v + 3e-3 * tuples(1, 4, 6, seed=8)[0], v - 4e-3 * tuples(1, 4, 6, seed=9)[0]]).float()
    basis, _ = directions(items)
    inner = torch.einsum("knd,lnd->nkl", basis, basis)
    torch.testing.assert_close(inner, torch.eye(3).expand(4, 3, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_inputs_are_computed_in_float32(dtype):
    z = tuples(3, 5, 16, seed=10).to(dtype)
    pairs = (pairwise_volume, unit_volume, pairwise_residual, pairwise_area)
    for value in (volume(z), *(function(z[0], z[1:]) for function in pairs)):
        assert value.dtype == torch.float32
        assert value.isfinite().all()
    torch.testing.assert_close(volume(z), volume(z.float()))


def test_gram_and_determinant():
    z = tuples(4, 3, 6, unit=False)
    for i in range(3):
        torch.testing.assert_close(gram(z)[i], z[:, i] @ z[:, i].T)
    torch.testing.assert_close(determinant(gram(z)), torch.linalg.det(gram(z)))


def test_shapes_that_do_not_fit():
    z = tuples()
    for function in (pairwise_volume, unit_volume, pairwise_residual, pairwise_area):
        for queries, items in ((z[0], z[1]), (z[0], z[1:, :, :3]), (z, z[1:]), (z[0], z[:0])):
            with pytest.raises(ValueError, match="queries"):
                function(queries, items)
    for bad in (z[0], z[:1]):
        with pytest.raises(ValueError, match="two modalities"):
            volume(bad)
