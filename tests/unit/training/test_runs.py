"""params/runs.yaml: every run resolves, no two trainings are the same, every table's rows exist."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest

from pipeline.settings import load
from pipeline.training.train import recipe
from tests.project import ROOT


@pytest.mark.parametrize("scale", ["smoke", "mini", "paper"])
def test_no_two_runs_are_the_same_training(scale: str) -> None:
    settings = load(scale, ROOT)
    same = defaultdict(list)
    for name, run in settings.runs.items():
        known = {*run.corpora} <= {*settings.corpora, *settings.probes}
        if settings.trained(name) and known and not run.tuned:
            same[json.dumps(recipe(settings, name).plain(), sort_keys=True)].append(name)
    # Where `scenes` is the only corpus, training on it alone is training on all.
    alone = {name for name in settings.runs if settings.runs[name].corpora == list(settings.corpora)}
    for names in same.values():
        others = [name for name in names if name not in alone]
        assert len(others) <= 1, names


def test_every_method_is_published_tuned_and_compared() -> None:
    settings = load("mini", ROOT)
    for method in settings.methods:
        assert method in settings.spaces
        assert method in settings.tables["table1_all"].runs
        assert f"{method}-tuned" in settings.tables["table1_tuned"].runs
    assert len(settings.tables["weights"].runs) == 9
    assert settings.tables["table1"].seeds == settings.tables["table1_tuned"].seeds == 10


@pytest.mark.parametrize(("scale", "low", "high"), [("mini", 1e-4, 1e-2), ("paper", 2e-6, 2e-4)])
def test_every_space_holds_the_scales_own_learning_rate(scale: str, low: float, high: float) -> None:
    settings = load(scale, ROOT)
    for space in settings.spaces.values():
        assert next(iter(space)) == "learning_rate"  # the order of a space is that of Sobol's dimensions
        assert space["learning_rate"].bounds == pytest.approx((low, high), rel=0 if scale == "mini" else 1e-9)


def test_probes_share_contents_with_scenes() -> None:
    """What one form of `scenes` trains on, no other tests: contents are a prefix in the order train, val, test."""
    for scale in ("smoke", "mini"):
        settings = load(scale, ROOT)
        for probe in settings.probes.values():
            if probe.kind == "scenes":
                assert (probe.train, probe.val) == (settings.corpora["scenes"].train, settings.corpora["scenes"].val)
