"""Table `tuning`: what each method's equal tuning spent and found, on validation; the figure shows its curve.

The curve is the expected best validation MRR of k trials of the first, common design (Dodge et al. 2019): a method
whose curve still rises would gain from more trials. Nothing here has seen a test set.
"""

from __future__ import annotations

from math import comb, sqrt
from typing import Any

from pipeline import figures, paths
from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.reporting import table
from pipeline.reporting.retrieval_table import paths_of
from pipeline.reporting.table import Grid, Record
from pipeline.settings import Settings

TABLE = "tuning"
TITLE = "Equal tuning: trials, winners, expected best of k trials"


def tuning(settings: Settings) -> None:
    """Write results/<scale>/tables/tuning.{json,csv,md} and the figure of the curves; print the table."""
    found = {method: _read(settings, method) for method in settings.spaces}
    records = [record for method, one in found.items() for record in _records(method, one)]
    first = min(len(one["curve"]) for one in found.values())
    grids = [
        Grid(
            "Winners on validation",
            ("method", "trials", "failed", "MRR %", "score", "values", "on the edge of"),
            [_winner(method, one) for method, one in found.items()],
        ),
        Grid(
            "Expected best MRR % of k trials ± its standard deviation over draws of trials",
            ("method", *(f"k {k}" for k in _steps(first))),
            [[m, *(_expected(one, k) for k in _steps(first))] for m, one in found.items()],
        ),
    ]
    table.write(paths_of(settings, TABLE), TITLE, records, grids, _foot(settings, found))
    _figure(settings, found)
    table.show(TITLE, grids, _foot(settings, found))


def _read(settings: Settings, method: str) -> dict[str, Any]:
    file = paths.tuning(settings, method)
    if not file.is_file():
        raise UserError(f"{file}: missing; run: python -m pipeline tune --method {method}")
    found: dict[str, Any] = read_json(file)
    return found


def _records(method: str, found: dict[str, Any]) -> list[Record]:
    winner = found["winner"]
    numbers = {"trials": found["spent"], "failed": _failed(found), "MRR": 100 * winner["mrr"]}
    numbers |= {key: value for key, value in winner["values"].items() if not isinstance(value, str)}
    chosen = [
        Record(TABLE, "winner", method, key, None, seeds=1, run=method, note=value)
        for key, value in winner["values"].items()
        if isinstance(value, str)
    ]
    reached = [100 * trial["mrr"] for trial in found["trials"][: len(found["curve"])]]
    curve = [
        Record(TABLE, "curve", method, f"k{k}", 100 * value, spread(reached, k), n_evaluated=k, seeds=1, run=method)
        for k, value in enumerate(found["curve"], start=1)
    ]
    score = winner["score"] or ""
    return [
        *(Record(TABLE, "winner", method, key, float(value), seeds=1, score=score, run=method)
          for key, value in numbers.items()),
        *chosen,
        *curve,
    ]  # fmt: skip


def spread(values: list[float], k: int) -> float:
    """Standard deviation of the best of k of `values` drawn without replacement."""
    ordered, n = sorted(values), len(values)
    shares = [comb(i, k - 1) / comb(n, k) for i in range(n)]
    mean = sum(share * value for share, value in zip(shares, ordered, strict=True))
    return sqrt(sum(share * (value - mean) ** 2 for share, value in zip(shares, ordered, strict=True)))


def _winner(method: str, found: dict[str, Any]) -> list[str]:
    winner = found["winner"]
    values = [
        f"{key.removeprefix('settings.')} {value if isinstance(value, str) else format(value, '.3g')}"
        for key, value in winner["values"].items()
    ]
    return [
        method,
        str(found["spent"]),
        str(_failed(found)),
        f"{100 * winner['mrr']:.1f}",
        winner["score"] or "–",
        ", ".join(values),
        ", ".join(key.removeprefix("settings.") for key in found["on_edge"]) or "none",
    ]


def _expected(found: dict[str, Any], k: int) -> str:
    reached = [100 * trial["mrr"] for trial in found["trials"][: len(found["curve"])]]
    return f"{100 * found['curve'][k - 1]:.1f} ± {spread(reached, k):.1f}"


def _failed(found: dict[str, Any]) -> int:
    return sum(bool(trial["failure"]) for trial in found["trials"])


def _steps(last: int) -> list[int]:
    """1, 2, 4, … and the last."""
    return sorted({last, *(2**power for power in range(last.bit_length()) if 2**power <= last)})


def _foot(settings: Settings, found: dict[str, dict[str, Any]]) -> list[str]:
    tuning = settings.tuning
    one = next(iter(found.values()))
    proxy = "" if one["runs_train"] == one["trials_train"] else f", where the runs train {one['runs_train']}: a proxy"
    return [
        f"Every method: {tuning.trials} Sobol points of its space (params/spaces.yaml), then {tuning.rounds} rounds of "
        f"{tuning.extra}: beyond an edge that the winner lies on, within the space otherwise.",
        f"A trial is one training (seed {one['seed']}, which no run has) of {one['trials_train']}{proxy}.",
        f"Criterion: {one['criterion']}. The test set was not read. A training that breaks down scores 0.",
        "A winner's MRR is the best of its trials, one training each, and too high by that; the tuned table has fresh "
        "seeds.",
    ]


def _figure(settings: Settings, found: dict[str, dict[str, Any]]) -> None:
    figure, (axes,) = figures.canvas(1, 1, width=6.2, height=4.0)
    for number, (method, one) in enumerate(found.items()):
        x = list(range(1, len(one["curve"]) + 1))
        style = ("-", "--")[number // len(figures.COLOURS) % 2]
        colour = figures.COLOURS[number % len(figures.COLOURS)]
        axes.plot(x, [100 * value for value in one["curve"]], style, color=colour, label=method, linewidth=1.4)
    axes.set(xlabel="trials k", ylabel="expected best validation MRR %")
    axes.grid(color="0.92")
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    figures.save(settings, TABLE, figure)
