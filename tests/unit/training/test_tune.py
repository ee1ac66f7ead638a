"""Spaces, rounds, curves; a search that is killed goes on where it was; a tuned run takes the winner."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from pipeline import paths
from pipeline.errors import Diverged, UserError
from pipeline.files import read_json
from pipeline.settings import Dimension, Settings
from pipeline.training import tune as module
from pipeline.training.train import recipe
from tests.unit.pooled_files import project

SPACE = {
    "learning_rate": Dimension(low=1e-4, high=1e-2),
    "settings.anchor_gradient": Dimension(choices=["flow", "stop"]),
}


def test_sobol_points_fill_the_logarithm_of_the_space_evenly() -> None:
    points = module.sobol(SPACE, 16, 1)
    assert points == module.sobol(SPACE, 16, 1)
    assert points != module.sobol(SPACE, 16, 2)
    rates = sorted(float(point["learning_rate"]) for point in points)
    bins = [int(4 * module.log(rate / 1e-4) / module.log(100)) for rate in rates]
    assert [bins.count(number) for number in range(4)] == [4, 4, 4, 4]
    assert [point["settings.anchor_gradient"] for point in points].count("flow") == 8


@pytest.mark.parametrize(
    ("rate", "low", "high"), [(1.1e-4, 1e-5, 1e-4 * 100**0.125), (9.5e-3, 1e-2 / 100**0.125, 1e-1), (1e-3, None, None)]
)
def test_a_winner_on_an_edge_extends_its_range(rate: float, low: float | None, high: float | None) -> None:
    beyond = module.extended(SPACE, {"learning_rate": rate, "settings.anchor_gradient": "flow"}, 0.125)
    if low is None:
        assert beyond == {}
        return
    assert beyond["learning_rate"].low == pytest.approx(low)
    assert beyond["learning_rate"].high == pytest.approx(high)
    grown = module.widened(SPACE, beyond)["learning_rate"]
    assert (grown.low, grown.high) == (min(1e-4, beyond["learning_rate"].low), max(1e-2, beyond["learning_rate"].high))


def test_the_curve_is_the_expected_best_of_k_trials() -> None:
    values = [0.3, 0.1, 0.5, 0.2]
    for k, expected in enumerate(module.curve(values), start=1):
        draws = list(combinations(values, k))
        assert expected == pytest.approx(sum(map(max, draws)) / len(draws))


def test_the_best_score_is_judged() -> None:
    found = module.judged({"val/mean/cosine/MRR": 0.2, "val/mean/residual/MRR": 0.4, "val/mean/residual/R1": 0.9})
    assert (found["mrr"], found["score"]) == (0.4, "residual")
    values = {"val/mean/cosine/MRR": 0.2, "val/mean/fused/MRR": 0.4}
    assert module.judged(values)["score"] == "fused"
    assert module.judged(values, ["fused"]) == {"mrr": 0.2, "score": "cosine", "scores": {"cosine": 0.2, "fused": 0.4}}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return project(tmp_path)


def test_a_search_goes_on_and_a_tuned_run_takes_its_winner(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="tune --method gram"):
        recipe(settings, "gram-tuned")
    trained = []
    fit = module.fit

    def counted(*arguments: object) -> object:
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(arguments)
        return fit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        module.tune(settings, "gram")
    again = []

    def rest(*arguments: object) -> object:
        again.append(arguments)
        return fit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "fit", rest)
    module.tune(settings, "gram")
    budget = settings.tuning.trials + settings.tuning.rounds * settings.tuning.extra
    assert len(again) == budget - 1
    found = read_json(paths.tuning(settings, "gram"))
    assert found["spent"] == len(found["trials"]) == budget
    assert len(found["curve"]) == settings.tuning.trials
    assert found["winner"]["mrr"] == max(trial["mrr"] for trial in found["trials"])
    how = recipe(settings, "gram-tuned")
    assert how.optimisation.learning_rate == found["winner"]["values"]["learning_rate"]
    assert how.temperature == found["winner"]["values"]["temperature"]


def test_rounds_go_beyond_the_edge_or_within_the_space_and_cost_the_same(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings.model_copy(
        update={"tuning": settings.tuning.model_copy(update={"trials": 8, "rounds": 2, "extra": 2})}
    )

    def asked(best: float) -> list[float]:
        rates: list[float] = []

        def trial(_: object, values: module.Values) -> dict[str, object]:
            rates.append(float(values["learning_rate"]))
            near = -abs(module.log(rates[-1] / best))
            return {"values": values, "mrr": near, "score": "cosine", "scores": {}, "failure": ""}

        monkeypatch.setattr(module.Trials, "__call__", trial)
        module.tune(settings, "infonce")
        return rates

    low, high = settings.spaces["infonce"]["learning_rate"].bounds
    inside, beyond = asked((low * high) ** 0.5), asked(high)
    assert len(inside) == len(beyond) == 12
    assert low <= min(inside)
    assert max(inside) <= high
    assert min(beyond[8:10]) > 0.5 * high


def test_no_run_has_the_seed_of_the_trials(settings: Settings) -> None:
    assert max(settings.seeds(run) for run in settings.runs) <= module.SEED


def test_a_training_that_breaks_down_scores_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise Diverged("loss nan at step 3")

    monkeypatch.setattr(module, "fit", broken)
    found = module.Trials(settings, "infonce")({"learning_rate": 1e-2})
    assert (found["mrr"], found["failure"]) == (0.0, "loss nan at step 3")
    with pytest.raises(UserError, match=r"infonce: none of \d+ trials ended; the first: loss nan at step 3"):
        module.tune(settings, "infonce")


def test_a_mistake_is_no_training_that_breaks_down(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(*_: object) -> None:
        raise UserError("batch 600 is larger than the 500 rows to draw from")

    monkeypatch.setattr(module, "fit", mistaken)
    with pytest.raises(UserError, match="batch 600"):
        module.Trials(settings, "infonce")({"learning_rate": 1e-2})


def test_an_unknown_method_is_named(settings: Settings) -> None:
    with pytest.raises(UserError, match=r"no such space in params/spaces\.yaml"):
        module.tune(settings, "clip")


def test_every_space_fits_its_objective(settings: Settings) -> None:
    for method, space in settings.spaces.items():
        how = recipe(settings, method)
        for values in module.sobol(space, 2, 1):
            module.changed(how, values)
