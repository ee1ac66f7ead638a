"""Uniformity, alignment, kernels and centroid against loops, printed gradients and known counter-examples."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.geometry import alignment, centroid, log_kernel, log_kernel_means, squared_geodesic, uniformity, unit
from pipeline.geometry.alignment import gram_alignment
from pipeline.geometry.kernels import geodesic_slope
from pipeline.geometry.precision import blocks, full
from pipeline.geometry.volume import gram
from tests.unit.geometry import oracles
from tests.unit.geometry.oracles import tuples

SPACES = ["euclidean", "geodesic"]
quick = settings(max_examples=25, deadline=None, derandomize=True)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("block", [1, 2, 3, 7, 100])
def test_uniformity_is_equation_9(space, block):
    z = tuples(1, 7, 5)[0]
    same = torch.zeros(7, 7, dtype=torch.bool)
    same[0, 3] = same[3, 0] = same[5, 6] = same[6, 5] = True
    for pairs in (None, same):
        expected = oracles.uniformity(z, 0.4, space, pairs)
        assert uniformity(z, 0.4, space, pairs, block).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("block", [2, 4, 100])
def test_rows_with_one_other_count_and_rows_with_none_do_not(space, block):
    z = tuples(1, 5, 4, seed=6)[0].requires_grad_()
    same = torch.zeros(5, 5, dtype=torch.bool)
    same[0, :] = same[:, 0] = True  # row 0 has no other left
    same[1, 2] = same[2, 1] = same[1, 3] = same[3, 1] = True  # row 1 has row 4 alone
    value = uniformity(z, 0.4, space, same, block)
    assert value.item() == pytest.approx(oracles.uniformity(z.detach(), 0.4, space, same), rel=1e-10)
    assert not torch.autograd.grad(value, z)[0][0].any()
    assert torch.autograd.gradcheck(lambda x: uniformity(x[:4], 0.4, "euclidean", same[:4, :4], block), (z,))
    pair = z.detach()[:2]
    assert uniformity(pair, 0.4, space).item() == pytest.approx(oracles.uniformity(pair, 0.4, space), rel=1e-10)


def test_uniformity_of_vectors_that_are_not_unit():
    z = tuples(1, 6, 4, unit=False)[0]
    for block in (2, 6):
        assert uniformity(z, 0.9, block=block).item() == pytest.approx(oracles.uniformity(z, 0.9), rel=1e-10)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("block", [3, 8])
@pytest.mark.parametrize("masked", [False, True])
def test_uniformity_gradcheck(space, block, masked):
    z = tuples(1, 8, 4, seed=1, unit=space == "geodesic")[0].requires_grad_()
    width = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    same = torch.zeros(8, 8, dtype=torch.bool)
    same[0, 5] = same[5, 0] = same[1, 2] = same[2, 1] = masked

    def value(x, w):
        return uniformity(x, w, space, same if masked else None, block)

    assert torch.autograd.gradcheck(value, (z, width))
    assert torch.autograd.gradcheck(lambda x: value(x, 0.5), (z,))
    assert torch.autograd.gradcheck(lambda w: value(z.detach(), w), (width,))


def test_true_gradient_has_the_reciprocal_terms_that_the_paper_leaves_out():
    z, width = tuples(1, 8, 4, seed=2)[0].requires_grad_(), 0.4
    uniformity(z, width).backward()
    x = z.detach()
    distance = (x[:, None] - x).square().sum(-1)
    p = (-distance / (2 * width**2)).fill_diagonal_(-math.inf).softmax(1)
    apart = x[:, None] - x
    printed = -(p[..., None] * apart).sum(1) / width**2 / len(x)
    reciprocal = -(p.T[..., None] * apart).sum(1) / width**2 / len(x)
    torch.testing.assert_close(z.grad, printed + reciprocal)
    assert not torch.allclose(z.grad, printed, rtol=0.1)


def test_identical_twin_takes_the_whole_gradient_at_the_papers_width():
    z = tuples(1, 6, 8, seed=3)[0]
    z[1] = z[0]
    z[[3, 5]] = z[[2, 4]] + 0.05 * tuples(1, 2, 8, seed=4)[0]  # the others have near neighbours of their own
    same = torch.zeros(6, 6, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    kept, masked = (z.clone().requires_grad_() for _ in range(2))
    uniformity(kept, 0.07).backward()
    uniformity(masked, 0.07, same=same).backward()
    assert kept.grad[0].norm() < 1e-3 * masked.grad[0].norm()


def test_orthogonal_batch_at_the_papers_width_stays_in_log_space():
    value = uniformity(torch.eye(6), 0.07)  # every squared distance is 2
    assert value.item() == pytest.approx(-2 / (2 * 0.07**2), rel=1e-6)
    angle = uniformity(torch.eye(6), 0.07, "geodesic")
    assert angle.item() == pytest.approx(-((math.pi / 2) ** 2) / (2 * 0.07**2), rel=1e-6)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_identical_antipodal_and_half_rows_are_finite(space, dtype):
    row = tuples(1, 1, 8, seed=4)[0].to(dtype)
    for z in (row.expand(4, -1).clone(), torch.cat([row, -row]), torch.cat([row, -row, row])):
        z.requires_grad_()
        value = uniformity(z, 0.07, space)
        value.backward()
        assert value.isfinite()
        assert z.grad.isfinite().all()
    assert uniformity(row.expand(4, -1), 0.3, space).item() == pytest.approx(0.0, abs=0.05)


def test_uniformity_rejects_what_has_no_pairs():
    z = tuples(1, 3, 4)[0]
    with pytest.raises(ValueError, match="two rows that differ"):
        uniformity(z[:1], 0.1)
    with pytest.raises(ValueError, match="two rows that differ"):
        uniformity(z, 0.1, same=torch.ones(3, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="space"):
        uniformity(z, 0.1, "hyperbolic")
    with pytest.raises(ValueError, match="batch"):
        uniformity(z[None], 0.1)
    assert uniformity(z[:2], 0.3).item() == pytest.approx(oracles.uniformity(z[:2], 0.3))


@quick
@given(st.integers(0, 10**6))
def test_uniformity_invariances(seed):
    z = tuples(1, 6, 5, seed=seed)[0]
    turn = torch.linalg.qr(tuples(1, 5, 5, seed=seed + 1)[0])[0]
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    for space in SPACES:
        torch.testing.assert_close(uniformity(z @ turn, 0.3, space), uniformity(z, 0.3, space))
        torch.testing.assert_close(uniformity(z[order], 0.3, space), uniformity(z, 0.3, space))
    assert uniformity(z, 0.3, "geodesic") <= uniformity(z, 0.3)  # arcs are longer than chords


@pytest.mark.parametrize("form", SPACES)
@pytest.mark.parametrize("anchor", [0, 2])
def test_alignment_is_equation_10(form, anchor):
    z = tuples(4, 5, 6, seed=5)
    assert alignment(z, anchor, form).item() == pytest.approx(oracles.alignment(z, anchor, form), rel=1e-10)
    assert torch.autograd.gradcheck(lambda x: alignment(x, anchor, form), tuples(3, 3, 4).requires_grad_())


def test_alignment_by_volume_and_errors():
    z = tuples(4, 5, 6, seed=5)
    expected = sum(oracles.determinant_volume(list(z[:, i])) for i in range(5)) / 5
    assert alignment(z, form="volume").item() == pytest.approx(expected)
    assert alignment(z, -1).item() == pytest.approx(alignment(z, 3).item())
    assert alignment(z).item() == alignment(z, 0).item() == gram_alignment(gram(z)).item()
    with pytest.raises(ValueError, match="form"):
        alignment(z, form="taxicab")
    with pytest.raises(ValueError, match="two modalities"):
        alignment(z[0])


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("leave", [False, True])
@pytest.mark.parametrize("block", [2, 50])
def test_kernel_means(space, leave, block):
    x, y = tuples(2, 5, 4, seed=6)
    if leave:
        y = x
    expected = []
    for i in range(5):
        near = [k for k in range(5) if not (leave and k == i)]
        kernels = [math.exp(-oracles.squared(x[i], y[k], space) / (2 * 0.5**2)) for k in near]
        expected.append(math.log(sum(kernels) / len(near)))
    value = log_kernel_means(x, y, 0.5, space, leave, block)
    torch.testing.assert_close(value, torch.tensor(expected, dtype=torch.float64))
    width = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    if not leave and space == "euclidean":  # geodesic distances of a perturbed row to itself have a kink
        leaves = (tuples(1, 5, 4, seed=7)[0].requires_grad_(), y.clone().requires_grad_(), width)
        assert torch.autograd.gradcheck(lambda a, b, w: log_kernel_means(a, b, w, space, leave, block), leaves)
    leaf = x.clone().requires_grad_()
    loo = (leaf, width)
    if space == "euclidean":
        assert torch.autograd.gradcheck(lambda a, w: log_kernel_means(a, a, w, space, leave, block), loo)
    with pytest.raises(ValueError, match="leave-one-out"):
        log_kernel_means(x[:1], x[:1], 0.5, leave_one_out=True)


def test_log_kernel_and_geodesic_distance():
    x, y = tuples(2, 4, 5, seed=8)
    for space in SPACES:
        expected = oracles.every_pair(lambda a, b, s=space: -oracles.squared(a, b[0], s) / (2 * 0.3**2), x, y[None])
        torch.testing.assert_close(log_kernel(x, y, 0.3, space), expected)
    with pytest.raises(ValueError, match="space"):
        log_kernel(x, y, 0.3, "hyperbolic")
    cosines = torch.linspace(-0.999, 0.9999999, 41, dtype=torch.float64, requires_grad=True)
    squared_geodesic(cosines).sum().backward()
    theta = cosines.detach().arccos()
    torch.testing.assert_close(cosines.grad, -2 * theta / theta.sin(), rtol=1e-6, atol=0)
    ends = geodesic_slope(torch.tensor([1.0, 1.0 + 1e-7, -1.0]))
    torch.testing.assert_close(ends[:2], torch.ones(2))
    assert 1e3 < ends[2] < 1e4
    assert squared_geodesic(torch.tensor([1.5, -1.5])).tolist() == pytest.approx([0.0, math.pi**2])


def test_centroid_is_equation_11():
    z = tuples(3, 4, 5, seed=9)
    for weights in (None, [0.2, 0.5, 0.3]):
        w = weights or [1 / 3] * 3
        for i in range(4):
            mean = sum(w[m] * z[m, i] for m in range(3))
            torch.testing.assert_close(centroid(z, weights)[i], mean / mean.norm())
    cancelled = torch.stack([z[0], -z[0]]).requires_grad_()
    centroid(cancelled).sum().backward()
    assert (centroid(cancelled) == 0).all()
    assert (cancelled.grad == 0).all()
    for weights in ([0.5, 0.6, -0.1], [0.5, 0.5], [0.3, 0.3, 0.3]):
        with pytest.raises(ValueError, match="weights"):
            centroid(z, weights)


def test_precision_helpers():
    assert full(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32
    assert full(torch.ones(2, dtype=torch.float64)).dtype == torch.float64
    torch.testing.assert_close(unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    assert blocks(5, 2) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert blocks(0, 2) == []
    with pytest.raises(ValueError, match="block"):
        blocks(3, 0)
