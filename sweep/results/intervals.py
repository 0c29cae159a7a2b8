"""What seeds say of a number: estimates with intervals, tests of a difference, and how many seeds a statement takes.

The interval of a mean ends on either side where the further of two does: the studentised bootstrap (Efron and
Tibshirani 1993, ch. 12), in which every resample's mean is measured in its own standard errors, and Student's t. The
first allows for skewed values, the second for heavy tails, such as paired differences have. In simulations of 6 to 30
seeds its 95 % hold the mean in 93 to 97 % of sweeps, for values that are normal, Laplace's, Student's t of 3 degrees,
exponential or lognormal with a spread of half (in 98 % of differences between lognormal ones of spread 1). Each by
itself falls short: the bootstrap holds 90 to 94 % of what is symmetric with heavy tails, Student's t 89 to 93 % of what
is exponential. Of a long tail to one side (lognormal, spread 1) it holds no more than 88, 91 and 93 % of 6, 10 and 30
seeds, and of values that are 1 in one of five runs and else 0 no more than 73, 83 and 89 % of 6, 8 and 10 seeds, as
those of a sweep may all be 0. With fewer than `FEWEST_SEEDS` seeds there is too little to resample, and it is
Student's t alone.

A p is the level at which that interval would end at the number in question, so p < 5 % and an interval that leaves it
out are one statement, made by leaderboards and claims alike. A test by sign flips is no sounder: of symmetric values it
is wrong in 1 to 3 % on either side, as this is; of exponential ones, 8 to 30 seeds, in 7 to 11 % on the worse side,
where this is in 3 to 6 %; and with six seeds it could tell nothing once it is corrected for two comparisons.

Values that are all alike have no standard error to be measured by. Their interval is a point, and p no less than
2^(1 - seeds), which is all that so many equal signs say. An interquartile mean whose middle half is alike has the
percentiles of the bootstrap for an interval, as those know of the rest.

Resamples depend on `seed` and the number of seeds alone, so an interval does not change with its neighbours.
Interquartile mean, probability of improvement and profiles: Agarwal et al. 2021, arXiv 2108.13264; tolerance intervals
for runs of reinforcement learning: Patterson et al. 2023, arXiv 2304.01315.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

Statistic = Literal["mean", "iqm", "median"]
Band = Literal["ci", "tolerance"]  # the interval of a statistic, or where single runs lie

LEVEL = 0.95
DRAWS = 2000
FEWEST_SEEDS = 6  # differences that all have one sign come by chance once in 2^(seeds - 1): below 5 % from 6 on
MOST_SEEDS = 10_000  # that are still said to be needed; more is no answer
SHARE = 0.9  # of all runs, that a tolerance interval holds where there are seeds enough for it
POWER = 0.8  # the share of sweeps of so many seeds in which an effect is to be told from chance
LEAST_ERROR = (
    0.2  # of a resample, as a share of the error of all: one that drew the same value again and again has none
)
ROUNDING = 1e-6  # of a value: what is nearer to another is the same number, logged with 32 bits
TRIMMED = 0.25  # of the values, at either end: the rest are the interquartile ones
AT_ONCE = 512  # points that are resampled together, for the sake of memory

NAMES: dict[Statistic, str] = {"mean": "mean", "iqm": "interquartile mean", "median": "median"}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic over `seeds` seeds, the mean unless said otherwise, and its 95 % interval.

    NaN where there is no seed, the interval where there are too few for one.
    """

    mean: float
    low: float
    high: float
    seeds: int


def made(seeds: int, statistic: Statistic = "mean", band: Band = "ci") -> str:
    """How an interval over so many seeds is made, for a footnote."""
    if band == "tolerance":
        return "order statistics (Wilks)"
    if statistic != "mean" and seeds < FEWEST_SEEDS:
        return f"{LEVEL:.0%} of the {NAMES[statistic]} from {FEWEST_SEEDS} seeds on"
    if statistic == "median":
        return f"{LEVEL:.0%} of the median by order statistics"
    if seeds < FEWEST_SEEDS:
        return f"{LEVEL:.0%} of the mean by Student's t"
    return f"{LEVEL:.0%} of the {NAMES[statistic]} by studentised bootstrap or Student's t, the wider"


NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


