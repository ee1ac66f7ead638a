"""Every objective against its equation written as float64 loops, with gradcheck, any number of modalities."""

import math
from itertools import combinations

import pytest
import torch
from symile import Symile

from pipeline.geometry import unit
from pipeline.objectives import OBJECTIVES, parse
from pipeline.objectives.pmrl import singular
from tests.unit.geometry import oracles
from tests.unit.geometry.oracles import tuples

NAMES = ["text", "vision", "audio", "depth"]
TAU = torch.tensor(0.3, dtype=torch.float64)


def batch(modalities=3, rows=6, width=5, seed=0):
    z = tuples(modalities, rows, width, seed=seed)
    return dict(zip(NAMES, z, strict=False)), z


def conditions(z):
    return {"v": z[1], "a": z[2], "va": (z[1] + z[2]) / (z[1] + z[2]).norm(dim=-1, keepdim=True)}


def value(name, embeddings, fused=None, tau=TAU, same=None, **settings):
    total, terms = OBJECTIVES[name](embeddings, fused or {}, tau, parse(name, settings), same=same)
    torch.testing.assert_close(total, terms["attraction"] + terms["repulsion"])
    return total.item()


def twins(rows=6):
    same = torch.eye(rows, dtype=torch.bool)
    same[0, 4] = same[4, 0] = True
    return same


