"""UniAlign: Eq. 13 term by term, the cells of Table 4 and every reading of what the paper leaves open."""

import math

import pytest
import torch

from pipeline.objectives import OBJECTIVES, parse
from tests.unit.geometry import oracles
from tests.unit.geometry.oracles import tuples

TAU = 0.5
NAMES = ["text", "vision", "audio", "depth"]


def unialign(z, same=None, tau=TAU, **settings):
    tau = torch.as_tensor(tau, dtype=torch.float64)
    return OBJECTIVES["unialign"](dict(zip(NAMES, z, strict=False)), {}, tau, parse("unialign", settings), same=same)


def parts(z, width=TAU, width_centroid=None, space="euclidean", form="euclidean", anchor=0, same=None):
    mean = z.sum(0)
    volume = sum(oracles.determinant_volume(list(z[:, i])) for i in range(z.shape[1])) / z.shape[1]
    return {
        "uniformity": sum(oracles.uniformity(x, width, space, same) for x in z),
        "alignment": volume if form == "volume" else oracles.alignment(z, anchor, form),
        "centroid": oracles.uniformity(mean / mean.norm(dim=-1, keepdim=True), width_centroid or width, space, same),
        "volume": volume,
    }


@pytest.mark.parametrize("modalities", [2, 3, 4])
@pytest.mark.parametrize("space", ["euclidean", "geodesic"])
@pytest.mark.parametrize("form", ["euclidean", "geodesic", "volume"])
def test_equation_13_in_every_cell_of_table_4(modalities, space, form):
    z = tuples(modalities, 6, 5, seed=1)
    p = parts(z, space=space, form=form)
    weights = {"lambda_uni": 0.7, "lambda_align": 1.3, "lambda_vol": 0.6, "lambda_centroid": 0.9, "lambda_volume": 1.1}
    total, terms = unialign(z, scale="one", uniformity=space, alignment=form, **weights)
    expected = 0.7 * p["uniformity"] + 1.3 * p["alignment"] + 0.6 * (0.9 * p["centroid"] + 1.1 * p["volume"])
    assert total.item() == pytest.approx(expected, rel=1e-9)
    assert terms["uniformity"].item() == pytest.approx(p["uniformity"], rel=1e-9)
    assert terms["alignment"].item() == pytest.approx(p["alignment"], rel=1e-9)
    assert terms["centroid_uniformity"].item() == pytest.approx(p["centroid"], rel=1e-9)
    assert terms["volume"].item() == pytest.approx(p["volume"], rel=1e-9)
    literal = sum(parts(z).values())
    assert unialign(z, scale="one")[0].item() == pytest.approx(literal, rel=1e-9)


def test_default_is_the_reading_fixed_beforehand():
    z = tuples(3, 6, 5, seed=2)
    p = parts(z)
    expected = TAU**2 * (p["uniformity"] + p["centroid"]) + p["alignment"] + p["volume"]
    assert unialign(z)[0].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("settings", "width", "factor"),
    [({"width": "2tau"}, TAU**0.5, 1.0), ({"width": 0.8}, 0.8, 1.0), ({"width": "2tau2"}, TAU, 1.0),
     ({"width": "2tau", "scale": "U*tau2"}, TAU**0.5, TAU), ({"width": 0.8, "scale": "U*tau2"}, 0.8, 0.64)],
)  # fmt: skip
def test_widths(settings, width, factor):
    z = tuples(3, 6, 5, seed=3)
    p = parts(z, width)
    expected = factor * (p["uniformity"] + p["centroid"]) + p["alignment"] + p["volume"]
    assert unialign(z, **({"scale": "one"} | settings))[0].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("scale", "divisor"), [("align/2tau2", 2 * TAU**2), ("align/2tau", 2 * TAU)])
def test_scales_of_the_alignment(scale, divisor):
    z = tuples(3, 6, 5, seed=3)
    p = parts(z)
    expected = p["uniformity"] + p["centroid"] + (p["alignment"] + p["volume"]) / divisor
    assert unialign(z, scale=scale)[0].item() == pytest.approx(expected, rel=1e-9)
    if scale == "align/2tau2":
        assert unialign(z)[0].item() == pytest.approx(TAU**2 * p["uniformity"] + TAU**2 * p["centroid"]
                                                      + p["alignment"] + p["volume"], rel=1e-9)  # fmt: skip


