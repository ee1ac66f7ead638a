"""Growth with M: same clips and first weights for every M, subsets, statistics, and the whole on synthetic views."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from pipeline import paths
from pipeline.files import read_json, save_tensors
from pipeline.loop import generator
from pipeline.settings import Settings, load
from pipeline.theory import modalities as module

ROOT = Path(__file__).parents[3]
LANGUAGES = ["fr", "ro", "ru", "bg", "ca", "es", "be", "el"]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "params", tmp_path / "params")
    settings = load("smoke", tmp_path)
    source = generator(5)
    names = ["text", "vision", *LANGUAGES]
    views = {name: torch.randn(4, 12, generator=source) for name in names}
    tensors = {}
    for split in ("train", "test"):
        latent = torch.randn(24, 4, generator=source)
        tensors |= {f"{name}-{split}": torch.tanh(latent @ view) for name, view in views.items()}
    captions = {split: [f"{split} {n}" for n in range(24)] for split in ("train", "test")}
    about = {"captions": captions, "modalities": names, "real": False}
    save_tensors(paths.polyglot_features(settings), tensors, about)
    return settings


def test_every_number_has_its_uncertainty(settings: Settings) -> None:
    module.modalities(settings)
    found = read_json(paths.theory(settings, "modalities"))
    options = settings.theory.modalities
    assert len(found["trainings"]) == len(options.runs) * len(options.counts) * options.subsets
    for record in found["records"]:
        assert {"value", "sd", "n", "seeds", "ci_low", "ci_high"} <= record.keys()
        assert record["n"] == options.subsets
    assert paths.figure(settings, "figure1", "svg").is_file()
    two = [row for row in found["records"] if row["M"] == 2 and row["measure"] == "test/chi"]
    assert all(row["value"] == pytest.approx(0, abs=1e-6) for row in two)
    json.dumps(found, allow_nan=False)


def test_no_two_seeds_share_a_set_of_languages_where_there_are_enough() -> None:
    sizes = list(range(9))
    for seed in range(5):
        orders = module.distinct_orders(LANGUAGES, sizes, 5, seed)
        assert all(sorted(order) == sorted(LANGUAGES) for order in orders)
        for size in sizes[1:-1]:
            assert len({frozenset(order[:size]) for order in orders}) == 5
    assert len(module.distinct_orders(LANGUAGES, [0, 8], 5, 1)) == 5


def test_first_weights_of_the_query_pair_are_the_same_for_every_count() -> None:
    widths = dict.fromkeys(["text", "vision", *LANGUAGES], 12)
    small = module.Heads({name: widths[name] for name in ("text", "vision")}, 8, 0, generator(3))
    large = module.Heads(widths, 8, 0, generator(3))
    for name in ("text", "vision"):
        assert torch.equal(small.heads[name].weight, large.heads[name].weight)


def test_growth_is_the_paired_change_and_the_rank_correlation() -> None:
    trainings = [
        {"run": "m", "M": count, "seed": seed, "values": {"k": count + 0.1 * seed}}
        for count in (2, 5, 10)
        for seed in (0, 1, 2)
    ]
    found = module.growth(trainings, "m", "k")
    assert found["value"] == pytest.approx(8)
    assert (found["from"], found["to"], found["verdict"]) == (2, 10, "grows")
    assert (found["spearman"]["value"], found["spearman"]["n"]) == (pytest.approx(1), 3)
    flat = [one | {"values": {"k": float(one["seed"])}} for one in trainings]
    assert module.growth(flat, "m", "k")["verdict"] == "unclear"


def test_chi_grows_from_three_modalities_on() -> None:
    trainings = [{"run": "m", "M": count, "values": {"test/chi": float(count > 2)}} for count in (2, 3, 10)]
    assert module.growth(trainings, "m", "test/chi")["value"] == 0
    assert module.growth(trainings, "m", "test/chi")["from"] == 3


def test_a_change_of_recall_knows_how_few_captions_there_are() -> None:
    """Equal seeds: no spread between them, and still an interval as wide as that of 50 captions."""
    before = [[True] * 5 + [False] * 45] * 4
    after = [[False] * 4 + [True] * 3 + [False] * 43] * 4
    found = module.recalled(before, after, 500, 1)
    assert (found["value"], found["sd"], found["n"], found["seeds"]) == (pytest.approx(-0.04), 0, 50, 4)
    assert found["verdict"] == "unclear"
    assert -0.16 < found["ci_low"] < -0.08
    assert 0.02 < found["ci_high"] < 0.1
