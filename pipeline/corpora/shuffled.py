"""Leakage seen by training: models whose `vast` and run were trained on shuffled text find test clips at chance.

The runs are those of the table `leakage` in params/runs.yaml; their ranks on the whole test galleries are compared with
random orders of the gallery, in which each query has its own number of hits (equal captions are hits).

Queries are no independent draws: a model that turns *red* into blue by accident misses all that is red, so that a
binomial bound would raise false alarms. Each seed of a run deals the captions out anew, which makes the spread between
seeds that of chance with all dependence between queries; it is taken to be no smaller than that of independent ones.
A mean over S seeds may exceed chance by Student's t, at 99.9 % over all checks together, times spread / √S.

What a check could have shown is told by the same method trained on true text: where that does not pass the limit
either, not even a test set learnt as well as unseen clips are found would be seen, and the check says little.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import paths, ranks
from pipeline.errors import UserError
from pipeline.ranks import FULL, Ranking
from pipeline.settings import Settings

TABLE = "leakage"
DIRECTIONS = ("T2VA", "VA2T")
#: Probability that any of the checks fails by chance.
LEVEL = 0.001
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Chance:
    """Mean of a measure over n queries in random orders, and its deviation if queries were independent."""

    mean: float
    deviation: float
    n: int


def checks(settings: Settings) -> Iterator[dict[str, Any]]:
    """Fields of a record each: corpus, check, value, limit, n, chance, seeds, true (None: not made), telling."""
    if settings.vast.released is not None:
        yield {
            "corpus": ", ".join(settings.corpora),
            "check": "models trained on shuffled text",
            "value": None,
            "limit": None,
            "note": "not applicable: released weights cannot be trained anew",
        }
        return
    table = settings.tables[TABLE]
    if table.seeds < 2:
        raise UserError(f"params: tables.{TABLE}.seeds: {table.seeds}; two dealings of the captions are needed")
    values, chances = _measured(settings, {run: run for run in table.runs})
    true, _ = _measured(settings, {settings.run(run).method: run for run in table.runs})
    number = sum(map(len, values.values()))
    for (corpus, what), by_run in values.items():
        for run, found in by_run.items():
            chance = chances[corpus, what]
            spread = max(float(np.std(other, ddof=1)) for other in by_run.values() if len(other) > 1)
            most = limit(chance, spread, table.seeds, len(found), LEVEL / number)
            honest = true[corpus, what].get(run)
            yield {
                "corpus": corpus,
                "check": f"{what} of {run}, trained on shuffled text",
                "value": float(np.mean(found)),
                "limit": most,
                "n": chance.n,
                "chance": chance.mean,
                "seeds": len(found),
                "true": None if honest is None else float(np.mean(honest)),
                "telling": None if honest is None else bool(np.mean(honest) > most),
            }


def limit(chance: Chance, spread: float, dealings: int, seeds: int, level: float) -> float:
    """The most that a mean over `seeds` may be, if `spread` is the deviation between `dealings` of the captions."""
    from scipy.special import stdtrit

    student = float(stdtrit(dealings - 1, 1 - level))
    return chance.mean + student * max(spread, chance.deviation) / sqrt(seeds)


def _measured(
    settings: Settings, runs: Mapping[str, str]
) -> tuple[dict[Any, dict[str, list[float]]], dict[Any, Chance]]:
    """(corpus, measure, direction and score) → name of the run → a value in % a seed, and what chance gives.

    `runs`: run → the name it has here; of those with another name the ones whose ranks are not made are left out.
    """
    values: dict[Any, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    chances = {}
    for corpus in settings.corpora:
        for run, name in runs.items():
            for seed in range(settings.seeds(run)):
                file = paths.ranks(settings, run, seed, corpus)
                if run != name and not file.is_file():
                    continue
                for key, ranking in ranks.read(file)[0].items():
                    if (key.split, key.gallery) == ("test", FULL) and key.direction in DIRECTIONS:
                        for measure, of_ranks in (("R@1", _first), ("MRR", np.reciprocal)):
                            what = corpus, f"{measure} {key.direction} in % by {key.score}"
                            values[what][name].append(100 * float(of_ranks(ranking.rank).mean()))
                            chances[what] = chance(ranking, of_ranks)
    return values, chances


def _first(rank: Array) -> Array:
    return np.asarray(rank <= 1, np.float64)


def chance(ranking: Ranking, of_ranks: Any) -> Chance:
    """What a measure of ranks is, in %, in random orders of the gallery."""
    counts, queries = np.unique(ranking.relevant, return_counts=True)
    of_places = of_ranks(np.arange(1.0, ranking.items + 1))
    mean = square = 0.0
    for count, share in zip(counts.tolist(), queries / len(ranking.rank), strict=True):
        places = first_hit(count, ranking.items)
        expected = float(places @ of_places[: len(places)])
        mean += float(share) * expected
        square += float(share) * (float(places @ of_places[: len(places)] ** 2) - expected**2)
    return Chance(100 * mean, 100 * sqrt(square / len(ranking.rank)), len(ranking.rank))


def first_hit(relevant: int, items: int) -> Array:
    """Probability [items − relevant + 1] that the first of `relevant` hits has place 1, 2, … in a random order."""
    misses = np.arange(items - relevant + 1.0)
    # All places before are misses, and this one is a hit.
    missed = np.concatenate([[1.0], np.cumprod((items - relevant - misses[:-1]) / (items - misses[:-1]))])
    return np.asarray(missed * relevant / (items - misses))
