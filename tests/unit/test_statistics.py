"""Simulated data with known answers: coverage, size and power of what the tables print."""

import numpy as np
import pytest

from pipeline import statistics
from pipeline.statistics import Bootstrap


def simulate(random, trials, seeds, clusters, size, spread, level=0.5, gap=0.0):
    """[trials, seeds, clusters x size] values: level + seed + cluster + interaction + noise, normal effects."""
    seed_sd, cluster_sd, interaction_sd, noise_sd = spread
    seed = random.normal(0, seed_sd, (trials, seeds, 1, 1))
    cluster = random.normal(0, cluster_sd, (trials, 1, clusters, 1))
    interaction = random.normal(0, interaction_sd, (trials, seeds, clusters, 1))
    noise = random.normal(0, noise_sd, (trials, seeds, clusters, size))
    return (level + gap + seed + cluster + interaction + noise).reshape(trials, seeds, -1)


def coverage(values, truth, seeds, clusters, size):
    estimate = Bootstrap(np.repeat(np.arange(clusters), size), seeds, draws=800, seed=3)(values)
    low, high = estimate.interval()
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize(
    ("seeds", "spread"),
    [
        (10, (0.0, 0.4, 0.2, 0.1)),  # clusters matter
        (10, (0.03, 0.3, 0.3, 0.1)),  # both matter
        (10, (0.1, 0.1, 0.3, 0.1)),  # seeds matter
        (10, (0.0, 0.05, 0.5, 0.2)),  # a paired difference: interaction above all
        (3, (0.03, 0.3, 0.3, 0.1)),
        (1, (0.0, 0.3, 0.3, 0.1)),
    ],
)
def test_intervals_cover_as_they_say(seeds, spread):
    values = simulate(np.random.default_rng(5), 1500, seeds, 120, 2, spread)
    assert 0.93 <= coverage(values, 0.5, seeds, 120, 2) <= 0.97


def test_intervals_of_hits_cover():
    random = np.random.default_rng(6)
    chance = np.clip(random.beta(2, 2, (1500, 1, 300)) + random.normal(0, 0.05, (1500, 10, 1)), 0, 1)
    hits = random.random((1500, 10, 300)) < chance
    assert 0.93 <= coverage(hits, 0.5, 10, 300, 1) <= 0.97


@pytest.mark.parametrize("clusters", [6, 12, 25])
@pytest.mark.parametrize("seeds", [1, 5])
def test_intervals_of_few_clusters_cover(clusters, seeds):
    values = simulate(np.random.default_rng(15), 3000, seeds, clusters, 2, (0.0, 0.3, 0.3, 0.1))
    assert 0.93 <= coverage(values, 0.5, seeds, clusters, 2) <= 0.97


def test_intervals_of_rare_hits_cover():
    """As on `stamps`: 200 captions, R@1 of some 5 %."""
    random = np.random.default_rng(16)
    hits = random.random((3000, 10, 200)) < random.beta(0.25, 4.75, (3000, 1, 200))
    assert 0.92 <= coverage(hits, 0.05, 10, 200, 1) <= 0.97


def test_a_share_has_an_interval_of_shares():
    hits = np.zeros((2, 1, 12))
    hits[0, 0, 0] = hits[1, 0, 1:] = 1
    low, high = Bootstrap(np.arange(12), 1, draws=800)(hits).interval()
    assert low[0] == 0 < high[0] < 1
    assert 0 < low[1] < 1 == high[1]


def test_a_share_of_none_is_known_as_well_as_its_clusters_allow():
    """Clopper and Pearson: none of 200 is [0, 1.83] %, whatever the seeds agree on."""
    bootstrap = Bootstrap(np.arange(200), 4, draws=4000)
    low, high = bootstrap(100.0 * np.stack([np.zeros((4, 200)), np.ones((4, 200))]), least=0).interval()
    end = 100 * (1 - 0.025 ** (1 / 200))
    assert low == pytest.approx([0, 100 - end], abs=0.02)
    assert high == pytest.approx([end, 100], abs=0.02)
    nothing = bootstrap(np.zeros((4, 200)))  # a difference: to either side
    assert nothing.interval() == pytest.approx((-end, end), abs=0.02)
    assert float(nothing.p_value()) == 1


def test_intervals_of_the_rarest_hits_cover():
    """One caption in 200: in every third trial no hit at all."""
    hits = np.random.default_rng(17).random((3000, 1, 200)) < 0.005
    low, high = Bootstrap(np.arange(200), 1, draws=800)(100.0 * hits, least=0).interval()
    assert float(((low <= 0.5) & (high >= 0.5)).mean()) >= 0.93