def test_sum_or_mean_anchor_masks_and_centroid_temperature():
    z = tuples(3, 6, 5, seed=4)
    same = torch.eye(6, dtype=torch.bool)
    same[0, 4] = same[4, 0] = True
    p = parts(z)
    found = unialign(z, scale="one", over_modalities="mean")[0].item()
    assert found == pytest.approx(p["uniformity"] / 3 + p["alignment"] + p["centroid"] + p["volume"], rel=1e-9)
    assert unialign(z, scale="one", same=same)[0].item() == pytest.approx(sum(p.values()), rel=1e-9)
    masked = unialign(z, scale="one", same=same, equal_captions="masked")[0].item()
    assert masked == pytest.approx(sum(parts(z, same=same).values()), rel=1e-9)
    for n, anchor in enumerate(("text", "vision", "audio")):
        found = unialign(z, scale="one", anchor=anchor)[0].item()
        assert found == pytest.approx(sum(parts(z, anchor=n).values()), rel=1e-9)
    found = unialign(z, scale="one", centroid_temperature=0.9)[0].item()
    assert found == pytest.approx(sum(parts(z, width_centroid=0.9).values()), rel=1e-9)
    found = unialign(z, centroid_temperature=0.9)[0].item()
    p = parts(z, width_centroid=0.9)
    expected = TAU**2 * p["uniformity"] + 0.81 * p["centroid"] + p["alignment"] + p["volume"]
    assert found == pytest.approx(expected, rel=1e-9)


def test_table_2_switches():
    z = tuples(3, 6, 5, seed=5)
    p = parts(z)
    base = p["uniformity"] + p["alignment"]
    off = {"lambda_centroid": 0, "lambda_volume": 0, "scale": "one"}
    total, terms = unialign(z, **off)
    assert total.item() == pytest.approx(base, rel=1e-9)
    assert terms["centroid_uniformity"].item() == terms["volume"].item() == 0  # what is off is not computed
    assert unialign(z, **(off | {"lambda_volume": 1}))[0].item() == pytest.approx(base + p["volume"], rel=1e-9)
    assert unialign(z, **(off | {"lambda_centroid": 1}))[0].item() == pytest.approx(base + p["centroid"], rel=1e-9)


def test_uniformity_per_device():
    z = tuples(3, 9, 5, seed=6)
    mean = z.sum(0) / z.sum(0).norm(dim=-1, keepdim=True)
    chunks = [slice(0, 4), slice(4, 9)]
    p = parts(z)
    for masked in (False, True):
        same = torch.eye(9, dtype=torch.bool)
        same[0, 2] = same[2, 0] = same[1, 8] = same[8, 1] = same[5, 7] = same[7, 5] = masked

        def spread(x, same=same):
            return sum(oracles.uniformity(x[c], TAU, same=same[c, c]) for c in chunks) / 2

        found = unialign(z, scale="one", uniformity_batch="device", devices=2, same=same, equal_captions="masked")[0]
        expected = sum(spread(x) for x in z) + spread(mean) + p["alignment"] + p["volume"]
        assert found.item() == pytest.approx(expected, rel=1e-9)
    assert parse("unialign", {"uniformity_batch": "device"}).devices == 4
    with pytest.raises(ValueError, match="under two rows"):
        unialign(z, uniformity_batch="device", devices=5)


@pytest.mark.parametrize("form", ["euclidean", "geodesic", "volume"])
def test_stop_lets_uniformity_alone_move_the_anchor(form):
    z = tuples(3, 6, 5, seed=7)
    off = {"lambda_uni": 0, "lambda_centroid": 0, "alignment": form}
    for anchor in range(3):
        for reading in ("flow", "stop"):
            leaves = [x.clone().requires_grad_() for x in z]
            total, _ = unialign(leaves, anchor=NAMES[anchor], anchor_gradient=reading, **off)
            grads = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
            moved = [bool(g.abs().max() > 1e-9) for g in grads]
            assert moved == [reading == "flow" or m != anchor for m in range(3)]
    leaves = [x.clone().requires_grad_() for x in z]
    total, _ = unialign(leaves, anchor_gradient="stop", alignment=form)
    assert total.item() == pytest.approx(unialign(z, alignment=form)[0].item())
    assert torch.autograd.grad(total, leaves[0])[0].abs().max() > 1e-3


def test_centroid_temperature_has_no_gradient_from_the_temperature():
    z = tuples(3, 6, 5, seed=8)
    tau = torch.tensor(TAU, dtype=torch.float64, requires_grad=True)
    total, _ = unialign(z, tau=tau, lambda_uni=0, lambda_align=0, lambda_volume=0, centroid_temperature=0.4)
    assert not total.requires_grad or torch.autograd.grad(total, tau, materialize_grads=True)[0] == 0


def test_at_the_papers_temperature_the_literal_uniformity_outweighs_everything():
    """U of a spread batch is about -1 / tau^2 = -204 a modality; the alignment is at most 4 and the volume 1."""
    z = torch.eye(8).expand(3, 8, 8)
    _, terms = unialign(z, tau=0.07, scale="one")
    assert terms["uniformity"].item() == pytest.approx(-3 / 0.07**2, rel=1e-4)
    assert math.isfinite(terms["repulsion"].item())
    scaled, _ = unialign(z, tau=0.07)
    assert scaled.item() == pytest.approx(-4.0, rel=1e-4)
