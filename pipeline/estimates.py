"""A mean with its uncertainty: what every measured number of the theory and of the sweeps carries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pipeline.statistics import Bootstrap


def estimate(values: ArrayLike, seeds: int = 1, **more: Any) -> dict[str, Any]:
    """Mean, standard deviation, number and Student's 95 % interval of the mean of independent `values` [n].

    `seeds` says how many trainings stand behind them. With one value there is no spread: sd and interval are null.
    """
    from scipy.stats import t

    array = np.asarray(values, np.float64).ravel()
    n = int(array.size)
    if n == 0 or not np.isfinite(array).all():
        raise ValueError(f"an estimate needs finite values, got {array.tolist()[:5]}")
    mean = float(array.mean())
    record: dict[str, Any] = {"value": mean, "sd": None, "n": n, "seeds": seeds, "ci_low": None, "ci_high": None}
    if n > 1:
        sd = float(array.std(ddof=1))
        half = float(t.ppf(0.975, n - 1)) * sd / n**0.5
        record |= {"sd": sd, "ci_low": mean - half, "ci_high": mean + half}
    return record | more


def resampled(shares: ArrayLike, draws: int, seed: int, least: float = -1.0) -> dict[str, Any]:
    """The same record of `shares` [seeds, queries], resampled over seeds and queries; `n` counts the queries.

    Differences of shares, or with a `least` of 0 shares themselves.
    """
    array = np.asarray(shares, np.float64)
    found = Bootstrap(np.arange(array.shape[1]), len(array), draws, seed)(100 * array, 100 * least)
    low, high = (float(end) / 100 for end in found.interval())
    sd = float(found.seed_deviation) / 100 if len(array) > 1 else None
    about = {"value": float(found.value) / 100, "sd": sd, "n": array.shape[1], "seeds": len(array)}
    return about | {"ci_low": low, "ci_high": high}
