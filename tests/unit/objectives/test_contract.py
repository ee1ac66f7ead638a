"""What holds for every objective: invariances, number formats, edge batches, errors, settings, the short example."""

import subprocess
import sys
from dataclasses import FrozenInstanceError, fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.objectives
from pipeline.objectives import OBJECTIVES, TEMPERATURES, parse
from pipeline.objectives.settings import FAMILIES
from tests.unit.geometry.oracles import tuples

NAMES = ["text", "vision", "audio"]
TAU = torch.tensor(0.3, dtype=torch.float64)
every = pytest.mark.parametrize("name", OBJECTIVES)


def run(name, z, tau=TAU, **options):
    embeddings = dict(zip(NAMES, z, strict=False))
    fused = {"v": z[1], "va": z[0] + z[1] if z[0].shape == z[1].shape else z[0]}
    return OBJECTIVES[name](embeddings, fused, tau, parse(name, options))[0]


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
@pytest.mark.parametrize("name", [n for n in OBJECTIVES if n != "symile"])  # the coordinates matter to Symile
def test_rotation(name, seed):
    z = tuples(3, 5, 6, seed=seed)
    turn = torch.linalg.qr(tuples(1, 6, 6, seed=seed + 1)[0])[0]
    torch.testing.assert_close(run(name, z @ turn), run(name, z))


@every
def test_order_of_rows_scale_and_order_of_modalities(name):
    z = tuples(3, 7, 5, seed=1)
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    options = {"negatives": "n_squared"} if name == "symile" else {}
    torch.testing.assert_close(run(name, z[:, order], **options), run(name, z, **options))
    torch.testing.assert_close(run(name, z * torch.tensor([2.0, 2.0, 5.0])[:, None, None], **options),
                               run(name, z, **options))  # fmt: skip
    if name not in ("vast", "holder"):  # holder: the first is the anchor unless all are
        swapped = {NAMES[m]: z[m] for m in (2, 0, 1)}
        total = OBJECTIVES[name](swapped, {}, TAU, parse(name, options))[0]
        torch.testing.assert_close(total, run(name, z, **options))


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_number_formats_and_autocast(name, dtype):
    z = tuples(3, 8, 16, seed=2).to(dtype)
    leaves = [x.clone().requires_grad_() for x in z]
    value = run(name, leaves, torch.tensor(TEMPERATURES[name]))
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert all(x.grad is None or x.grad.isfinite().all() for x in leaves)
    expected = run(name, z.double(), torch.tensor(TEMPERATURES[name]).double())
    assert value.item() == pytest.approx(expected.item(), rel=2e-3, abs=2e-3)
    with torch.autocast("cpu", torch.bfloat16):
        again = [x.clone().requires_grad_() for x in z]
        repeated = run(name, again, torch.tensor(TEMPERATURES[name]))
        assert repeated.item() == pytest.approx(value.item(), rel=1e-5, abs=1e-6)
        repeated.backward()  # not recommended inside, but it must neither fail nor lose precision where written by hand
    assert all(x.grad is None or x.grad.isfinite().all() for x in again)


@every
@pytest.mark.parametrize("rows", [1, 2])
def test_small_batches(name, rows):
    z = tuples(3, rows, 6, seed=3)
    leaves = [x.clone().requires_grad_() for x in z]
    if name == "unialign" and rows == 1:
        with pytest.raises(ValueError, match="two rows that differ"):
            run(name, leaves)
        return
    value = run(name, leaves)
    value.backward()
    assert value.isfinite()
    assert all(x.grad is None or x.grad.isfinite().all() for x in leaves)


@every
def test_identical_modalities_and_identical_rows_are_finite(name):
    z = tuples(1, 5, 6, seed=4).float()
    for same in (z.expand(3, -1, -1), z[:, :1].expand(3, 5, -1)):
        leaves = [x.clone().requires_grad_() for x in same]
        value = run(name, leaves, torch.tensor(0.07))
        value.backward()
        assert value.isfinite()
        assert all(x.grad is None or x.grad.isfinite().all() for x in leaves)