def estimate(
    values: Sequence[float] | np.ndarray,
    statistic: Statistic = "mean",
    level: float = LEVEL,
    seed: int = 0,
) -> Estimate:
    """A statistic of one value per seed; those that are not finite count as lost.

    An interval takes two values, that of an interquartile mean or a median `FEWEST_SEEDS`.
    """
    return tested(values, statistic, level, seed)[0]


def tested(
    values: Sequence[float] | np.ndarray,
    statistic: Statistic = "mean",
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[Estimate, float]:
    """As `estimate`, and the two-sided p of that statistic being 0; NaN where there is no interval.

    p is the level at which the interval would end at 0; further out than resamples reach it is Student's t that says
    so: where many comparisons are corrected for, such levels matter. Of a median it lies between those of two sign
    tests, as its interval lies between order statistics.
    """
    numbers = np.asarray(values, dtype=float)
    finite = numbers[np.isfinite(numbers)]
    if not finite.size:
        return NOTHING, math.nan
    if statistic == "median":
        return _median(finite, level)
    if statistic == "mean":
        if finite.size < FEWEST_SEEDS:
            return _student(finite, level)
        center, error = finite.mean(), _error(finite[None])[0]
        drawn = _studentised(finite[None], seed, DRAWS)[0]
    else:
        center = _iqm(finite[None])[0]
        if finite.size < FEWEST_SEEDS:
            return Estimate(float(center), math.nan, math.nan, finite.size), math.nan
        resamples = np.random.default_rng(seed).choice(finite, (DRAWS, finite.size))
        error = _iqm_error(finite[None])[0]
        if _alike(center, error):
            return _percentiles(float(center), _iqm(resamples), finite.size, level)
        drawn = _studentised_iqm(finite, resamples)
    cut = 0 if statistic == "mean" else int(TRIMMED * finite.size)
    freedom = finite.size - 2 * cut - 1
    below, above = _reach(drawn, freedom, level)
    interval = Estimate(float(center), float(center - above * error), float(center - below * error), finite.size)
    return interval, _p(float(center), float(error), finite.size, freedom, drawn)


def _alike(center: float, error: float) -> bool:
    """Whether values differ by rounding at most, so that their standard error measures nothing."""
    return error <= ROUNDING * abs(center)


def _of_signs(seeds: int) -> float:
    """Two-sided p of so many differences having one sign: all that values say which are alike."""
    return 2.0 ** (1 - seeds)


def _percentiles(center: float, drawn: np.ndarray, seeds: int, level: float) -> tuple[Estimate, float]:
    """A statistic between percentiles of what it was in resamples (draws,), and the p at which they end at 0."""
    low, high = np.percentile(drawn, _tails(level))
    return Estimate(center, float(low), float(high), seeds), max(_drawn_beyond(0.0, drawn), _of_signs(seeds))


def _drawn_beyond(value: float, drawn: np.ndarray) -> float:
    """Two-sided p of a value, the level at which percentiles of drawn (draws,) end there: the inverse of numpy's."""
    ordered = np.sort(drawn)
    return min(1.0, 2 * _share_above(value, ordered), 2 * _share_above(-value, -ordered[::-1]))


def _share_above(value: float, ordered: np.ndarray) -> float:
    """The share of ordered draws (draws,) above a value, a value between two of them in proportion."""
    place = int(np.searchsorted(ordered, value))
    if place in (0, len(ordered)):
        return float(place == 0)
    below, above = ordered[place - 1 : place + 1]
    return 1 - (place - 1 + float((value - below) / (above - below))) / (len(ordered) - 1)


def _reach(drawn: np.ndarray, freedom: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """How many standard errors an interval reaches, below 0 and above, by what was drawn (..., draws): two (...)."""
    low, high = np.percentile(drawn, _tails(level), axis=-1)
    reach = student(level, freedom)
    return np.minimum(low, -reach), np.maximum(high, reach)


def _p(center: float, error: float, seeds: int, freedom: int, drawn: np.ndarray | None = None) -> float:
    """Two-sided p of a statistic being 0: the larger of Student's t and of what was drawn (draws,), if anything was."""
    if error > 0:
        reached = center / error
        p = max(_t_test(reached, freedom), _drawn_beyond(reached, drawn) if drawn is not None else 0.0)
    else:
        p = float(center == 0)
    return max(p, _of_signs(seeds)) if _alike(center, error) else p


def _t_test(reached: float, freedom: int) -> float:
    """Student's two-sided p of a mean so many standard errors from 0."""
    from scipy.special import stdtr

    return 2 * float(stdtr(freedom, -abs(reached)))


def of_points(
    values: np.ndarray,
    statistic: Statistic = "mean",
    band: Band = "ci",
    *,
    level: float = LEVEL,
    seed: int = 0,
    draws: int = DRAWS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """values (seeds, points), NaN where missing -> statistic, low, high and number of seeds, each (points,).

    The same seeds are drawn at all points that the same seeds have: whole curves are resampled.
    """
    there = np.isfinite(values)
    count = there.sum(0)
    with np.errstate(invalid="ignore"):
        mean = np.where(there, values, 0.0).sum(0) / count
    low, high = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    kinds, kind = np.unique(there, axis=1, return_inverse=True)
    for place in range(kinds.shape[1]):
        if kinds[:, place].sum() > 1:
            points = np.flatnonzero(kind.ravel() == place)
            for some in np.array_split(points, -(-len(points) // AT_ONCE)):
                own = values[np.ix_(kinds[:, place], some)].T
                if statistic != "mean":
                    mean[some] = _iqm(own) if statistic == "iqm" else np.median(own, axis=1)
                if band == "tolerance":
                    low[some], high[some] = np.sort(own, axis=1)[:, _tolerated(own.shape[1], level)].T
                elif statistic == "mean":
                    low[some], high[some] = _bounds(own, level, seed, draws)
                else:
                    each = [estimate(point, statistic, level, seed) for point in own]
                    low[some], high[some] = [point.low for point in each], [point.high for point in each]
    return mean, low, high, count


def _bounds(values: np.ndarray, level: float, seed: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """values (points, seeds), two seeds at least, none missing -> low and high, (points,)."""
    seeds = values.shape[1]
    mean, error = values.mean(1), _error(values)
    if seeds < FEWEST_SEEDS:
        reach = student(level, seeds - 1)
        return mean - reach * error, mean + reach * error
    below, above = _reach(_studentised(values, seed, draws), seeds - 1, level)
    return mean - above * error, mean - below * error


def _tails(level: float) -> tuple[float, float]:
    """The percentiles between which a share of draws lies."""
    return 50 * (1 - level), 50 * (1 + level)


def _error(values: np.ndarray) -> np.ndarray:
    """The standard error of the mean of values (points, seeds): (points,)."""
    error: np.ndarray = values.std(1, ddof=1) / math.sqrt(values.shape[1])
    return error


@functools.lru_cache(maxsize=16)
def _counts(members: int, seed: int, draws: int) -> np.ndarray:
    """How often each seed is drawn, (members, draws), so that resampled sums are one product of matrices."""
    chosen = np.random.default_rng(seed).multinomial(members, np.full(members, 1 / members), size=draws)
    counts = np.ascontiguousarray(chosen.T.astype(float))
    counts.flags.writeable = False
    return counts


def _studentised(values: np.ndarray, seed: int, draws: int) -> np.ndarray:
    """How far resampled means of values (points, seeds) are from the mean, in standard errors of their own.

    (points, draws); 0 where all values are alike.
    """
    seeds = values.shape[1]
    own = values - values.mean(1, keepdims=True)  # centred, so that squares lose no digits
    counts = _counts(seeds, seed, draws)
    moved = own @ counts / seeds
    variance = np.maximum(own**2 @ counts / seeds - moved**2, 0) / (seeds - 1)
    scale = np.maximum(np.sqrt(variance), LEAST_ERROR * _error(values)[:, None])
    studentised: np.ndarray = np.divide(moved, scale, out=np.zeros_like(moved), where=scale > 0)
    return studentised


def _iqm(values: np.ndarray) -> np.ndarray:
    """The mean of the middle half: values (samples, seeds) -> (samples,)."""
    seeds = values.shape[1]
    cut = int(TRIMMED * seeds)
    middle: np.ndarray = np.sort(values, axis=1)[:, cut : seeds - cut].mean(1)
    return middle


def _iqm_error(values: np.ndarray) -> np.ndarray:
    """Its standard error by the winsorised variance (Tukey and McLaughlin 1963): (samples,)."""
    seeds = values.shape[1]
    cut = int(TRIMMED * seeds)
    ordered = np.sort(values, axis=1)
    ordered[:, :cut], ordered[:, seeds - cut :] = ordered[:, cut, None], ordered[:, seeds - cut - 1, None]
    error: np.ndarray = ordered.std(1, ddof=1) / ((1 - 2 * cut / seeds) * math.sqrt(seeds))
    return error


def _studentised_iqm(values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """As `_studentised`, of the interquartile mean of values (seeds,), of which drawn (draws, seeds) are: (draws,)."""
    moved = _iqm(drawn) - _iqm(values[None])
    scale = np.maximum(_iqm_error(drawn), LEAST_ERROR * _iqm_error(values[None]))
    studentised: np.ndarray = np.divide(moved, scale, out=np.zeros_like(moved), where=scale > 0)
    return studentised


def student(level: float, freedom: int) -> float:
    """How many standard errors Student's t interval reaches to either side."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def _student(values: np.ndarray, level: float) -> tuple[Estimate, float]:
    """The mean with Student's t interval, and the p of its t test; neither of one value."""
    if values.size < 2:
        return Estimate(float(values[0]), math.nan, math.nan, 1), math.nan
    mean, error = values.mean(), values.std(ddof=1) / math.sqrt(values.size)
    reach = student(level, values.size - 1) * error
    p = _p(float(mean), float(error), values.size, values.size - 1)
    return Estimate(float(mean), float(mean - reach), float(mean + reach), values.size), p


def _median(values: np.ndarray, level: float) -> tuple[Estimate, float]:
    """The median between two order statistics (Hettmansperger and Sheather 1986), and the p at which that ends at 0."""
    seeds, center = values.size, float(np.median(values))
    if seeds < FEWEST_SEEDS:
        return Estimate(center, math.nan, math.nan, seeds), math.nan
    ordered = np.sort(values)
    # Between the k-th values from either end the median lies but for this chance; k is the last that suffices.
    outside = [2 * _binomial(k - 1, seeds) for k in range(1, seeds // 2 + 1)] + [1.0]
    p = _median_p(ordered if center > 0 else -ordered[::-1], outside)
    k = sum(chance <= 1 - level for chance in outside)
    if k == 0:
        return Estimate(center, math.nan, math.nan, seeds), p
    part = (1 - level - outside[k - 1]) / (outside[k] - outside[k - 1])
    weight = (seeds - k) * part / (k + (seeds - 2 * k) * part)
    further = min(k, seeds - 1 - k)
    low = (1 - weight) * ordered[k - 1] + weight * ordered[further]
    high = (1 - weight) * ordered[seeds - k] + weight * ordered[seeds - 1 - further]
    return Estimate(center, float(low), float(high), seeds), p


def _median_p(ordered: np.ndarray, outside: Sequence[float]) -> float:
    """Two-sided p of a median above 0 being 0, of values in order (seeds,): as `_median`, solved for the level.

    `outside` is the chance of the median being outside the k-th values from either end, from k = 1 on.
    """
    seeds, k = len(ordered), int((ordered <= 0).sum())
    if k == 0:
        return outside[0]
    if 2 * k >= seeds:
        return 1.0
    weight = float(ordered[k - 1] / (ordered[k - 1] - ordered[k]))
    part = weight * k / (seeds - k - weight * (seeds - 2 * k))
    return outside[k - 1] + part * (outside[k] - outside[k - 1])


def _binomial(most: int, tries: int, chance: float = 0.5) -> float:
    """The chance of at most so many successes."""
    from scipy.special import bdtr

    return float(bdtr(most, tries, chance))


def tolerance(values: Sequence[float] | np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Between which values at least `tolerance_share` of all runs lie, with confidence `level`, whatever their
    distribution.

    By order statistics (Wilks 1941), as many cut from either end as the confidence allows. NaN with fewer than two.
    """
    finite = np.sort(np.asarray(values, dtype=float))
    finite = finite[np.isfinite(finite)]
    if finite.size < 2:
        return math.nan, math.nan
    low, high = finite[_tolerated(finite.size, level)]
    return float(low), float(high)


def tolerance_share(seeds: int, level: float = LEVEL) -> float:
    """Which share of all runs a tolerance interval holds: `SHARE`, or with few seeds (below 46) what the smallest and
    the largest value hold between them, such as 0.61 of ten seeds.
    """
    from scipy.special import betaincinv

    return min(SHARE, float(betaincinv(seeds - 1, 2, 1 - level))) if seeds > 1 else 0.0


@functools.lru_cache(maxsize=64)
def _tolerated(seeds: int, level: float) -> list[int]:
    """The places, in order, of the two values that are a tolerance interval."""
    if tolerance_share(seeds, level) < SHARE:
        return [0, seeds - 1]
    gaps = next(gaps for gaps in range(1, seeds) if _binomial(gaps - 1, seeds, SHARE) >= level)
    cut = seeds - 1 - gaps
    return [cut // 2, seeds - 1 - (cut - cut // 2)]


def improvement(
    ours: Sequence[float] | np.ndarray,
    theirs: Sequence[float] | np.ndarray,
    *,
    higher: bool,
    level: float = LEVEL,
) -> Estimate:
    """The probability that a run of ours is better than one of theirs, whatever their seeds; equal ones count half.

    The interval is Newcombe's (2006, Statistics in Medicine 25:559, method 5): the probabilities that Hanley and
    McNeil's standard error (1982) does not tell from what was counted. So it has a width where all runs of one are
    better, of which every resample says the same. Lost runs (not finite) are worse than all others.
    """
    sides = []
    for values in (ours, theirs):
        numbers = np.asarray(values, dtype=float) * (1 if higher else -1)
        sides.append(np.where(np.isfinite(numbers), numbers, -np.inf))
    if not all(side.size for side in sides):
        return NOTHING
    over = (sides[0][:, None] > sides[1]) + 0.5 * (sides[0][:, None] == sides[1])
    counted, sizes = float(over.mean()), [side.size for side in sides]
    chances = np.linspace(0, 1, 2001)
    half = sum(sizes) / 2 - 1
    spread = 1 + half * ((1 - chances) / (2 - chances) + chances / (1 + chances))
    error = np.sqrt(chances * (1 - chances) * spread / (sizes[0] * sizes[1]))
    held = chances[np.abs(chances - counted) <= NormalDist().inv_cdf((1 + level) / 2) * error + 1e-9]
    ends = (held[0], held[-1]) if len(held) else (counted, counted)
    return Estimate(counted, float(min(ends[0], counted)), float(max(ends[1], counted)), min(sizes))


def profile(
    values: Sequence[float] | np.ndarray, thresholds: np.ndarray, *, higher: bool, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The share of runs that do at least as well as each threshold, and Wilson's interval of it: three (thresholds,).

    Lost runs (not finite) reach none.
    """
    numbers = np.asarray(values, dtype=float)
    reached = numbers[:, None] >= thresholds if higher else numbers[:, None] <= thresholds
    share = (reached & np.isfinite(numbers)[:, None]).mean(0)
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2 / numbers.size
    center = (share + z2 / 2) / (1 + z2)
    reach = np.sqrt(z2 * share * (1 - share) + z2**2 / 4) / (1 + z2)
    return share, center - reach, center + reach


def holm(chances: Iterable[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in the order given; NaN stays and does not count."""
    given = list(chances)
    order = sorted((p, place) for place, p in enumerate(given) if not math.isnan(p))
    corrected, largest = given.copy(), 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        corrected[place] = largest
    return corrected


def seeds_needed(deviation: float, effect: float, *, level: float = LEVEL, power: float = POWER) -> int | None:
    """How many seeds tell a paired difference of this size from none, with this power; None where no thinkable number
    (`MOST_SEEDS`) would.

    deviation is that of the difference between seeds. The normal approximation with Guenther's correction (1981) for an
    estimated deviation.
    """
    if not effect or not math.isfinite(effect) or not math.isfinite(deviation):
        return None
    outer, inner = NormalDist().inv_cdf((1 + level) / 2), NormalDist().inv_cdf(power)
    seeds = ((outer + inner) * deviation / effect) ** 2 + outer**2 / 2
    return max(FEWEST_SEEDS, math.ceil(seeds)) if seeds <= MOST_SEEDS else None


def deviation(values: np.ndarray) -> float:
    """The standard deviation between seeds, (S,); NaN with fewer than two."""
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan
