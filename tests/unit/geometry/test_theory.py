"""Hölder divergence, conflicts and gaps against loops, identities and the counter-examples that the paper misses."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.geometry import (
    collinearity,
    conflict,
    conflict_bound,
    effective_rank,
    force_conflict,
    frechet_distance,
    holder_divergence,
    holder_terms,
    modality_gap,
    uniformity,
)
from tests.unit.geometry import oracles
from tests.unit.geometry.oracles import tuples

quick = settings(max_examples=20, deadline=None, derandomize=True)


@pytest.mark.parametrize("modalities", [2, 3, 4])
@pytest.mark.parametrize("leave", [False, True])
@pytest.mark.parametrize("anchors", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("block", [2, 50])
def test_holder_is_equation_24(modalities, leave, anchors, block):
    z = tuples(modalities, 5, 3, seed=1)
    expected = oracles.holder(z, [0.5] * modalities, leave, anchors)
    assert holder_divergence(z, 0.5, leave, anchors, block).item() == pytest.approx(expected, rel=1e-9)
    widths = [0.4, 0.6, 0.8, 0.5][:modalities]
    expected = oracles.holder(z, widths, leave, anchors)
    for each in (widths, torch.tensor(widths, dtype=torch.float64)):
        assert holder_divergence(z, each, leave, anchors, block).item() == pytest.approx(expected, rel=1e-9)


def test_holder_terms_gradients_and_errors():
    z = tuples(3, 4, 3, seed=2)
    uniform, aligned = holder_terms(z, 0.5)
    assert (uniform + aligned).item() == pytest.approx(holder_divergence(z, 0.5).item())
    assert uniform < 0 < aligned
    width = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: holder_divergence(x, w, True, (0, 2), 3), (z.requires_grad_(), width))
    for bad in (lambda: holder_divergence(z[:1], 0.5), lambda: holder_divergence(z[0], 0.5),
                lambda: holder_divergence(z, [0.5, 0.5]), lambda: holder_divergence(z, torch.full((4,), 0.5)),
                lambda: holder_divergence(z, 0.5, anchors=())):  # fmt: skip
        with pytest.raises(ValueError, match=r"modalities|widths"):
            bad()


def test_holder_of_equal_modalities_is_zero_for_two_and_stays_finite_at_the_papers_width():
    z = tuples(1, 6, 8, seed=3)
    assert holder_divergence(torch.cat([z, z]), 0.3).item() == pytest.approx(0.0, abs=1e-12)
    assert holder_divergence(torch.cat([z, z, z]), 0.3).item() == pytest.approx(0.0, abs=1e-12)
    apart = torch.cat([z, -z]).float()
    assert holder_divergence(apart, 0.07).isfinite()
    assert holder_divergence(apart, 0.07) > 10


def test_plug_in_estimate_can_be_negative():
    """Only exact densities give D >= 0: the joint estimate can exceed the geometric mean of the own ones."""
    apart = torch.tensor([[0.0, 0.0, 0.0], [-0.3, 0.3, 0.0], [0.3, 0.0, -0.3]], dtype=torch.float64)[..., None]
    assert holder_divergence(apart, 0.5).item() == pytest.approx(oracles.holder(apart, [0.5] * 3))
    assert holder_divergence(apart, 0.5).item() < -0.04
    spread = torch.stack([torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]] * 2)
    assert holder_divergence(spread, 0.1, leave_one_out=True).item() < 0
    assert holder_divergence(spread, 0.1, leave_one_out=True) < holder_divergence(spread, 0.1) - 1


def test_widths_of_their_own_bring_the_kernels_normalisers():
    z = tuples(3, 6, 4, seed=3)
    common, own = holder_terms(z, 0.5), holder_terms(z, [0.5] * 3)
    logs = -2 * 4 / 2 * math.log(2 * math.pi * 0.5**2)  # M - 1 = 2 factors in D = 4 dimensions
    assert (own[0] - common[0]).item() == pytest.approx(logs)
    assert (own[1] - common[1]).item() == pytest.approx(-logs)


@quick
@given(st.integers(0, 10**6))
def test_uniformity_bounds_the_two_modality_term_from_below(seed):
    """Jensen: log of a mean is at least the mean of logs, so a small U does not force the term down."""
    z = tuples(2, 6, 4, seed=seed)
    term = holder_terms(z, 0.5, leave_one_out=True)[0]
    assert (uniformity(z[0], 0.5) + uniformity(z[1], 0.5)) / 2 <= term + 1e-12


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("modalities", [2, 3, 5])
@pytest.mark.parametrize("anchor", [0, 1, -1])
def test_conflict_is_equation_4(exclude, modalities, anchor):
    z = tuples(modalities, 6, 5, seed=4)
    zeta, chi = conflict(z, anchor, 0.3, exclude)
    expected = oracles.conflict(z, anchor % modalities, 0.3, exclude)
    torch.testing.assert_close(zeta, expected[0])
    torch.testing.assert_close(chi, expected[1])


def test_zeta_as_printed_is_one_at_the_optimum_of_infonce():
    z = torch.eye(6, dtype=torch.float64).expand(3, 6, 6)
    printed, chi = conflict(z, 0, 0.05)
    assert printed.min() > 0.999
    assert conflict(z, 0, 0.05, exclude_self=True)[0].abs().max() < 1e-6
    assert chi.abs().max() < 1e-12
    zeta, _ = conflict(z[:, :1], 0, 0.05, exclude_self=True)  # nobody else pushes
    assert zeta.item() == 0
    with pytest.raises(ValueError, match="two modalities"):
        conflict(z[0], 0, 0.1)


def test_autograd_measure_is_zeta_for_one_direction_of_infonce():
    z = tuples(3, 6, 5, seed=5)
    anchor = z[0].clone().requires_grad_()
    pull = -sum((anchor * z[n]).sum() / 0.2 for n in (1, 2))
    push = sum((anchor @ z[n].T / 0.2).logsumexp(1).sum() for n in (1, 2))
    torch.testing.assert_close(force_conflict(pull, push, anchor), conflict(z, 0, 0.2)[0])
    assert (force_conflict(pull, (z[0] * 2).sum() + 0 * anchor.sum(), anchor) == 0).all()


@quick
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_corollary_2_bounds_chi_at_the_mean_cosine_of_the_positives(seed, modalities):
    z = tuples(modalities, 40, 8, seed=seed)
    z = (z + 1.5 * z[:1]) / (z + 1.5 * z[:1]).norm(dim=-1, keepdim=True)
    others = z[1:]
    cosines = torch.einsum("mbd,nbd->mn", others, others) / 40
    pairs = max((modalities - 1) * (modalities - 2), 1)
    mu = float((cosines.sum() - cosines.trace()) / pairs) if modalities > 2 else 1.0
    assert conflict(z, 0, 0.1)[1].mean() >= conflict_bound(modalities, mu) - 1e-12
    expected = 1 - math.sqrt((1 + (modalities - 2) * 0.4) / (modalities - 1))
    assert conflict_bound(modalities, 0.4).item() == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_numbers():
    """One dimension: (difference of means)^2 + (difference of standard deviations)^2."""
    x, y = torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([[1.0], [1.5], [2.0]])
    assert float(frechet_distance(x, y)) == pytest.approx((2 - 1.5) ** 2 + (2 - 0.5) ** 2)


def test_gaps():
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shift = torch.tensor([1.0, -2.0, 0.0, 2.0], dtype=torch.float64)
    assert modality_gap(x, x + shift).item() == pytest.approx(3.0)
    assert frechet_distance(x, x + shift).item() == pytest.approx(9.0)
    assert frechet_distance(x, x + shift / 10).item() == pytest.approx(0.09)
    cov = x.T.cov()
    scaled = frechet_distance(x, 3 * x - 2 * x.mean(0)).item()
    assert scaled == pytest.approx(float(cov.trace()) * 4, rel=1e-9)  # (3 - 1)^2 tr C
    y = torch.randn(30, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) @ torch.diag(
        torch.tensor([1.0, 2.0, 0.5, 1.0], dtype=torch.float64)
    )
    root = torch.linalg.eigvals(cov @ y.T.cov()).real.clamp_min(0).sqrt().sum()
    expected = (x.mean(0) - y.mean(0)).square().sum() + cov.trace() + y.T.cov().trace() - 2 * root
    assert frechet_distance(x, y).item() == pytest.approx(expected.item(), rel=1e-8)
    assert frechet_distance(x.float(), y.float()).dtype == torch.float64
    with pytest.raises(ValueError, match="two rows"):
        frechet_distance(x[:1], y)
    with pytest.raises(ValueError, match="two rows"):
        frechet_distance(x, y[:1])


def test_effective_rank_and_collinearity():
    assert effective_rank(torch.eye(5)).item() == pytest.approx(5.0, rel=1e-5)
    assert effective_rank(torch.ones(5, 3)).item() == pytest.approx(1.0, rel=1e-4)
    p = torch.tensor([0.75, 0.25])
    assert effective_rank(torch.diag(p)).item() == pytest.approx(math.exp(-float((p * p.log()).sum())), rel=1e-5)
    with pytest.raises(ValueError, match="undefined"):
        effective_rank(torch.zeros(4, 3))
    t = tuples(1, 4, 5)[0]
    assert collinearity(torch.stack([t, -t, t])).tolist() == pytest.approx([1.0] * 4)
    orthogonal = torch.eye(3)[:, None]
    assert collinearity(orthogonal).tolist() == pytest.approx([1 / 3])
