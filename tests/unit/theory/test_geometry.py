"""Geometry of stored embeddings, and methods against shared content, on made-up embeddings."""

from __future__ import annotations

import math
import shutil
from itertools import combinations
from pathlib import Path

import pytest
import torch

from pipeline import paths, tuples
from pipeline.files import read_json, save_tensors
from pipeline.geometry import conflict, frechet_distance, holder_divergence, unit
from pipeline.loop import generator
from pipeline.settings import Settings, load
from pipeline.theory.corollaries import assumption
from pipeline.theory.geometry import geometry, measures
from pipeline.theory.sharing import chosen, measured, sharing

ROOT = Path(__file__).parents[3]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "params", tmp_path / "params")
    return load("smoke", tmp_path)


def store(path: Path, noise: float, seed: int = 0, n: int = 12) -> None:
    torch.manual_seed(seed)
    tensors = {}
    for split in ("val", "test"):
        latent = unit(torch.randn(n, 8))
        for name in ("text", "vision", "audio"):
            tensors[f"{split}/{name}"] = unit(latent + noise * torch.randn(n, 8))
        tensors[f"{split}/text_clip"] = torch.arange(n)
    save_tensors(path, tensors)


def test_measures_against_naive_ones() -> None:
    torch.manual_seed(0)
    z = unit(torch.randn(3, 10, 6, dtype=torch.float64))
    found = measures(z)
    gaps = [float((x.mean(0) - y.mean(0)).norm()) for x, y in combinations(z, 2)]
    assert found["gap"] == pytest.approx(sum(gaps) / 3)
    aligned = [(z[0] - z[n]).square().sum(-1).mean() for n in (1, 2)]
    assert found["alignment"] == pytest.approx(float(sum(aligned)) / 2)
    values = [float(torch.linalg.eigvalsh(z[:, i] @ z[:, i].T)[-1]) / 3 for i in range(10)]
    assert found["collinearity"] == pytest.approx(sum(values) / 10)
    assert measures(z[:1].expand(3, -1, -1))["gap"] == pytest.approx(0)
    conflicts = [conflict(z, anchor, 0.07) for anchor in range(3)]
    for place, name in enumerate(("zeta", "chi")):
        assert found[name] == pytest.approx(sum(float(each[place].mean()) for each in conflicts) / 3)
    for name, width in (("uniformity", 0.07), ("uniformity_wide", 0.5)):
        squared = [(x[:, None] - x).square().sum(-1) for x in z]
        kernels = [(-d[~torch.eye(10, dtype=torch.bool)] / (2 * width**2)).exp().view(10, 9) for d in squared]
        assert found[name] == pytest.approx(sum(float(kernel.mean(1).log().mean()) for kernel in kernels) / 3)
    for name, width in (("holder", 0.07), ("holder_wide", 0.5)):
        assert found[name] == pytest.approx(float(holder_divergence(z, width)))
    shares = [torch.linalg.svdvals(x) / torch.linalg.svdvals(x).sum() for x in z]
    ranks = [math.exp(-float((share * share.log()).sum())) for share in shares]
    assert found["effective_rank"] == pytest.approx(sum(ranks) / 3)
    distances = [frechet_distance(x, y) for x, y in combinations(z, 2)]
    assert found["frechet"] == pytest.approx(float(sum(distances)) / 3)


def test_geometry_of_a_table(settings: Settings) -> None:
    for number, run in enumerate(settings.tables["table4"].runs):
        for corpus in settings.corpora:
            store(paths.embeddings(settings, run, 0, corpus), 0.1 * (number + 1))
    geometry(settings, "table4")
    records = read_json(paths.theory(settings, "geometry/table4"))["records"]
    alignments = [row["value"] for row in records if row["measure"] == "alignment" and row["corpus"] == "average"]
    assert len(alignments) == len(settings.tables["table4"].runs)
    assert alignments == sorted(alignments)
    assert {"value", "sd", "n", "seeds", "ci_low", "ci_high"} <= records[0].keys()