@every
def test_unusable_inputs_are_named(name):
    for bad in (0.0, float("nan"), float("inf")):
        z = tuples(3, 4, 6, seed=5)
        z[1, 2] = bad
        with pytest.raises(ValueError, match="'vision'"):
            run(name, z)
    z = tuples(3, 4, 6)
    for tau in (0.0, -0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="temperature"):
            run(name, z, torch.tensor(tau))
    with pytest.raises(ValueError, match="temperature"):
        run(name, z, torch.tensor([0.1, 0.1]))
    with pytest.raises(ValueError, match="'vision'"):
        run(name, [z[0], z[1, :3], z[2]])
    with pytest.raises(ValueError, match="widths"):
        run(name, [z[0], z[1, :, :3], z[2]]) if name != "vast" else OBJECTIVES[name](
            {"text": z[0]}, {"v": z[1], "a": z[2, :, :3]}, TAU, parse(name)
        )
    for empty in ({}, {"text": z[0, :0], "vision": z[1, :0]}):
        with pytest.raises(ValueError, match="embedding"):
            OBJECTIVES[name](empty, {}, TAU, parse(name))
    with pytest.raises(ValueError, match="same"):
        OBJECTIVES[name](dict(zip(NAMES, z, strict=True)), {}, TAU, parse(name), same=torch.eye(3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"two modalities|fused"):
        OBJECTIVES[name]({"text": z[0]}, {}, TAU, parse(name))
    with pytest.raises(ValueError, match="floating"):
        run(name, [z[0], z[1].long(), z[2]])


@pytest.mark.parametrize("name", [n for n in OBJECTIVES if hasattr(FAMILIES[n](), "anchor")])
def test_unknown_anchor(name):
    with pytest.raises(ValueError, match="anchor 'depth' is none of text, vision, audio"):
        run(name, tuples(), anchor="depth")


def test_published_constants():
    assert list(OBJECTIVES) == list(FAMILIES) == list(TEMPERATURES)
    assert {n: t for n, t in TEMPERATURES.items() if t != 0.07} == {"pmrl": 0.1}
    for name in ("gram", "triangle", "vast"):
        assert parse(name).label_smoothing == 0.1
        assert parse(name).gather == "grad"
    assert parse("pmrl").singular_temperature == 0.01
    assert parse("pmrl").lambda_inter == 1
    assert parse("imagebind").anchor == "vision"
    assert [parse(n).anchor for n in ("languagebind", "vast", "gram", "triangle", "unialign")] == ["text"] * 5
    unialign = parse("unialign")
    assert (unialign.lambda_uni, unialign.lambda_align, unialign.lambda_vol) == (1, 1, 1)
    assert (unialign.scale, unialign.width, unialign.over_modalities) == ("U*tau2", "2tau2", "sum")
    assert (unialign.anchor_gradient, unialign.uniformity_batch, unialign.equal_captions) == ("flow", "global", "not")


def test_parse():
    assert parse("unialign", {"width": 1}).width == 1.0
    assert isinstance(parse("unialign", {"lambda_uni": 0}).lambda_uni, float)
    assert parse("vast", {"conditions": ["v", "va"]}).conditions == ("v", "va")
    assert parse("unialign", {"centroid_temperature": None}).centroid_temperature is None
    assert parse("holder", {"leave_one_out": True}).leave_one_out is True
    assert hash(parse("unialign")) == hash(parse("unialign", {}))
    with pytest.raises(FrozenInstanceError):
        parse("gram").anchor = "vision"
    wrong = [
        ("unialine", {}, "no objective 'unialine'; there are infonce"),
        ("gram", {"smoothing": 0.1}, "unknown setting 'smoothing'; there are equal_captions, anchor"),
        ("gram", {"gather": "half"}, "gather: 'half' is not one of grad, no-grad"),
        ("gram", {"anchor": 3}, "anchor: 3 is not a name"),
        ("gram", {"anchor": None}, "anchor: None is not a name"),
        ("gram", {"label_smoothing": -0.1}, "label_smoothing: -0.1 is not a number"),
        ("unialign", {"width": "wide"}, "width: 'wide' is not one of 2tau2, 2tau or a number > 0"),
        ("unialign", {"width": 0}, "width: 0 is not"),
        ("unialign", {"devices": 0}, "devices: 0 is not a whole number > 0"),
        ("unialign", {"devices": 2.5}, "devices: 2.5 is not"),
        ("unialign", {"lambda_uni": float("nan")}, "lambda_uni: nan is not"),
        ("unialign", {"lambda_uni": True}, "lambda_uni: True is not"),
        ("unialign", {"centroid_temperature": 0}, "centroid_temperature: 0 is not a number > 0"),
        ("unialign", {"width": 0.5, "centroid_temperature": 0.1}, "without effect beside width 0.5"),
        ("unialign", {"lambda_centroid": 0, "centroid_temperature": 0.1}, "without effect beside lambda_centroid 0"),
        ("unialign", {"lambda_vol": 0, "lambda_centroid": 0}, "lambda_centroid: without effect beside lambda_vol 0"),
        ("unialign", {"lambda_vol": 0, "lambda_volume": 2}, "lambda_volume: without effect beside lambda_vol 0"),
        ("unialign", {"lambda_vol": 0, "centroid_temperature": 0.1}, "without effect beside lambda_vol 0"),
        ("unialign", {"devices": 2}, "devices: without effect beside uniformity_batch global"),
        (
            "unialign",
            {"lambda_uni": 0, "over_modalities": "mean"},
            "over_modalities: without effect beside",
        ),
        (
            "unialign",
            {"lambda_uni": 0, "lambda_vol": 0, "uniformity": "geodesic"},
            "uniformity: without effect beside",
        ),
        ("unialign", {"lambda_uni": 0, "lambda_centroid": 0, "width": "2tau"}, "width: without effect beside no"),
        ("unialign", {"lambda_align": 0, "alignment": "geodesic"}, "alignment: without effect beside lambda_align 0"),
        (
            "unialign",
            {"lambda_align": 0, "lambda_volume": 0, "anchor": "vision"},
            "anchor: without effect beside no",
        ),
        (
            "unialign",
            {"lambda_align": 0, "lambda_vol": 0, "anchor_gradient": "stop"},
            "anchor_gradient: without",
        ),
        ("holder", {"leave_one_out": 1}, "leave_one_out: 1 is not true or false"),
        ("vast", {"conditions": "v"}, "conditions: 'v' is not a list of names"),
    ]
    for name, mapping, message in wrong:
        with pytest.raises(ValueError, match="objective") as error:
            parse(name, mapping)
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_what_one_term_still_needs_can_be_set():
    """U(C) has a kernel without U, √det has an anchor without alignment."""
    assert parse("unialign", {"lambda_uni": 0, "uniformity": "geodesic"}).uniformity == "geodesic"
    assert parse("unialign", {"lambda_align": 0, "anchor": "vision"}).anchor == "vision"


@every
def test_every_setting_of_a_family_can_be_given(name):
    given = {field.name: getattr(parse(name), field.name) for field in fields(FAMILIES[name])}
    assert parse(name, given) == parse(name)


def test_library_works_without_the_workflow():
    example = """
import sys, torch
from pipeline.objectives import OBJECTIVES, parse
layers = {m: torch.nn.Linear(8, 4) for m in ("text", "vision", "audio")}
optimiser = torch.optim.AdamW([p for layer in layers.values() for p in layer.parameters()], lr=1e-2)
views = {m: torch.randn(16, 8) for m in layers}
for step in range(3):
    total, terms = OBJECTIVES["unialign"]({m: layers[m](x) for m, x in views.items()}, {}, torch.tensor(0.07),
                                          parse("unialign"))
    optimiser.zero_grad(); total.backward(); optimiser.step()
heavy = {"snakemake", "dvc", "transformers", "pandas", "pydantic", "mlflow"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", example], check=True, timeout=60)


def test_published_temperatures_and_the_least_whole_number():
    assert set(FAMILIES) == set(TEMPERATURES)
    assert {name for name, value in TEMPERATURES.items() if value != 0.07} == {"pmrl"}
    assert TEMPERATURES["pmrl"] == 0.1
    assert parse("unialign", {"devices": 1, "uniformity_batch": "device"}).devices == 1
    for whole in ({"lambda_vol": 0}, {"lambda_centroid": 0, "lambda_volume": 0}, {"width": 0.5, "lambda_centroid": 0}):
        assert parse("unialign", whole) != parse("unialign")


@pytest.mark.parametrize("name", ["nonsense", "gramm"])
def test_an_unknown_name_is_no_attribute(name):
    with pytest.raises(AttributeError, match=name):
        getattr(pipeline.objectives, name)
