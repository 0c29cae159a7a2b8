"""Do settings that have more of one thing also have more of another? Rank correlations, with an interval.

Spearman's ρ between two numbers of every setting, each its mean over seeds. What is drawn again for the interval are
the ways of learning, whole, with all their settings, which are no independent cases, and the seeds, the same for all.
The interval is Student's t on Fisher's z = atanh ρ, with as many degrees of freedom as there are ways of learning, less
one; the standard error is how far z is from the quantile of its resamples one such error nearer to 0, as on the other
side resamples of few cases reach ±1. In simulations of 6, 10 and 16 ways of learning of 3 settings each, half of whose
variance is their arm's, its 95 % hold the ρ of endlessly many of them in 96 to 99 % of cases (ρ of 0, 0.6 and 0.9).
"""

from __future__ import annotations

import math

import numpy as np

from sweep.results.intervals import DRAWS, LEVEL, NOTHING, Estimate

FEWEST_ARMS = 5  # fewer say nothing of ways of learning that were not tried
BOUNDS = (-0.999999, 0.999999)  # of which atanh is finite
SIGMA = 0.1587  # of a normal distribution lies more than one standard deviation below the middle


def rank_correlation(one: np.ndarray, other: np.ndarray, arms: np.ndarray, *, seed: int = 0) -> Estimate:
    """Of two (settings, seeds) arrays; arms (settings,) says whose settings they are.

    What is not finite in either, as of diverged trials, is left out of both means, and a setting of which nothing is
    left is no case. `mean` is ρ, NaN where fewer than three settings are left or one number is the same in all; the
    interval takes five arms.
    """
    whole = np.isfinite(one) & np.isfinite(other)
    there = whole.any(1)
    one, other, whole, arms = (part[there] for part in (one, other, whole, arms))
    if there.sum() < 3:
        return NOTHING
    seeds = one.shape[1]
    center = float(_spearman(*(_means(part, whole, np.ones((1, seeds))) for part in (one, other)))[0])
    names, owners = np.unique(arms, return_inverse=True)
    if len(names) < FEWEST_ARMS or not math.isfinite(center):
        return Estimate(center, math.nan, math.nan, seeds)
    rng = np.random.default_rng(seed)
    weights = _drawn(rng, seeds)
    often = _drawn(rng, len(names))[:, owners]
    drawn = _spearman(_means(one, whole, weights), _means(other, whole, weights), often)
    sign = math.copysign(1, center)
    z, nearer = np.arctanh(np.clip([center, sign * np.quantile(sign * drawn[np.isfinite(drawn)], SIGMA)], *BOUNDS))
    low, high = np.tanh(z + _reach(len(names)) * abs(z - nearer))
    return Estimate(center, float(low), float(high), seeds)


def p_above(found: Estimate, arms: int, limit: float) -> float:
    """One-sided p of a ρ that is not above `limit`, from the interval of so many ways; NaN where there is none."""
    from scipy.stats import t

    if not math.isfinite(found.low):
        return math.nan
    z, low, bound = np.arctanh(np.clip([found.mean, found.low, limit], *BOUNDS))
    error = (z - low) / _reach(arms)[1]
    return float(t.sf((z - bound) / error, arms - 1)) if error else float(z <= bound)


def _reach(arms: int) -> np.ndarray:
    """How many standard errors the interval reaches, below and above."""
    from scipy.stats import t

    errors: np.ndarray = np.array([-1.0, 1.0]) * t.ppf((1 + LEVEL) / 2, arms - 1)
    return errors


def _drawn(rng: np.random.Generator, cases: int) -> np.ndarray:
    """(draws, cases): how often each case is in each resample."""
    return rng.multinomial(cases, np.full(cases, 1 / cases), size=DRAWS).astype(float)


def _means(values: np.ndarray, whole: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(settings, seeds) by (draws, seeds) -> (draws, settings); NaN where no seed that is left was drawn."""
    with np.errstate(invalid="ignore"):
        means: np.ndarray = (weights @ np.where(whole, values, 0).T) / (weights @ whole.T.astype(float))
    return means


def _spearman(one: np.ndarray, other: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """(draws, settings) twice -> (draws,): ρ, in which a setting counts `counts` times; NaN where it has no spread.

    Ranks are those among what was drawn: a case that was drawn three times has the mean of three neighbouring ranks.
    """
    times = np.ones_like(one) if counts is None else counts
    times = times * (np.isfinite(one) & np.isfinite(other))
    first, second = (_ranks(part, times) for part in (one, other))
    total = times.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        for ranks in (first, second):
            ranks -= ((times * ranks).sum(1) / total)[:, None]
        rho: np.ndarray = (times * first * second).sum(1) / np.sqrt(
            (times * first**2).sum(1) * (times * second**2).sum(1)
        )
    return rho


def _ranks(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(draws, settings): the mean rank of each value among all, each of which counts so many times."""
    order = np.argsort(values, axis=1, kind="stable")
    ordered, counted = (np.take_along_axis(part, order, 1) for part in (values, times))
    behind = np.cumsum(counted, axis=1)
    # Equal values share a rank: from what is counted before the first of them to what is counted with the last.
    draws, settings = values.shape
    new = np.concatenate([np.ones((draws, 1), bool), ordered[:, 1:] != ordered[:, :-1]], axis=1)
    places = np.broadcast_to(np.arange(settings), (draws, settings))
    first = np.maximum.accumulate(np.where(new, places, 0), axis=1)
    ends = np.concatenate([new[:, 1:], np.ones((draws, 1), bool)], axis=1)
    last = np.minimum.accumulate(np.where(ends, places, settings - 1)[:, ::-1], axis=1)[:, ::-1]
    before = np.take_along_axis(behind - counted, first, 1)
    middle = (before + np.take_along_axis(behind, last, 1) + 1) / 2
    ranks: np.ndarray = np.empty_like(middle)
    np.put_along_axis(ranks, order, middle, 1)
    return ranks
