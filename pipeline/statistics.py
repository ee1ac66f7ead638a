"""Intervals and tests for retrieval: a hierarchical paired bootstrap over seeds x caption clusters.

The same test captions are used by every seed, so the design is crossed: value = mean + seed + cluster + interaction.
Drawing both factors with replacement at once counts the interaction three times (Owen, *The pigeonhole bootstrap*,
2007), which is far too wide for paired differences. Here the two are drawn separately and added:

* clusters with replacement, on the mean over seeds: its variance is (cluster + interaction / S) / G, as it should be;
  scaled by G / (G - 1) and to Student's tails as the seeds are, which few clusters need;
* seeds with replacement, on seed means freed of what the interaction puts into them (variance components), scaled by
  S / (S - 1) and by the spread of a chi distribution, so that few seeds give Student's tails, not too short ones.

With one seed the interval is that of the test captions alone. Where no query differs from another (a share of none or
of all) nothing can be resampled: the resamples then are what as many clusters leave open (Clopper and Pearson 1934:
none of 200 is [0, 1.8] %), to either side for a difference, so values are given in %. Queries of one cluster
(renderings of one caption, members of a family) stay together. Simulated coverage of the 95 % intervals is within
93-97 % (tests).

P(A > B) is that of Bouthillier et al. 2021: the probability that one more training and one more test sample put A
first. Holm 1979 for several comparisons. Equivalence by two one-sided tests at 5 %: the 90 % interval in the band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
#: Half-width of the band in which two methods count as equivalent, in percentage points.
EQUIVALENCE_BAND = 2.0


@dataclass(frozen=True)
class Estimate:
    """A mean `value` [...] with `resamples` [..., B] and the seeds' values [..., S].

    For a difference give the Bootstrap the differences: the seeds' part of its spread is not that of the two.
    """

    value: Array
    resamples: Array
    per_seed: Array

    def __getitem__(self, index: int | tuple[int, ...]) -> Estimate:
        return Estimate(self.value[index], self.resamples[index], self.per_seed[index])

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Percentile interval; NaN where there is one cluster only."""
        tail = (1 - level) / 2
        low, high = np.quantile(self.resamples, [tail, 1 - tail], axis=-1)
        return low, high

    @property
    def standard_error(self) -> Array:
        """Standard deviation of the resamples."""
        return np.asarray(self.resamples.std(axis=-1, ddof=1))

    @property
    def seed_deviation(self) -> Array:
        """Standard deviation of the seeds' values; NaN with one seed."""
        seeds = self.per_seed.shape[-1]
        return np.asarray(self.per_seed.std(axis=-1, ddof=1) if seeds > 1 else np.full(self.value.shape, np.nan))

    def p_value(self) -> Array:
        """Two-sided p for a mean of zero: how often a resample strays from the estimate as far as zero does.

        1 where there is one cluster only: nothing can be resampled, so nothing is shown.
        """
        strays = ~(np.abs(self.resamples - self.value[..., None]) < np.abs(self.value)[..., None])  # NaN strays
        return np.asarray((1 + strays.sum(axis=-1)) / (1 + self.resamples.shape[-1]))


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """Average over test sets of the same models: seeds are shared, clusters (of other names) drawn independently."""
    return Estimate(
        np.mean([one.value for one in estimates], axis=0),
        np.mean([one.resamples for one in estimates], axis=0),
        np.mean([one.per_seed for one in estimates], axis=0),
    )