@pytest.mark.parametrize("modalities", [2, 3, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_infonce_and_the_anchored_ones(modalities, masked):
    embeddings, z = batch(modalities)
    same = twins()
    extra = {"equal_captions": "masked"} if masked else {}

    def mean(pairs):
        losses = [oracles.symmetric(z[m] @ z[n].T / 0.3, 0.0, same if masked else None) for m, n in pairs]
        return sum(losses) / len(losses)

    every = list(combinations(range(modalities), 2))
    assert value("infonce", embeddings, same=same, **extra) == pytest.approx(mean(every), rel=1e-9)
    text = [(0, n) for n in range(1, modalities)]
    assert value("languagebind", embeddings, same=same, **extra) == pytest.approx(mean(text), rel=1e-9)
    vision = [(1, n) for n in range(modalities) if n != 1]
    assert value("imagebind", embeddings, same=same, **extra) == pytest.approx(mean(vision), rel=1e-9)
    last = [(modalities - 1, n) for n in range(modalities - 1)]
    found = value("languagebind", embeddings, same=same, anchor=NAMES[modalities - 1], **extra)
    assert found == pytest.approx(mean(last), rel=1e-9)


def test_infonce_is_equation_1_over_ordered_pairs():
    embeddings, z = batch(3)
    total = 0.0
    for i in range(6):
        for m in range(3):
            for n in range(3):
                if m != n:
                    logits = [math.exp(float(z[m, i] @ z[n, k]) / 0.3) for k in range(6)]
                    total -= math.log(logits[i] / sum(logits)) / 6
    assert value("infonce", embeddings) == pytest.approx(total / 6, rel=1e-9)


@pytest.mark.parametrize("gather", ["grad", "no-grad"])
def test_vast(gather):
    embeddings, z = batch(3)
    fused = conditions(z)
    losses = {k: oracles.symmetric(z[0] @ f.T / 0.3, 0.1) for k, f in fused.items()}
    found = value("vast", embeddings, fused, gather=gather)
    assert found == pytest.approx(sum(losses.values()) / 3, rel=1e-9)
    found = value("vast", embeddings, fused, conditions=["va", "v"])
    assert found == pytest.approx((losses["va"] + losses["v"]) / 2, rel=1e-9)
    plain = oracles.symmetric(z[0] @ fused["v"].T / 0.3, 0.0, twins())
    options = {"conditions": ["v"], "label_smoothing": 0, "equal_captions": "masked"}
    assert value("vast", embeddings, fused, same=twins(), **options) == pytest.approx(plain, rel=1e-9)
    for wrong in ({}, {"a": z[2]}):
        with pytest.raises(ValueError, match="fused conditions"):
            value("vast", embeddings, wrong, conditions=["v"] if wrong else [])


@pytest.mark.parametrize("modalities", [2, 3, 4])
@pytest.mark.parametrize("name", ["gram", "triangle"])
@pytest.mark.parametrize("anchor", [0, 1])
@pytest.mark.parametrize("gather", ["grad", "no-grad"])
def test_gram_and_triangle(modalities, name, anchor, gather):
    embeddings, z = batch(modalities)
    others = torch.stack([z[m] for m in range(modalities) if m != anchor])

    def area(query, vectors):
        edges = torch.stack([v - query for v in vectors])
        return float(torch.linalg.det(edges @ edges.T)) / 2

    measure = area if name == "triangle" else (lambda q, d: oracles.determinant_volume([q, *d]))
    logits = -oracles.every_pair(measure, z[anchor], others) / 0.3
    found = value(name, embeddings, anchor=NAMES[anchor], gather=gather)
    assert found == pytest.approx(oracles.symmetric(logits, 0.1), rel=1e-9)
    masked = value(name, embeddings, anchor=NAMES[anchor], same=twins(), equal_captions="masked", label_smoothing=0.2)
    assert masked == pytest.approx(oracles.symmetric(logits, 0.2, twins()), rel=1e-9)


@pytest.mark.parametrize("name", ["gram", "triangle", "vast"])
def test_the_releases_gather_halves_the_gradient(name):
    """Facts §1.2: value equal, gradient norms about half, direction near."""
    _, z = batch(3, 8, 32)
    grads = {}
    for gather in ("grad", "no-grad"):
        leaves = {k: x.clone().requires_grad_() for k, x in zip(NAMES, z, strict=False)}
        fused = conditions(list(leaves.values()))
        total, _ = OBJECTIVES[name](leaves, fused, torch.tensor(0.07).double(), parse(name, {"gather": gather}))
        grads[gather] = torch.autograd.grad(total, list(leaves.values()))
    for full, half in zip(grads["grad"], grads["no-grad"], strict=True):
        assert 0.2 < float(half.norm() / full.norm()) < 0.8
        assert torch.cosine_similarity(half.flatten(), full.flatten(), 0) > 0.7


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_symile_is_the_package(modalities, monkeypatch):
    embeddings, z = batch(modalities)
    if modalities > 2:  # the package's n_squared starts at three modalities
        expected = Symile("n_squared")(list(z), 1 / 0.3).item()
        assert value("symile", embeddings, negatives="n_squared") == pytest.approx(expected, rel=1e-9)
    calls = iter(list(range(modalities - 1)) * modalities)
    monkeypatch.setattr(torch, "randperm", lambda n: torch.arange(n).roll(next(calls) + 1))
    expected = Symile("n")(list(z), 1 / 0.3).item()
    assert value("symile", embeddings) == pytest.approx(expected, rel=1e-9)


def test_symile_of_two_modalities_has_the_batch_as_candidates():
    """All combinations of rows of one other modality are its rows: InfoNCE of inner products, both ways."""
    embeddings, z = batch(2)
    expected = oracles.symmetric(z[0] @ z[1].T / 0.3)
    assert value("symile", embeddings, negatives="n_squared") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("negatives", ["n", "n_squared"])
def test_symile_leaves_out_candidates_of_the_same_caption(negatives):
    embeddings, z = batch(3)
    same = twins()
    same[1, 2] = same[2, 1] = same[1, 3] = same[3, 1] = same[2, 3] = same[3, 2] = True
    losses = []
    for a in range(3):
        x, y = (z[m] for m in range(3) if m != a)
        if negatives == "n":
            columns = [((j - 1) % 6, (j - 2) % 6) for j in range(6)]
        else:
            columns = [(j, k) for j in range(6) for k in range(6)]
        for i in range(6):
            own = math.exp(float((z[a, i] * x[i] * y[i]).sum()) / 0.3)
            total = own
            for c, (j, k) in enumerate(columns):
                right = c == i if negatives == "n" else (j == i and k == i)
                if not right and not (same[i, j] and same[i, k]):
                    total += math.exp(float((z[a, i] * x[j] * y[k]).sum()) / 0.3)
            losses.append(-math.log(own / total))
    found = value("symile", embeddings, same=same, negatives=negatives, equal_captions="masked")
    assert found == pytest.approx(sum(losses) / len(losses), rel=1e-9)
    assert found != pytest.approx(value("symile", embeddings, same=same, negatives=negatives))


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_pmrl_is_the_svd(modalities):
    embeddings, z = batch(modalities)
    _, s, vh = torch.linalg.svd(z.transpose(0, 1), full_matrices=False)
    u = vh[:, 0]
    side = torch.einsum("bd,mbd->b", u, z)
    u = u * torch.where(side.abs() > 1e-6, side, (u * z[0]).sum(-1)).sign()[:, None]
    intra = -sum(math.log(math.exp(s[i, 0] / 0.2) / sum(math.exp(x / 0.2) for x in s[i])) for i in range(6)) / 6
    for masked in (False, True):
        inter = oracles.symmetric(u @ u.T / 0.3, 0.0, twins() if masked else None)
        extra = {"equal_captions": "masked"} if masked else {}
        found = value("pmrl", embeddings, same=twins(), singular_temperature=0.2, lambda_inter=0.7, **extra)
        assert found == pytest.approx(intra + 0.7 * inter, rel=1e-8)
    terms = OBJECTIVES["pmrl"](embeddings, {}, torch.tensor(0.3), parse("pmrl", {"singular_temperature": 0.2}))[1]
    assert terms["intra"].item() == pytest.approx(intra, rel=1e-8)
    assert terms["inter"].item() == pytest.approx(oracles.symmetric(u @ u.T / 0.3, 0.0, None), rel=1e-6)


def test_pmrl_gradient_is_the_svds_and_finite_where_the_svds_is_not():
    z = tuples(3, 4, 5, seed=3).requires_grad_()
    options = parse("pmrl", {"singular_temperature": 0.5})
    total, _ = OBJECTIVES["pmrl"](dict(zip(NAMES, z, strict=False)), {}, TAU, options)
    (found,) = torch.autograd.grad(total, z)
    rows = z / z.norm(dim=-1, keepdim=True)
    _, s, vh = torch.linalg.svd(rows.transpose(0, 1), full_matrices=False)
    u = vh[:, 0] * torch.einsum("bd,mbd->b", vh[:, 0], rows).sign().detach()[:, None]
    intra = -(s / 0.5).log_softmax(1)[:, 0].mean()
    inter = torch.nn.functional.cross_entropy(u @ u.T / 0.3, torch.arange(4))
    torch.testing.assert_close(found, torch.autograd.grad(intra + inter, z)[0], rtol=1e-6, atol=1e-9)
    orthogonal = torch.eye(6)[:3, None].repeat(1, 4, 1).requires_grad_()
    collinear = torch.eye(6)[0].repeat(3, 4, 1).requires_grad_()
    for leaf in (orthogonal, collinear):
        OBJECTIVES["pmrl"](dict(zip(NAMES, leaf, strict=False)), {}, TAU, parse("pmrl"))[0].backward()
        assert leaf.grad.isfinite().all()


def test_pmrl_takes_the_side_of_the_first_modality_where_all_cancel():
    z, other = tuples(2, 40, 6, seed=9)
    torch.testing.assert_close(singular(torch.stack([z, -z]))[1], z)
    across = 0.3 * unit(other - (other * z).sum(1, keepdim=True) * z)
    for three in ([z, -z, across], [z, across, -z]):
        torch.testing.assert_close(singular(torch.stack(three))[1], z)


def test_pmrl_counts_nearly_equal_singular_values_as_a_gap_apart():
    z = torch.tensor([[[1.0, 0.0]], [[1e-5, 1.0]]], dtype=torch.float64).requires_grad_()
    _, directions = singular(z)
    (found,) = torch.autograd.grad((directions[0, 0] - directions[0, 1]) / 2**0.5, z)
    # A longer z_1 turns the leading (1, 1) to (1, -1) by 1 / gap, where the eigenvalues 1 +- 1e-5 lie 2e-5 apart.
    assert found[0, 0, 0].item() == pytest.approx(1e4, rel=1e-3)


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_holder(modalities):
    embeddings, z = batch(modalities)
    widths = [0.3] * modalities
    assert value("holder", embeddings) == pytest.approx(oracles.holder(z, widths), rel=1e-8)
    found = value("holder", embeddings, leave_one_out=True, anchors="all")
    assert found == pytest.approx(oracles.holder(z, widths, True, range(modalities)), rel=1e-8)
    with pytest.raises(ValueError, match="not defined"):
        value("holder", embeddings, equal_captions="masked")


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_gradcheck_also_of_the_temperature(name, modalities):
    z = tuples(modalities, 4, 5, seed=2, unit=False)
    leaves = [x.clone().requires_grad_() for x in z] + [TAU.clone().requires_grad_()]
    settings = parse(name, {"singular_temperature": 0.5} if name == "pmrl" else {})

    def total(*args):
        embeddings = dict(zip(NAMES, args[:-1], strict=False))
        return OBJECTIVES[name](embeddings, {"v": args[1], "va": args[0] + args[1]}, args[-1], settings)[0]

    assert torch.autograd.gradcheck(total, leaves)
