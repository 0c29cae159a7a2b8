"""From numbers by seed to a verdict: supported, contradicted or undecided, and how many seeds would decide.

A claim says that an effect is there ("more"), or that it is at most so large ("at most"). With the smallest effect that
matters, d, and the 95 % interval of the mean over seeds (`sweep.results.intervals`):

    more      supported     the interval is above 0, and the mean is d or more
              contradicted  the interval is below d: if there is an effect it is too small to matter, or the opposite
    at most   supported     the interval is below the limit
              contradicted  the interval is above it

So an effect that is not there is called supported, and one of d or more contradicted, in 2.5 % of cases each. The
interval is one that is corrected (Holm) for all places in which a claim is looked at, and as everywhere there is no
verdict with fewer than `FEWEST_SEEDS` seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sweep.results.intervals import FEWEST_SEEDS, LEVEL, Estimate, deviation, estimate, holm, seeds_needed, tested

Verdict = Literal["supported", "contradicted", "undecided"]
Test = Literal["more", "at most"]


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
    matters = test == "at most" or effect.mean >= limit
    if yes <= level and matters:
        return Judged("supported", effect, None)
    if no <= level:
        return Judged("contradicted", effect, None)
    near = 0.0 if test == "more" and matters else limit
    return Judged("undecided", effect, seeds_needed(deviation(values), effect.mean - near))


def p_above(values: np.ndarray, limit: float) -> float:
    """One-sided p of a mean (S,) that is not above `limit`; 1 where there are too few seeds to tell."""
    if len(values) < FEWEST_SEEDS:
        return 1.0
    gap, p = tested(values - limit)
    return p / 2 if gap.mean > 0 else 1 - p / 2