class Bootstrap:
    """Draws of seeds and clusters, made once and shared by all that is compared: that is what pairs them.

    `groups` names the cluster of each query. `seeds` is the number of seeds, `draws` the number of resamples. Two
    Bootstraps of the same (seeds, draws, seed) draw the same seeds whatever their clusters, and clusters by themselves
    unless they have the same names, so `mean` may average over corpora.
    """

    def __init__(self, groups: ArrayLike, seeds: int, draws: int, seed: int = 0):
        names, self.cluster = np.unique(np.asarray(groups), return_inverse=True)
        if not self.cluster.size:
            raise ValueError("no queries to resample")
        self.clusters = int(self.cluster.max()) + 1
        self.sizes = np.bincount(self.cluster, minlength=self.clusters).astype(np.float64)
        self.seeds, self.draws = seeds, draws
        seed_random = np.random.default_rng([seed, 1])
        self.seed_weights = _counts(seed_random, draws, seeds) / seeds - 1 / seeds
        freedom = max(seeds - 1, 1)
        self.stretch = np.sqrt(freedom / seed_random.chisquare(freedom, draws))
        own = int.from_bytes(blake2b("\0".join(map(str, names)).encode(), digest_size=8).digest())
        self.cluster_weights = _counts(np.random.default_rng([seed, 2, own]), draws, self.clusters)
        self.resampled_sizes = self.cluster_weights @ self.sizes
        freedom = max(self.clusters - 1, 1)
        chi = np.random.default_rng([seed, 3, own]).chisquare(freedom, draws)
        self.cluster_stretch = np.sqrt(self.clusters / chi)
        order = np.random.default_rng([seed, 4, own]).permutation(draws)
        below = (order + 0.5) / draws
        tail = np.minimum(below, 1 - below)
        self.unseen = 100 * np.sign(below - 0.5) * (1 - tail ** (1 / self.clusters))

    def __call__(self, values: ArrayLike, least: float = -100.0) -> Estimate:
        """Mean of `values` [..., seeds, queries] in %, differences or (`least` 0) shares, with its resamples."""
        array = np.asarray(values, np.float64)
        if array.shape[-2:] != (self.seeds, self.cluster.size):
            raise ValueError(f"values [..., {array.shape[-2:]}] are not [..., {self.seeds}, {self.cluster.size}]")
        sums = self._cluster_sums(array)
        per_seed = sums.sum(-1) / self.cluster.size
        value = per_seed.mean(-1)
        if self.clusters < 2:
            return Estimate(value, np.full((*value.shape, self.draws), np.nan), per_seed)
        cluster_part = (sums.mean(-2) @ self.cluster_weights.T) / self.resampled_sizes - value[..., None]
        resamples = value[..., None] + cluster_part * self.cluster_stretch + self._seed_part(sums, per_seed)
        low, high = (end[..., None] for end in (array.min((-2, -1)), array.max((-2, -1))))
        resamples = resamples.clip(low, high)  # no mean lies beyond its values
        resamples = np.where(low < high, resamples, (low + self.unseen).clip(least, 100.0))
        return Estimate(value, resamples, per_seed)

    def drawn(self, values: ArrayLike) -> Array:
        """[..., seeds, B] each seed's mean on each draw of clusters."""
        return (self._cluster_sums(np.asarray(values, np.float64)) @ self.cluster_weights.T) / self.resampled_sizes

    def _cluster_sums(self, array: Array) -> Array:
        if self.clusters == self.cluster.size:
            sums = np.empty_like(array)
            sums[..., self.cluster] = array
            return sums
        order = np.argsort(self.cluster, kind="stable")
        starts = np.searchsorted(self.cluster[order], np.arange(self.clusters))
        return np.asarray(np.add.reduceat(array[..., order], starts, axis=-1))

    def _seed_part(self, sums: Array, per_seed: Array) -> Array:
        if self.seeds < 2:
            return np.zeros((*per_seed.shape[:-1], self.draws))
        deviations = per_seed - per_seed.mean(-1, keepdims=True)
        between = (deviations**2).sum(-1) / (self.seeds - 1)
        # What a seed's mean would vary by were seeds all alike: the interaction, from linearised cluster residuals.
        residual = (sums - per_seed[..., None] * self.sizes) / self.sizes.mean()
        residual = residual - residual.mean(-2, keepdims=True)
        noise = (residual**2).sum((-1, -2)) / ((self.seeds - 1) * (self.clusters - 1)) / self.clusters
        share = np.divide(np.maximum(between - noise, 0), between, out=np.zeros_like(between), where=between > 0)
        scale = np.sqrt(share * self.seeds / (self.seeds - 1))
        return np.asarray((deviations * scale[..., None]) @ self.seed_weights.T * self.stretch)


def _counts(random: np.random.Generator, draws: int, size: int) -> Array:
    """[draws, size] how often each of `size` is drawn in `size` draws with replacement."""
    picks = random.integers(size, size=(draws, size)) + np.arange(draws)[:, None] * size
    return np.bincount(picks.ravel(), minlength=draws * size).reshape(draws, size).astype(np.float64)


def superiority(drawn: Array) -> float:
    """P(A > B) from paired differences A - B by seed and draw of clusters (`Bootstrap.drawn`); equal counts half."""
    return float((drawn > 0).mean() + 0.5 * (drawn == 0).mean())


def holm(p_values: ArrayLike) -> Array:
    """Holm's step-down adjusted p values [n]."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def verdict(difference: Estimate, band: float, adjusted_p: float) -> str:
    """`better`, `worse`, `equivalent` (90 % interval within ± band, both in points) or `unclear`.

    Better and worse need both the adjusted p below 5 % and a 95 % interval without zero: where resamples are skewed
    the two can disagree, and a table must not contradict its own interval.
    """
    low, high = difference.interval(0.90)
    if -band < low and high < band:
        return "equivalent"
    low, high = difference.interval()
    if adjusted_p < 0.05 and not low <= 0 <= high:
        return "better" if difference.value > 0 else "worse"
    return "unclear"


def smallest_visible(n: int, discordant: float = 0.15, power: float = 0.8, level: float = 0.95) -> float:
    """Smallest difference of two paired shares that n queries show with `power`, if `discordant` of them differ."""
    return _sizes(power, level) * sqrt(discordant / n)


def smallest_visible_at(standard_error: float, power: float = 0.8, level: float = 0.95) -> float:
    """The same for a difference whose standard error is known."""
    return _sizes(power, level) * standard_error


def _sizes(power: float, level: float) -> float:
    normal = NormalDist()
    return normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)
