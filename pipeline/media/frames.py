"""Which frames of a clip a model sees (VAST's and GRAM's rule).

The frames are split into `n` chunks as by `np.array_split`; evaluation takes element (len + 1) // 2 - 1 of each,
training a random one. Deviation: a clip of fewer frames than `n` is not rejected, its last frame is repeated.
"""

from __future__ import annotations

import numpy as np


def _chunks(total: int, n: int) -> list[np.ndarray]:
    if total < 1 or n < 1:
        raise ValueError(f"cannot pick {n} of {total} frames")
    if total < n:
        return [np.array([min(chunk, total - 1)]) for chunk in range(n)]
    return np.array_split(np.arange(total), n)


def pick(total: int, n: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Indices [n] of the frames to use: the middles of the chunks, or random elements if `rng` is given."""
    chunks = _chunks(total, n)
    if rng is None:
        return np.array([chunk[(len(chunk) + 1) // 2 - 1] for chunk in chunks])
    return np.array([rng.choice(chunk) for chunk in chunks])


def pick_slots(total: int, n: int, slots: int, seed: int, index: int) -> np.ndarray:
    """Indices [n, slots] of frames to store: slot 0 is `pick(total, n)`, the others are random ones of the chunk.

    The draw is a function of (seed, index of the clip) and repeats a frame only where the chunk is too short.
    """
    rng = np.random.default_rng([seed, index])
    stored = np.empty((n, slots), dtype=np.int64)
    for row, (chunk, middle) in enumerate(zip(_chunks(total, n), pick(total, n), strict=True)):
        others = rng.permutation(chunk[chunk != middle])
        order = np.concatenate([[middle], others])
        stored[row] = order[np.arange(slots) % len(order)]
    return stored
