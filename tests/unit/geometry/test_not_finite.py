"""NaN in, NaN out: no function of the geometry turns it into a good value."""

import pytest
import torch

from pipeline.geometry import (
    collinearity,
    conflict,
    holder_divergence,
    modality_gap,
    pairwise_residual,
    pairwise_volume,
    uniformity,
    unit_volume,
    volume,
)
from tests.unit.geometry.oracles import tuples


@pytest.mark.parametrize("modalities", [2, 3, 4, 5])
def test_volume_of_a_tuple_and_of_pairs(modalities):
    z = tuples(modalities, 4, 6)
    z[1, 2, 0] = torch.nan
    assert volume(z).isnan().tolist() == [False, False, True, False]
    for function in (pairwise_volume, pairwise_residual):
        assert function(z[0], z[1:]).isnan().all(0).tolist() == [False, False, True, False]
    z = tuples(modalities, 4, 6)
    z[0, 1, 3] = torch.nan
    assert volume(z).isnan().tolist() == [False, True, False, False]
    for function in (pairwise_volume, pairwise_residual):
        assert function(z[0], z[1:]).isnan().all(1).tolist() == [False, True, False, False]


def test_a_triple_that_is_not_a_number_leaves_a_dependent_one_at_0():
    """Text 0 lies in the plane of item 0; item 1 is not a number."""
    text = torch.tensor([[0.6, 0.8, 0.0]], dtype=torch.float64)
    items = torch.eye(3, dtype=torch.float64)[:2, None].repeat(1, 2, 1)
    items[0, 1] = torch.nan
    items.requires_grad_()
    found = unit_volume(text, items)
    assert found[0, 0] == 0
    assert found[0, 1].isnan()
    assert not torch.autograd.grad(found[0, 0], items)[0][:, 0].any()


def test_conflicts_gap_divergence_and_spread():
    z = tuples(3, 4, 6)
    z[0, 1, 3] = torch.nan
    zeta, chi = conflict(z, 0, 0.07)
    assert zeta.isnan()[1]
    assert not chi.isnan().any()  # chi is of the positives alone
    z[1, 2, 0] = torch.nan
    assert conflict(z, 0, 0.07)[1].isnan()[2]
    assert modality_gap(z[0], z[2]).isnan()
    assert holder_divergence(z, 0.3).isnan()
    assert uniformity(z[0], torch.tensor(0.3)).isnan()
    with pytest.raises(torch.linalg.LinAlgError):
        collinearity(z)
