"""The tiled contrast against naive cross entropies, for several scores, tile sizes, masks and gradients."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.geometry import contrast, dot, pairwise_area, pairwise_volume, unit_volume
from tests.unit.geometry import oracles
from tests.unit.geometry.oracles import tuples

SCORES = {
    "dot": dot,
    "volume": lambda q, i: -pairwise_volume(q, i),
    "unit volume": unit_volume,
    "area": lambda q, i: -pairwise_area(q, i),
}


def loss(score, queries, items, temperature, **options):
    return sum(contrast(score, queries, items, temperature, **options))


def repulsion(score, queries, items, temperature, **options):
    return contrast(score, queries, items, temperature, **options)[1]


def twins(batch):
    same = torch.zeros(batch, batch, dtype=torch.bool)
    same[0, 2] = same[2, 0] = same[1, 1] = True
    return same


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("block", [1, 3, 64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("masked", [False, True])
def test_value_is_the_symmetric_cross_entropy(name, block, smoothing, masked):
    z = tuples(3, 7, 6, seed=1)
    score, items = SCORES[name], z[1:2] if name == "dot" else z[1:]
    same = twins(7) if masked else None
    expected = oracles.symmetric(score(z[0], items) / 0.2, smoothing, same)
    value = loss(
        score, z[0], items, torch.tensor(0.2, dtype=torch.float64), smoothing=smoothing, same=same, block=block
    )
    assert value.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("block", [3, 64])
@pytest.mark.parametrize("masked", [False, True])
def test_gradcheck(name, block, masked):
    z = tuples(3, 5, 6, seed=2)
    items = (z[1:2] if name == "dot" else z[1:]).clone().requires_grad_()
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def value(q, i, t):
        return contrast(SCORES[name], q, i, t, 0.1, twins(5) if masked else None, block=block)

    assert torch.autograd.gradcheck(value, (z[0].clone().requires_grad_(), items, temperature))


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("block", [3, 64])
def test_a_graph_that_is_kept_gives_both_terms_and_gives_them_again(name, detach, block):
    z = tuples(3, 7, 6, seed=5).requires_grad_()
    items = z[1:2] if name == "dot" else z[1:]
    both = contrast(SCORES[name], z[0], items, torch.tensor(0.2).double(), 0.1, detach_candidates=detach, block=block)

    def gradient(of):
        return torch.autograd.grad(of, z, retain_graph=True)[0]

    whole = gradient(sum(both))
    torch.testing.assert_close(gradient(both[0]) + gradient(both[1]), whole)
    torch.testing.assert_close(gradient(sum(both)), whole, rtol=0, atol=0)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("block", [2, 64])
@pytest.mark.parametrize("temperature", [0.2, -0.2])
def test_without_gather_gradient_each_direction_trains_its_query_side(name, block, temperature):
    z = tuples(3, 6, 5, seed=3)
    score, items = SCORES[name], z[1:2] if name == "dot" else z[1:]

    def leaves():
        return [x.clone().requires_grad_() for x in (z[0], items, torch.tensor(temperature, dtype=torch.float64))]

    q, i, t = leaves()
    rows = F.cross_entropy(score(q, i.detach()) / t, torch.arange(6), label_smoothing=0.1)
    columns = F.cross_entropy(score(q.detach(), i).T / t, torch.arange(6), label_smoothing=0.1)
    ((rows + columns) / 2).backward()
    q2, i2, t2 = leaves()
    value = loss(score, q2, i2, t2, smoothing=0.1, detach_candidates=True, block=block)
    value.backward()
    assert value.item() == pytest.approx(((rows + columns) / 2).item(), rel=1e-10)
    for expected, found in ((q, q2), (i, i2), (t, t2)):
        torch.testing.assert_close(found.grad, expected.grad)
    q3, i3, t3 = leaves()
    loss(score, q3, i3, t3, smoothing=0.1, block=block).backward()
    if name == "volume" and temperature > 0:
        assert q2.grad.norm() < 0.8 * q3.grad.norm()  # the releases' gradient is about half of the full one


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("block", [3, 64])
def test_masked_pairs_without_gather_gradient(name, block):
    z, same = tuples(3, 7, 6, seed=6), twins(7)
    score, items = SCORES[name], z[1:2] if name == "dot" else z[1:]
    q, i = z[0].clone().requires_grad_(), items.clone().requires_grad_()
    away = (same & ~torch.eye(7, dtype=torch.bool)).double().masked_fill(same, -torch.inf)
    away.fill_diagonal_(0)
    rows = F.cross_entropy(score(q, i.detach()) / 0.2 + away, torch.arange(7))
    columns = F.cross_entropy((score(q.detach(), i) / 0.2 + away).T, torch.arange(7))
    expected = torch.autograd.grad((rows + columns) / 2, (q, i))
    found = loss(score, q, i, torch.tensor(0.2).double(), same=same, detach_candidates=True, block=block)
    torch.testing.assert_close(torch.autograd.grad(found, (q, i)), expected)


def test_only_what_requires_gradients_gets_them():
    z = tuples(2, 4, 5)
    items = z[1:].clone().requires_grad_()
    value = repulsion(dot, z[0], items, torch.tensor(0.1))
    value.backward()
    assert items.grad.abs().sum() > 0
    with torch.no_grad():
        assert not repulsion(dot, z[0], items, torch.tensor(0.1)).requires_grad
    assert not repulsion(dot, z[0], z[1:], torch.tensor(0.1)).requires_grad


def test_a_temperature_learns_beside_fixed_items():
    z = tuples(2, 6, 5, seed=8)
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(loss(dot, z[0], z[1:], temperature), temperature)
    logits = z[0] @ z[1].mT / temperature
    target = torch.arange(6)
    plain = (F.cross_entropy(logits, target) + F.cross_entropy(logits.mT, target)) / 2
    assert found.item() == pytest.approx(torch.autograd.grad(plain, temperature)[0].item(), rel=1e-10)


def test_upstream_gradient_scales_and_shapes_are_checked():
    z = tuples(2, 4, 5)
    q = z[0].clone().requires_grad_()
    (3 * repulsion(dot, q, z[1:], torch.tensor(0.1))).backward()
    tripled = q.grad.clone()
    q.grad = None
    repulsion(dot, q, z[1:], torch.tensor(0.1)).backward()
    torch.testing.assert_close(tripled, 3 * q.grad)
    for queries, items in ((z[0], z[1]), (z[0], z[1:, :3]), (z[0][:0], z[1:, :0])):
        with pytest.raises(ValueError, match="queries"):
            repulsion(dot, queries, items, torch.tensor(0.1))


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("temperature", [-0.07, -0.01])
def test_float32_is_exact_for_volumes(temperature, detach):
    z = tuples(3, 8, 16, seed=4)
    exact_in_float32(unit_volume, z[0], z[1:], temperature, detach, None)


@pytest.mark.parametrize("temperature", [0.07, 0.0251, 0.0249, 0.014, 0.005])
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("block", [4, 64])
def test_float32_is_exact_however_far_apart_the_logits_lie(temperature, detach, block):
    """Opposite vectors: logits lie 2 / T apart, so that one exponential for a whole tile would lose rows at 0.005."""
    z = tuples(2, 8, 16, seed=4)
    z[:, 4:] = -z[:, :4]
    z[1, 7] = z[0, 0]  # a row whose own logit is its smallest
    exact_in_float32(dot, z[0], z[1:], temperature, detach, block)


@pytest.mark.parametrize("temperature", [0.008, 0.005])
def test_float32_is_exact_where_a_row_is_like_no_column(temperature):
    """Its logits are all 0, others 125 or 200: the range counts, not the least logit."""
    z = torch.eye(9, dtype=torch.float64)[:8].expand(2, 8, 9).clone()
    z[0, 3] = torch.eye(9)[8]
    exact_in_float32(dot, z[0], z[1:], temperature, False, None)


def exact_in_float32(score, queries, items, temperature, detach, block):
    """The contrast in float32 equals the oracle's value and its own gradient in float64."""

    def gradients(dtype):
        q, i = (x.to(dtype).clone().requires_grad_() for x in (queries, items))
        t = torch.tensor(temperature, dtype=dtype, requires_grad=True)
        value = loss(score, q, i, t, smoothing=0.1, detach_candidates=detach, block=block)
        return value.detach(), *torch.autograd.grad(value, (q, i, t))

    exact = oracles.symmetric(score(queries, items) / temperature, 0.1, None)
    found = gradients(torch.float32)
    assert found[0].item() == pytest.approx(exact, rel=1e-5)
    for single, double in zip(found, gradients(torch.float64), strict=True):
        assert (single - double).norm() <= 1e-4 * double.norm()


def test_a_tile_has_rows():
    z = tuples(2, 4, 5)
    with pytest.raises(ValueError, match="block must be at least 1"):
        contrast(dot, z[0], z[1:], torch.tensor(0.1), block=0)