def test_batches_equal_one_by_one():
    random = np.random.default_rng(7)
    a, b = random.random((4, 50)), random.random((4, 50))
    bootstrap = Bootstrap(np.arange(50) // 5, 4, draws=200, seed=1)
    both, alone = bootstrap(np.stack([a, b])), bootstrap(b)
    assert both[1].resamples == pytest.approx(alone.resamples)
    assert both[1].value == pytest.approx(b.mean())
    assert both[0].per_seed == pytest.approx(a.mean(1))
    assert bootstrap.drawn(a).mean(1) == pytest.approx(a.mean(1), abs=0.05)


def test_single_seed_matches_a_naive_cluster_bootstrap():
    values = np.random.default_rng(8).random(30)
    groups = np.repeat(np.arange(6), [1, 2, 3, 7, 8, 9])
    bootstrap = Bootstrap(groups, 1, draws=50, seed=2)
    estimate = bootstrap(values[None])
    for draw in range(50):
        weights = bootstrap.cluster_weights[draw].astype(int)
        sample = np.concatenate([np.tile(values[groups == group], weights[group]) for group in range(6)])
        strays = (sample.mean() - values.mean()) * bootstrap.cluster_stretch[draw]
        assert estimate.resamples[draw] == pytest.approx(values.mean() + strays)


def test_no_difference_is_rejected_one_time_in_twenty():
    values = simulate(np.random.default_rng(9), 1500, 10, 150, 1, (0.02, 0.05, 0.4, 0.1), level=0.0)
    p = Bootstrap(np.arange(150), 10, draws=800)(values).p_value()
    assert 0.03 <= (p < 0.05).mean() <= 0.07


def test_smallest_visible_difference_has_the_power_it_promises():
    assert [round(100 * statistics.smallest_visible(n), 1) for n in (300, 1000, 2000, 4000)] == [6.3, 3.4, 2.4, 1.7]
    random, n = np.random.default_rng(10), 1000
    gap = statistics.smallest_visible(n)
    outcome = random.choice([1.0, -1.0, 0.0], p=[0.075 + gap / 2, 0.075 - gap / 2, 0.85], size=(1000, 1, n))
    p = Bootstrap(np.arange(n), 1, draws=400)(outcome).p_value()
    assert 0.76 <= (p < 0.05).mean() <= 0.84


def test_probability_of_superiority():
    bootstrap = Bootstrap(np.arange(400), 5, draws=400)
    random = np.random.default_rng(11)
    assert statistics.superiority(bootstrap.drawn(random.normal(0, 1, (5, 400)) + 0.5)) > 0.99
    assert statistics.superiority(bootstrap.drawn(np.zeros((5, 400)))) == 0.5
    one_in_five = np.array([1.0, -1, -1, -1, -1])[:, None].repeat(400, 1)
    assert statistics.superiority(bootstrap.drawn(one_in_five)) == pytest.approx(0.2)


def test_holm_against_the_textbook():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def test_verdicts():
    bootstrap = Bootstrap(np.arange(2000), 1, draws=400)
    random = np.random.default_rng(12)
    small = bootstrap(random.normal(0.1, 1, (1, 2000)))
    large = bootstrap(random.normal(9, 20, (1, 2000)))
    vague = bootstrap(random.normal(0, 300, (1, 2000)))
    assert statistics.verdict(small, 2, 0.001) == "equivalent"
    assert statistics.verdict(large, 2, 0.001) == "better"
    assert statistics.verdict(vague, 2, 0.9) == "unclear"
    for clusters, expected in ((12, "unclear"), (147, "unclear"), (150, "equivalent")):  # all hit, or all miss
        alike = Bootstrap(np.arange(clusters), 3, draws=4000)(np.zeros((3, clusters)))
        assert statistics.verdict(alike, 2, 1.0) == expected
    assert statistics.verdict(vague, 2, 0.04) == "unclear"  # its 95 % interval holds zero: a skewed p does not count


def test_average_over_corpora_shares_seeds():
    values = np.random.default_rng(13).random((3, 1))
    one = Bootstrap(np.arange(40), 3, draws=100)(values.repeat(40, 1))
    two = Bootstrap(np.arange(70), 3, draws=100)(values.repeat(70, 1))
    assert statistics.mean([one, two]).resamples == pytest.approx(one.resamples)


def test_the_average_of_two_test_sets_covers_as_it_says():
    """As many clusters in both: their draws must not be the same ones."""
    random, spread = np.random.default_rng(14), (0.03, 0.3, 0.3, 0.1)
    first, second = (simulate(random, 1500, 10, 60, 2, spread, level) for level in (0.5, 0.1))
    names = [[f"{name}-{number}" for number in range(60) for _ in range(2)] for name in ("a", "b")]
    bootstraps = [Bootstrap(groups, 10, draws=800, seed=3) for groups in names]
    drawn = [b.cluster_weights.ravel() for b in bootstraps]
    assert abs(np.corrcoef(*drawn)[0, 1]) < 0.02
    low, high = statistics.mean([b(v) for b, v in zip(bootstraps, (first, second), strict=True)]).interval()
    assert 0.93 <= float(((low <= 0.3) & (high >= 0.3)).mean()) <= 0.97


def test_one_cluster_has_no_interval_and_shapes_are_checked():
    estimate = Bootstrap(["a", "a"], 1, draws=10)([[1.0, 0.0]])
    assert float(estimate.value) == 0.5
    assert np.isnan(estimate.interval()[0])
    assert float(estimate.p_value()) == 1
    assert statistics.verdict(estimate, 2, float(estimate.p_value())) == "unclear"
    with pytest.raises(ValueError, match="are not"):
        Bootstrap(["a", "b"], 2, draws=10)([[1.0, 0.0]])
    with pytest.raises(ValueError, match="no queries"):
        Bootstrap([], 2, draws=10)
