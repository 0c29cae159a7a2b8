"""From numbers by seed to a verdict: supported, contradicted or undecided, and how many seeds would decide.

A claim says that an effect is there ("more"), or that it is at most so large ("at most"). With the smallest effect that
matters, d, and the 95 % interval of the mean over seeds:

    more      supported     the interval is above 0, and the mean is d or more
              contradicted  the interval is below d: if there is an effect it is too small to matter, or the opposite
    at most   supported     the interval is below the limit
              contradicted  the interval is above it

So an effect that is not there is called supported, and one of d or more contradicted, in 2.5 % of cases each. A
verdict also takes a paired test by sign flips (exact for few seeds), corrected by Holm over the places in which a claim
is looked at, as a bootstrap of few seeds is too narrow.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sweep.results.intervals import LEVEL, Estimate, estimate, holm, seeds_needed

Verdict = Literal["supported", "contradicted", "undecided"]
Test = Literal["more", "at most"]
MOST_SEEDS = 10_000  # that are still said; more is no answer


@dataclass(frozen=True, slots=True)
class Judged:
    """What numbers by seed say of a claim."""

    verdict: Verdict
    effect: Estimate
    would_decide: int | None  # seeds, of an undecided one; None where a verdict is there, or none is near


def judged(places: Sequence[tuple[np.ndarray, float]], test: Test) -> list[Judged]:
    """A verdict for each place in which one claim is looked at: (S,) numbers, and d or what they are at most."""
    finite = [(values[np.isfinite(values)], limit) for values, limit in places]
    above = holm([p_above(values, 0.0 if test == "more" else limit) for values, limit in finite])
    below = holm([p_above(-values, -limit) for values, limit in finite])
    if test == "at most":
        above, below = below, above
    together = zip(finite, above, below, strict=True)
    return [_judged(values, test, limit, yes, no) for (values, limit), yes, no in together]


def _judged(values: np.ndarray, test: Test, limit: float, yes: float, no: float) -> Judged:
    effect = estimate(values)
    level = (1 - LEVEL) / 2
    if test == "more":
        supported = effect.low > 0 and effect.mean >= limit
        contradicted = effect.high < limit
    else:
        supported, contradicted = effect.high < limit, effect.low > limit
    if supported and yes <= level:
        return Judged("supported", effect, None)
    if contradicted and no <= level:
        return Judged("contradicted", effect, None)
    near = 0.0 if test == "more" and effect.mean >= limit else limit
    return Judged("undecided", effect, would_decide(values, near))


def p_above(values: np.ndarray, limit: float) -> float:
    """One-sided p of a mean that is not above `limit`: how often flipping signs at random gives one as large."""
    if not len(values):
        return 1.0
    gaps = values - limit
    flipped = signs(len(gaps)) @ gaps
    return float((flipped >= gaps.sum() - 1e-12 * np.abs(gaps).sum()).mean())


@functools.lru_cache(maxsize=8)
def signs(members: int) -> np.ndarray:
    """Every way to sign so many numbers, (2^members, members), or a sample of 4,096, the first of all pluses."""
    if members <= 12:
        ways = np.arange(2**members)[:, None] >> np.arange(members) & 1
    else:
        ways = np.random.default_rng(members).integers(0, 2, (4096, members))
        ways[0] = 0
    return 1.0 - 2.0 * ways


def would_decide(values: np.ndarray, limit: float) -> int | None:
    """How many seeds would tell this mean from `limit`, were it the true one; None where no thinkable number would."""
    if len(values) < 2:
        return None
    needed = seeds_needed(float(values.std(ddof=1)), float(values.mean()) - limit)
    return needed if needed and needed <= MOST_SEEDS else None
