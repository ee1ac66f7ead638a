"""A mean with its uncertainty: what every measured number of the theory and of the sweeps carries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


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
