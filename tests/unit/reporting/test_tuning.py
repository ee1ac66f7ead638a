"""The table of the tuning: equal counts, the winner, the curve; a missing search is named."""

from __future__ import annotations

import shutil
from itertools import combinations
from pathlib import Path
from statistics import pstdev

import pytest

from pipeline import paths
from pipeline.errors import UserError
from pipeline.files import read_json, write_json
from pipeline.reporting.tuning import spread, tuning
from pipeline.settings import Settings, load

ROOT = Path(__file__).parents[3]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "params", tmp_path / "params")
    return load("smoke", tmp_path)


def found(method: str, level: float) -> dict[str, object]:
    """A search of three trials, one of which broke down."""
    values: list[dict[str, float | str]] = [{"learning_rate": rate, "settings.scale": "one"} for rate in (1e-4, 2e-3)]
    trials = [{"values": value, "mrr": level, "score": "volume", "failure": ""} for value in values]
    trials.append({"values": values[0], "mrr": 0.0, "score": None, "failure": "loss nan"})
    return {
        "method": method, "criterion": "validation MRR", "seed": 10_000, "trials_train": "heads", "runs_train": "all",
        "trials": trials, "spent": 3, "curve": [level / 2, level], "winner": trials[1], "on_edge": ["learning_rate"],
    }  # fmt: skip


def test_the_table_shows_what_was_spent_and_found(settings: Settings) -> None:
    with pytest.raises(UserError, match="tune --method vast-continued"):
        tuning(settings)
    for number, method in enumerate(settings.spaces):
        write_json(paths.tuning(settings, method), found(method, 0.2 + 0.01 * number))
    tuning(settings)
    records = read_json(paths.table(settings, "tuning", "json"))["records"]
    gram = {one["column"]: one for one in records if one["row"] == "gram"}
    level = 20 + list(settings.spaces).index("gram")
    assert (gram["trials"]["value"], gram["failed"]["value"]) == (3, 1)
    assert gram["MRR"]["value"] == gram["k2"]["value"] == pytest.approx(level)
    assert (gram["learning_rate"]["value"], gram["settings.scale"]["note"]) == (2e-3, "one")
    shown = paths.table(settings, "tuning", "md").read_text()
    assert f"| gram | 3 | 1 | {level:.1f} | volume | learning_rate 0.002, scale one | learning_rate |" in shown
    assert "a proxy" in shown
    assert paths.figure(settings, "tuning", "svg").read_text().count("<path") > len(settings.spaces)


def test_the_spread_of_the_best_is_that_of_all_draws() -> None:
    values = [31.0, 12.5, 40.0, 12.5, 27.0]
    for k in range(1, 6):
        best = [max(draw) for draw in combinations(values, k)]
        assert spread(values, k) == pytest.approx(pstdev(best))
