"""Two callables in turn in one process (A B A B …): medians, their ratio with its spread, and peak memory.

The ratio is the median over pairs of ours / peer, its range the quartiles: neighbours in time share the machine's
state, so other load cancels.
"""

import ctypes
import gc
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any, NamedTuple

Call = Callable[[], object]


class Timing(NamedTuple):
    """Seconds a call of both sides, and ours / peer."""

    ours: float
    peer: float
    ratio: float
    low: float
    high: float


def timed(call: Call) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(ours: Call, peer: Call, pairs: int) -> Timing:
    """Time `pairs` >= 2 alternations after one warm-up each."""
    ours(), peer()
    rows = [(timed(ours), timed(peer)) for _ in range(pairs)]
    ratios = [a / b for a, b in rows]
    low, _, high = quantiles(ratios, n=4, method="inclusive")
    return Timing(median(a for a, _ in rows), median(b for _, b in rows), median(ratios), low, high)


def peak(call: Call) -> float:
    """Largest resident memory during one call beyond that before it, MB (Linux: the process's own high-water mark)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as marks:
        marks.write("5")
    before = _status("VmRSS")
    call()
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))


def record(name: str, params: dict[str, Any], ours: Call, peer: Call, peer_name: str, pairs: int) -> dict[str, Any]:
    """One record of design §9, printed as it is made.

    Memory is measured apart from time, of small calls (many pairs) as the median of a few: what the allocator holds
    back from the call before is worth some megabytes.
    """
    timing = compare(ours, peer, pairs)
    mine, theirs = (median(peak(call) for _ in range(max(1, min(5, pairs // 12)))) for call in (ours, peer))
    print(
        f"{name} {params}: {timing.ratio:.3f} [{timing.low:.3f}, {timing.high:.3f}]"
        f" · {timing.ours * 1e3:.1f} ms / {timing.peer * 1e3:.1f} ms · {mine:.0f} MB / {theirs:.0f} MB",
        flush=True,
    )
    return {
        "name": name,
        "params": params | {"pairs": pairs},
        "ours": timing.ours,
        "peer": timing.peer,
        "peer_name": peer_name,
        "unit": "s",
        "ratio": timing.ratio,
        "ratio_low": timing.low,
        "ratio_high": timing.high,
        "peak_mb": mine,
        "peer_peak_mb": theirs,
    }