def test_sharing_ranks_methods_within_a_form(settings: Settings) -> None:
    noise = {"infonce": 0.05, "gram": 1.0, "pmrl": 2.0, "unialign": 4.0}
    table = settings.tables["sharing"].model_copy(update={"seeds": 2})
    settings = settings.model_copy(update={"tables": settings.tables | {"sharing": table}})
    for run in table.runs:
        row = settings.run(run)
        for seed in (0, 1):
            store(paths.embeddings(settings, run, seed, row.corpora[0]), noise[row.method], seed)
    sharing(settings)
    found = read_json(paths.theory(settings, "sharing"))
    records = found["records"]
    assert {record["form"] for record in records} == {"redundant", "unique", "synergistic"}
    value = {(r["run"], r["measure"]): r["value"] for r in records}
    assert len(found["differences"]) == 6 * len({(r["form"], r["measure"]) for r in records})
    for one in found["differences"]:
        gap = value[one["first"], one["measure"]] - value[one["second"], one["measure"]]
        assert one["value"] == pytest.approx(gap)
        assert one["ci_low"] <= one["value"] <= one["ci_high"]
        methods = settings.run(one["first"]).method, settings.run(one["second"]).method
        if one["measure"] == "T2VA/R1" and methods == ("infonce", "unialign"):
            assert (one["verdict"], one["p_holm"] < 0.05) == ("better", True)
    best = [record for record in records if record["measure"] == "T2VA/R1" and record["rank"] == 1]
    assert {record["method"] for record in best} == {"infonce"}
    for record in records:
        assert (record["rank"] is None) == (record["ci_low"] <= record["chance"])
    assert {record["chance"] for record in records if record["measure"] == "joint_gain"} == {0}
    assert paths.figure(settings, "sharing", "png").is_file()


def test_joint_gain_counts_what_both_tell() -> None:
    """Picture and sound each know half of the text; only their mean points at it."""
    rows = torch.eye(8)
    pairs = torch.cartesian_prod(torch.arange(4), torch.arange(4, 8))
    vision, audio = rows[pairs[:, 0]], rows[pairs[:, 1]]
    z = torch.stack([unit(vision + audio), vision, audio])
    found = measured(z, *chosen([z]))
    assert found["T2VA/R1"].mean() == 1.0
    assert found["joint_gain"].mean() > 0.5


def test_twins_are_one_row(tmp_path: Path) -> None:
    """A caption that stands by two clips is a tuple once, with the first of them."""
    z = unit(torch.randn(3, 4, 8, generator=generator(5)))
    text = z[0][[0, 1, 0, 2, 3, 1]]
    tensors = {"test/text": text, "test/text_clip": torch.tensor([0, 1, 2, 3, 4, 5])}
    clips = unit(torch.randn(2, 6, 8, generator=generator(6)))
    save_tensors(tmp_path / "z.safetensors", tensors | {"test/vision": clips[0], "test/audio": clips[1]})
    found = tuples.read(tmp_path / "z.safetensors")
    assert torch.equal(found, torch.stack([text, *clips])[:, [0, 1, 3, 4]])


def test_assumption_1_of_built_forces() -> None:
    """One modality has the zeta it has; two that repel alike have residuals of cosine 1, which a sum cannot average."""
    source = generator(7)
    anchor, other = unit(torch.randn(2, 60, 16, generator=source).double())
    for others, cosine in (([other], 0.0), ([other, other], 1.0)):
        z = torch.stack([anchor, *others])
        found, zeta = assumption(z, 0), float(conflict(z, 0, 0.07, exclude_self=True)[0].mean())
        assert found["residual_cosine"] == pytest.approx(cosine)
        assert found["systematic_low"] <= found["systematic"]
        assert 0 < found["systematic_share"] <= 1
        assert 0 <= found["residual_mean"] <= 1
        if len(others) == 1:
            assert found["zeta_if_independent"] == pytest.approx(zeta)
        else:
            assert abs(found["zeta_if_independent"]) > abs(zeta)
