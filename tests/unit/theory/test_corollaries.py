"""The simulations against closed forms and a naive loop; the bounds on embeddings."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.geometry import conflict_bound, unit
from pipeline.loop import generator
from pipeline.theory.corollaries import on_embeddings, simulate_chi, simulate_zeta


@pytest.mark.parametrize("ratio", [0.1, 0.5])
def test_zeta_tends_to_one_as_the_proof_says(ratio: float) -> None:
    for others in (1, 9, 999):
        zeta = simulate_zeta(others, ratio, 2000, 64, generator(1, others))
        expected = 1 / math.sqrt(1 + 1 / (others * ratio**2))
        assert float(zeta.mean()) == pytest.approx(expected, abs=0.02)


def test_zeta_of_one_draw_is_the_cosine_of_the_sums() -> None:
    """The closed sum of normal residuals has the distribution of residuals drawn one by one."""
    source = generator(3)
    ratio, others, dimension = 0.3, 7, 64
    naive = []
    for _ in range(2000):
        residuals = torch.randn(others, dimension, generator=source, dtype=torch.float64) / math.sqrt(dimension - 1)
        residuals[:, 0] = 0
        force = residuals.sum(0)
        force[0] = ratio * others
        naive.append(float(force[0] / force.norm()))
    fast = simulate_zeta(others, ratio, 2000, dimension, generator(4))
    assert float(fast.mean()) == pytest.approx(sum(naive) / len(naive), abs=0.01)
    assert float(fast.std()) == pytest.approx(float(torch.tensor(naive).std()), abs=0.01)


def test_departures_have_other_limits() -> None:
    shared = simulate_zeta(5000, 0.5, 500, 64, generator(1), shared=0.25)
    assert float(shared.mean()) == pytest.approx(0.5 / math.sqrt(0.25 + 0.25), abs=0.02)
    signed = simulate_zeta(999, 0.5, 2000, 64, generator(1), signed=True)
    assert abs(float(signed.mean())) < 0.05


@pytest.mark.parametrize("mean_cosine", [0.0, 0.5, 0.9])
def test_chi_respects_the_bound_and_its_limit(mean_cosine: float) -> None:
    for modalities in (2, 3, 10, 300):
        chi = simulate_chi(modalities, mean_cosine, 100, 64, generator(2, modalities))
        assert float(chi.mean()) >= float(conflict_bound(modalities, mean_cosine)) - 0.02
    assert float(chi.mean()) == pytest.approx(1 - math.sqrt(mean_cosine), abs=0.07)


def test_simulated_vectors_have_the_mean_cosine_they_are_asked_for() -> None:
    """chi of two other modalities has a closed form in their cosine: the mean of |z2 + z3|^2 / 4 is (1 + mu) / 2."""
    chi = simulate_chi(3, 0.5, 5000, 64, generator(5))
    assert float((1 - chi).square().mean()) == pytest.approx((1 + 0.5) / 2, abs=0.01)


def test_the_proved_bound_always_holds_and_the_stated_one_need_not() -> None:
    torch.manual_seed(0)
    twins = unit(torch.randn(64, 16, dtype=torch.float64))
    away = unit(torch.randn(64, 16, dtype=torch.float64))
    found = on_embeddings(torch.stack([away, twins, twins]), anchor=0)
    assert found["chi"] == pytest.approx(0, abs=1e-9)
    assert found["bound_proved"] == pytest.approx(0, abs=1e-9)
    assert found["bound_stated"] > 0.1
    for anchor in range(3):
        z = unit(torch.randn(3, 64, 16, dtype=torch.float64))
        found = on_embeddings(z, anchor)
        assert found["chi"] >= found["bound_proved"] - 1e-9


def test_systematic_part_is_measured_over_negatives() -> None:
    """All rows equal: each negative pulls along V exactly."""
    row = unit(torch.ones(1, 4, dtype=torch.float64))
    found = on_embeddings(row.expand(3, 5, 4), anchor=0)
    assert found["systematic_share"] == 1.0
    assert found["systematic"] == pytest.approx(4 / 5)
    assert found["zeta"] == pytest.approx(1.0)


def test_residuals_of_the_forces_by_naive_loops() -> None:
    torch.manual_seed(2)
    z = unit(torch.randn(4, 6, 5, dtype=torch.float64))
    found = on_embeddings(z, anchor=1, temperature=0.3)
    along, cosines = [], []
    for row in range(6):
        positives = [z[m, row] for m in (0, 2, 3)]
        direction = sum(positives) / torch.stack(positives).sum(0).norm()
        residuals = []
        for m in (0, 2, 3):
            weights = [math.exp(float(z[1, row] @ z[m, k]) / 0.3) for k in range(6)]
            force = sum(weights[k] / sum(weights) * z[m, k] for k in range(6) if k != row)
            along.append(float(force @ direction))
            rest = force - along[-1] * direction
            residuals.append(rest / rest.norm())
        cosines += [float(residuals[i] @ residuals[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found["residual_cosine"] == pytest.approx(sum(cosines) / len(cosines))
    assert found["systematic"] == pytest.approx(sum(along) / len(along))
    assert found["systematic_share"] == pytest.approx(sum(value > 0 for value in along) / len(along))
