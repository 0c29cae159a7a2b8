"""Estimates: numbers worked out by hand, scipy as the oracle, and coverage by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from sweep.results import intervals
from sweep.results.intervals import Statistic, estimate

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
SWEEPS = 2000
SHAPES: dict[str, tuple[Draw, float, float]] = {  # how values are drawn, their mean and their median
    "normal": (lambda rng, size: rng.normal(size=size), 0.0, 0.0),
    "exponential": (lambda rng, size: rng.exponential(size=size), 1.0, math.log(2)),
    "lognormal": (lambda rng, size: rng.lognormal(0, 0.5, size=size), math.exp(0.125), 1.0),
}


@pytest.mark.parametrize("seeds", [10, 30])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_interval_of_a_mean_holds_it_in_93_to_97_percent_of_sweeps(shape: str, seeds: int) -> None:
    """Percentiles of the bootstrap hold it in 90 % of sweeps of ten seeds, of normal values already."""
    draw, truth, _ = SHAPES[shape]
    values = draw(np.random.default_rng(7), (seeds, SWEEPS))
    _, low, high, _ = intervals.of_points(values)
    # 1 %: twice the standard error of a share of 2,000 sweeps.
    assert 0.92 <= ((low <= truth) & (truth <= high)).mean() <= 0.98


def test_rare_ones_among_zeros_are_held_much_less_often() -> None:
    """Six seeds are all 0 in 0.8^6 = 26 % of sweeps, and then say nothing of the others."""
    values = (np.random.default_rng(3).random((6, SWEEPS)) < 0.2).astype(float)
    _, low, high, _ = intervals.of_points(values)
    assert 0.70 <= ((low <= 0.2) & (0.2 <= high)).mean() <= 0.76


def test_a_heavy_tail_is_held_less_often_than_is_said_and_more_often_than_by_students_t() -> None:
    values = np.random.default_rng(3).lognormal(0, 1, size=(10, SWEEPS))
    mean, low, high, _ = intervals.of_points(values)
    truth = math.exp(0.5)
    held = ((low <= truth) & (truth <= high)).mean()
    reach = intervals.student(0.95, 9) * values.std(0, ddof=1) / math.sqrt(10)
    assert 0.88 < held < 0.93 and held > (abs(mean - truth) <= reach).mean() + 0.03


@pytest.mark.parametrize("seeds", [6, 10, 30])
@pytest.mark.parametrize("shape", ["laplace", "standard_t"])
def test_heavy_tails_to_both_sides_as_paired_differences_have_are_held(shape: str, seeds: int) -> None:
    """The studentised bootstrap by itself holds 92 % of these, so that 8 of 100 differences told would be none."""
    rng = np.random.default_rng(11)
    size = (seeds, SWEEPS)
    _, low, high, _ = intervals.of_points(rng.laplace(size=size) if shape == "laplace" else rng.standard_t(3, size))
    assert 0.94 <= ((low <= 0) & (0 <= high)).mean() <= 0.98


@pytest.mark.parametrize("statistic", ["iqm", "median"])
def test_the_intervals_of_other_statistics_hold_them(statistic: Statistic) -> None:
    """Of symmetric values all of them are 0; of exponential ones the median is the logarithm of 2."""
    rng = np.random.default_rng(5)
    held = [e.low <= 0 <= e.high for e in (estimate(rng.normal(size=12), statistic) for _ in range(500))]
    assert 0.92 <= np.mean(held) <= 0.985
    if statistic == "median":
        skewed = [estimate(rng.exponential(size=12), statistic) for _ in range(500)]
        assert 0.92 <= np.mean([e.low <= math.log(2) <= e.high for e in skewed]) <= 0.985


def test_points_and_estimates_are_the_same_numbers() -> None:
    values = np.random.default_rng(0).normal(size=(9, 4))
    values[2, 3] = np.nan
    mean, low, high, count = intervals.of_points(values)
    for place, column in enumerate(values.T):
        own = estimate(column)
        assert [own.mean, own.low, own.high] == pytest.approx([mean[place], low[place], high[place]])
        assert own.seeds == count[place] == (8 if place == 3 else 9)


def test_few_seeds_have_students_interval() -> None:
    values = [3.0, 5.0, 4.0]
    found, p = intervals.tested(values)
    low, high = stats.t.interval(0.95, 2, loc=4.0, scale=stats.sem(values))
    assert [found.low, found.high, p] == pytest.approx([low, high, stats.ttest_1samp(values, 0).pvalue])
    one = estimate([2.0, math.nan])
    assert (one.mean, one.seeds) == (2.0, 1) and math.isnan(one.low)
    assert estimate([math.nan]) == intervals.NOTHING or math.isnan(estimate([math.nan]).mean)


@pytest.mark.parametrize("statistic", ["mean", "iqm", "median"])
def test_equal_values_are_a_point_and_say_what_their_signs_say(statistic: Statistic) -> None:
    """Of eight differences all have one sign in 2 of 2^8 cases; six that chance makes so come in 2 of 64."""
    assert intervals.tested([0.5] * 8, statistic) == (intervals.Estimate(0.5, 0.5, 0.5, 8), 2 / 2**8)
    assert intervals.tested([0.0] * 8, statistic)[1] == 1.0
    rounded = np.float32(0.7) - np.array([0.6, 0.6, 0.6 + 1e-17, 0.6, 0.6 - 1e-16, 0.6])
    assert intervals.tested(rounded, statistic)[1] == pytest.approx(2 / 2**6)


def test_few_equal_values_tell_nothing() -> None:
    assert [intervals.tested([0.1] * seeds)[1] for seeds in (2, 3, 5)] == [0.5, 0.25, 0.0625]


def test_an_interquartile_mean_whose_middle_is_tied_is_not_certain() -> None:
    """Of six values one at either end is cut, and 1 - (5/6)^6 - (5/6)^5 = 26 % of resamples have -3 twice or more.

    They are below 0, but for those that have 9 twice as well.
    """
    found, p = intervals.tested([-3, 0.1, 0.1, 0.1, 0.1, 9], "iqm")
    assert found.mean == pytest.approx(0.1) and found.low < -0.5 and found.high > 2 and 0.4 < p < 0.53
    found, p = intervals.tested([-5, -5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], "iqm")
    # Below 0 where 3 of 8 or more are -5, each with a chance of 1 in 4; 0.1 is the most there is.
    assert found.low < -1 and found.high == pytest.approx(0.1)
    assert p == pytest.approx(2 * stats.binom.sf(2, 8, 0.25), abs=0.06)


@pytest.mark.parametrize("statistic", ["mean", "iqm", "median"])
def test_p_is_below_5_percent_where_the_interval_leaves_out_0(statistic: Statistic) -> None:
    """Shifts at which about every other interval does; the sign test says otherwise of one median in eight."""
    rng = np.random.default_rng(1)
    for _ in range(600):
        found, p = intervals.tested(rng.normal(0.6, 1, size=rng.integers(6, 20)), statistic)
        assert (p < 0.05) == (not found.low <= 0 <= found.high)


@pytest.mark.parametrize("statistic", ["mean", "iqm", "median"])
def test_p_is_the_level_at_which_the_interval_ends_at_0(statistic: Statistic) -> None:
    for values in np.random.default_rng(2).normal(0.4, 1, size=(40, 9)):
        found, p = intervals.tested(values, statistic)
        if 2**-8 < p < 0.9 and found.mean > 0:
            low, high = (estimate(values, statistic, 1 - each).low for each in (p * 0.999, p * 1.001))
            assert low <= 0 <= high


def test_p_goes_on_beyond_what_resamples_tell() -> None:
    """Two thousand of them end at 0.001, which sixty comparisons would make 0.06: nothing could ever be told."""
    values = np.random.default_rng(9).normal(2, 1, size=20)
    assert intervals.tested(values)[1] == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_a_footnote_names_no_interval_that_is_not_there() -> None:
    assert intervals.made(3, "iqm") == "95% of the interquartile mean from 6 seeds on"
    for statistic in ("iqm", "median"):
        few, enough = (intervals.made(seeds, statistic) for seeds in (5, 6))  # type: ignore[arg-type]
        assert "from 6 seeds on" in few and "from" not in enough
    assert "Student's t" in intervals.made(3)


def test_the_interquartile_mean_is_scipys() -> None:
    values = np.random.default_rng(4).lognormal(size=13)
    assert estimate(values, "iqm").mean == pytest.approx(stats.trim_mean(values, 0.25))


def test_the_interval_of_a_median_lies_between_order_statistics() -> None:
    """Of ten values the second and ninth hold it in 97.85 %, the third and eighth in 89.06 %: ours is between."""
    found = estimate(range(10), "median")
    assert 1 < found.low < 2 and 7 < found.high < 8 and found.low + found.high == pytest.approx(9)
    assert intervals.tested(range(1, 9), "median")[1] == pytest.approx(stats.binomtest(8, 8).pvalue)
    # 0 is half-way from the first to the second, which is a part of 1/2 / (7 - 6/2) = 1/8 of the chance between them:
    # 2/256 + (18/256 - 2/256) / 8.
    assert intervals.tested([-1, 1, 2, 3, 4, 5, 6, 7], "median")[1] == pytest.approx(1 / 64)
    assert math.isnan(estimate([1.0, 2.0, 3.0], "median").low)


def test_a_median_may_be_of_thousands_of_values() -> None:
    """Of so many that 2 to their power is beyond a float."""
    values = np.random.default_rng(3).normal(0.05, 1, size=2500)
    found, p = intervals.tested(values, "median")
    above = int((values > 0).sum())
    assert stats.binomtest(above + 1, 2500).pvalue < p < stats.binomtest(above, 2500).pvalue
    assert found.low < found.mean < found.high < found.low + 0.2


def test_tolerance_intervals_hold_their_share_of_runs() -> None:
    assert intervals.tolerance_share(46) == 0.9 > intervals.tolerance_share(45)  # Wilks's table
    assert intervals.tolerance(range(46)) == (0, 45) and math.isnan(intervals.tolerance([1.0])[0])
    rng = np.random.default_rng(6)
    sweeps = [intervals.tolerance(rng.normal(size=100)) for _ in range(400)]
    held = [stats.norm.cdf(high) - stats.norm.cdf(low) >= 0.9 for low, high in sweeps]
    assert np.mean(held) >= 0.94


@pytest.mark.parametrize("seeds", [3, 10, 30])
def test_few_seeds_have_a_tolerance_interval_of_fewer_runs(seeds: int) -> None:
    """The range of n values holds a share s or less with probability n s^(n-1) - (n-1) s^n: 5 % at the share said."""
    share = intervals.tolerance_share(seeds)
    assert seeds * share ** (seeds - 1) - (seeds - 1) * share**seeds == pytest.approx(0.05)
    draws = np.random.default_rng(seeds).normal(size=(seeds, 1000))
    _, low, high, _ = intervals.of_points(draws, band="tolerance")
    assert (low == draws.min(0)).all() and (high == draws.max(0)).all()
    assert 0.93 <= (stats.norm.cdf(high) - stats.norm.cdf(low) >= share).mean() <= 0.97


@pytest.mark.parametrize("statistic", ["iqm", "median"])
def test_points_of_other_statistics_are_the_same_numbers(statistic: Statistic) -> None:
    values = np.random.default_rng(0).normal(size=(9, 4))
    values[2, 3] = np.nan
    center, low, high, count = intervals.of_points(values, statistic)
    for place, column in enumerate(values.T):
        own = estimate(column, statistic)
        assert [own.mean, own.low, own.high] == pytest.approx([center[place], low[place], high[place]])
        assert own.seeds == count[place]
    few = intervals.of_points(values[:4], statistic)
    assert np.isfinite(few[0]).all() and np.isnan(few[1]).all()


def test_the_probability_of_improvement_is_mann_and_whitneys() -> None:
    rng = np.random.default_rng(8)
    ours, theirs = rng.normal(0.5, 1, 20), rng.normal(0, 1, 15)
    found = intervals.improvement(ours, theirs, higher=True)
    u = stats.mannwhitneyu(ours, theirs).statistic
    assert found.mean == pytest.approx(u / 300) and found.low < found.mean < found.high
    assert intervals.improvement(ours, theirs, higher=False).mean == pytest.approx(1 - u / 300)
    assert intervals.improvement([math.nan], [0.0], higher=False).mean == 0.0  # a lost run is worse


def test_the_interval_of_a_probability_of_improvement_is_open_where_all_runs_are_better() -> None:
    """By hand, of n runs each and all better: 1 - p = z^2 p (1 - p) (1 + (n - 1)(...)) / n^2 has its end below 1."""
    few, many = (intervals.improvement(np.arange(n) + 100, np.arange(n), higher=True) for n in (3, 30))
    assert few.mean == few.high == many.high == 1.0 and few.low < 0.6 < 0.88 < many.low < 1
    p, z2 = few.low, 1.959964**2
    error2 = p * (1 - p) * (1 + 2 * ((1 - p) / (2 - p) + p / (1 + p))) / 9
    assert (1 - p) ** 2 == pytest.approx(z2 * error2, rel=0.01)


@pytest.mark.parametrize("ahead", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("seeds", [3, 6, 10])
def test_the_interval_of_a_probability_of_improvement_holds_it(seeds: int, ahead: float) -> None:
    """Percentiles of the bootstrap hold it in 36 % of sweeps of three seeds, two standard deviations ahead."""
    rng = np.random.default_rng(1)
    pairs = [(rng.normal(ahead, 1, seeds), rng.normal(0, 1, seeds)) for _ in range(300)]
    found = [intervals.improvement(*pair, higher=True) for pair in pairs]
    truth = stats.norm.cdf(ahead / math.sqrt(2))
    assert np.mean([each.low <= truth <= each.high for each in found]) >= 0.9


def test_profiles_count_who_reaches_a_threshold() -> None:
    share, low, high = intervals.profile([1.0, 2.0, 3.0, math.nan], np.array([0.0, 2.0, 4.0]), higher=True)
    assert share.tolist() == [0.75, 0.5, 0.0]
    wilson = stats.binomtest(2, 4).proportion_ci(0.95, method="wilson")
    assert (low[1], high[1]) == pytest.approx((wilson.low, wilson.high))
    assert intervals.profile([1.0, 3.0], np.array([2.0]), higher=False)[0].tolist() == [0.5]


def test_holms_correction_by_hand() -> None:
    assert intervals.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    corrected = intervals.holm([0.2, math.nan, 0.9])
    assert corrected[0] == pytest.approx(0.4) and math.isnan(corrected[1]) and corrected[2] == 0.9


def test_so_many_seeds_tell_an_effect_in_four_sweeps_of_five() -> None:
    """The power of the t test by its own distribution, the noncentral t."""
    for effect in (0.4, 0.6, 1.0):
        seeds = intervals.seeds_needed(1.0, effect)
        assert seeds is not None
        reach = stats.t.ppf(0.975, seeds - 1)
        power = 1 - stats.nct.cdf(reach, seeds - 1, effect * math.sqrt(seeds))
        assert 0.79 < power < 0.83
    assert intervals.seeds_needed(1.0, 0.0) is None and intervals.seeds_needed(0.1, 5.0) == intervals.FEWEST_SEEDS
    assert intervals.seeds_needed(1.0, 1e-3) is None and intervals.seeds_needed(math.nan, 1.0) is None


def test_seeds_that_would_decide_by_hand() -> None:
    """(1.96 + 0.84)^2 x 2 / 1 = 15.7 of a variance of two, one from nothing, and 1.96^2 / 2 more for guessing it."""
    assert intervals.seeds_needed(intervals.deviation(np.array([0.0, 2.0])), 1.0) == 18
