"""The check of models trained on shuffled text: what chance is, what it may reach, and that true text fails it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from pipeline import paths
from pipeline.corpora import leakage, shuffled
from pipeline.corpora.shuffled import Chance
from pipeline.embeddings.embed import embed
from pipeline.errors import UserError
from pipeline.ranks import Ranking
from pipeline.retrieval.rank import rank
from pipeline.settings import Settings, load
from pipeline.training.train import train as train_run
from pipeline.vast.pool import pool
from pipeline.vast.train import train as train_vast
from tests.project import ROOT
from tests.unit.vast import project

RUN = "vast-continued-shuffled"


def ranking(rank: list[float], relevant: list[int], items: int) -> Ranking:
    n = len(rank)
    names = np.array([f"q{row}" for row in range(n)])
    return Ranking(names, names, np.array(rank), np.zeros(n, int), 1 / np.array(rank), np.array(relevant), items)


@pytest.mark.parametrize(("relevant", "items"), [(1, 5), (2, 5), (3, 4), (4, 4)])
def test_places_of_the_first_hit_are_those_of_all_orders(relevant: int, items: int) -> None:
    orders = list(permutations(range(items)))
    first = [min(order.index(hit) for hit in range(relevant)) for order in orders]
    expected = [first.count(place) / len(orders) for place in range(items - relevant + 1)]
    assert shuffled.first_hit(relevant, items) == pytest.approx(expected)


def test_chance_counts_the_hits_of_each_query() -> None:
    made = ranking([1, 1, 1, 1], [1, 1, 1, 3], 6)
    first = shuffled.chance(made, shuffled._first)
    assert first.mean == pytest.approx(100 * made.chance(1)) == pytest.approx(100 * (3 / 6 + 3 / 6) / 4)
    assert first.deviation == pytest.approx(100 * np.sqrt(3 * 5 / 36 + 1 / 4) / 4)
    reciprocal = shuffled.chance(ranking([1.0], [1], 4), np.reciprocal)
    assert reciprocal.mean == pytest.approx(100 * (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_the_limit_is_students_and_never_below_independent_queries() -> None:
    chance = Chance(5.0, 2.0, 100)
    assert shuffled.limit(chance, 3.0, 10, 9, 0.001) == pytest.approx(5 + 4.2968 * 3 / 3, abs=1e-3)  # t, 9 degrees
    assert shuffled.limit(chance, 0.0, 10, 1, 0.001) == pytest.approx(5 + 4.2968 * 2, abs=1e-3)


def test_chance_passes_in_999_of_1000(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries that share their luck by tens: a binomial bound would fail every third of these tables."""
    random, n, failed = np.random.default_rng(1), 200, 0
    for _ in range(300):
        hits = np.repeat(random.random((10, n // 10)) < 0.05, 10, axis=1).mean(1) * 100
        chance = Chance(5.0, 100 * np.sqrt(0.05 * 0.95 / n), n)
        failed += hits.mean() > shuffled.limit(chance, hits.std(ddof=1), 10, 10, shuffled.LEVEL)
    assert failed <= 1


def project_settings(shuffle: bool, folder: Path) -> Settings:
    """Synthetic features that tell their captions; the runs of the table `leakage`, shuffled or not."""
    settings = project.make(folder)
    steps = settings.vast.optimisation.model_copy(update={"steps": 150, "learning_rate": 3e-3})
    heads = settings.training.optimisation.model_copy(update={"steps": 60, "learning_rate": 0.01})
    named = ("vast-shuffled", RUN)
    runs = {name: settings.runs[name].model_copy(update={"shuffle_text": shuffle}) for name in named}
    table = settings.tables["leakage"].model_copy(update={"runs": list(named), "seeds": 8})
    return settings.model_copy(
        update={
            "vast": settings.vast.model_copy(update={"optimisation": steps}),
            "training": settings.training.model_copy(update={"optimisation": heads}),
            "runs": settings.runs | runs,
            "tables": settings.tables | {"leakage": table},
        }
    )


@pytest.fixture(params=[True, False], ids=["shuffled", "true"], scope="module")
def records(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bool, list]]:
    """Checks of models that went the whole way: vast, pooled features, runs, embeddings, ranks."""
    folder = tmp_path_factory.mktemp("shuffled")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = project_settings(request.param, folder)
        train_vast(settings, "vast-shuffled")
        pool(settings, "vast-shuffled")
        train_run(settings, RUN, list(range(8)))
        for run, seeds in (("vast-shuffled", [0]), (RUN, list(range(8)))):
            embed(settings, run, seeds)
            rank(settings, run, seeds)
        for corpus in settings.corpora:
            copy = paths.ranks(settings, "vast", 0, corpus)
            copy.parent.mkdir(parents=True)
            shutil.copy(paths.ranks(settings, "vast-shuffled", 0, corpus), copy)
        yield request.param, [leakage._record(**fields) for fields in shuffled.checks(settings)]


def test_only_true_text_is_found_out(records: tuple[bool, list]) -> None:
    was_shuffled, found = records
    assert json.loads(json.dumps(found)) == found
    assert len(found) == 2 * 2 * 2 * 4  # runs, measures, directions, scores
    leaks = {record["check"] for record in found if not record["ok"]}
    for record in found:
        same = "vast-shuffled" in record["check"]  # its twin on true text is a copy of it here; the other's is not made
        assert record["true"] == (record["value"] if same else None)
        assert record["telling"] == (not record["ok"] if same else None)
    if was_shuffled:
        assert not leaks
    else:
        for run in ("vast-shuffled", RUN):
            assert f"R@1 T2VA in % by fused of {run}, trained on shuffled text" in leaks
            assert f"MRR VA2T in % by fused of {run}, trained on shuffled text" in leaks


def test_released_weights_are_said_to_be_no_case() -> None:
    (only,) = shuffled.checks(load("paper", ROOT))
    assert "not applicable: released weights" in only["note"]
    assert leakage._record(**only)["ok"]


def test_two_dealings_are_needed() -> None:
    settings = load("smoke", ROOT, "mini-way")
    table = settings.tables["leakage"].model_copy(update={"seeds": 1})
    with pytest.raises(UserError, match="two dealings"):
        next(shuffled.checks(settings.model_copy(update={"tables": settings.tables | {"leakage": table}})))
