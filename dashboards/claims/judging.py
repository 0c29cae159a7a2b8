"""From numbers by seed to a verdict: supported, contradicted or undecided, and how many seeds would decide.

Where trials are shorter than what a claim is about there is none: they are too short to tell, and are not tested.

A claim says that an effect is there ("more"), or that it is at most so large ("at most"). With the smallest effect that
matters, d, and the 95 % interval of the mean over seeds (`sweep.results.intervals`):

    more      supported     the interval is above 0, and the mean is d or more
              contradicted  the interval is below d: if there is an effect it is too small to matter, or the opposite
    at most   supported     the interval is below the limit
              contradicted  the interval is above it

Of a rank correlation (`Ranked`) the interval is over ways of learning as well, from `sweep.results.correlations`.

So an effect that is not there is called supported, and one of d or more contradicted, in 2.5 % of cases each. The
interval is one that is corrected (Holm) for all places in which a claim is looked at, and as everywhere there is no
verdict with fewer than `FEWEST_SEEDS` seeds; a place that has fewer makes the others no harder to tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sweep.results import correlations
from sweep.results.intervals import FEWEST_SEEDS, LEVEL, Estimate, deviation, estimate, holm, seeds_needed, tested

Verdict = Literal["supported", "contradicted", "undecided", "too short to tell"]
Test = Literal["more", "at most"]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A rank correlation over so many ways of learning, in the place of numbers by seed."""

    effect: Estimate
    ways: int

    def __len__(self) -> int:
        """Its seeds."""
        return self.effect.seeds

    def __neg__(self) -> Ranked:
        """Of one of both turned round."""
        effect = self.effect
        return Ranked(Estimate(-effect.mean, -effect.high, -effect.low, effect.seeds), self.ways)


Numbers = np.ndarray | Ranked  # what a claim is judged by: (S,) by seed, or that


@dataclass(frozen=True, slots=True)
class Judged:
    """What numbers by seed say of a claim."""

    verdict: Verdict
    effect: Estimate
    would_decide: int | None  # seeds, of an undecided one; None where a verdict is there, or none is near


def untested(values: Numbers) -> Judged:
    """Of numbers from trials too short to tell."""
    return Judged("too short to tell", estimated(values), None)


def estimated(values: Numbers) -> Estimate:
    """Their mean with its interval, or the correlation's."""
    return values.effect if isinstance(values, Ranked) else estimate(values)


def judged(places: Sequence[tuple[Numbers, float]], test: Test) -> list[Judged]:
    """A verdict for each place in which one claim is looked at: its numbers, and d or what they are at most."""
    finite = [
        (values if isinstance(values, Ranked) else values[np.isfinite(values)], limit) for values, limit in places
    ]
    above = holm([p_above(values, 0.0 if test == "more" else limit) for values, limit in finite])
    below = holm([p_above(-values, -limit) for values, limit in finite])
    if test == "at most":
        above, below = below, above
    effects = [estimated(values) for values, _ in finite]
    together = zip(effects, finite, above, below, strict=True)
    found = [_verdict(effect, test, limit, yes, no) for effect, (_, limit), yes, no in together]
    level = 1 - (1 - LEVEL) / max(1, found.count("undecided"))
    return [
        Judged(verdict, effect, _would_decide(values, effect, test, limit, level) if verdict == "undecided" else None)
        for verdict, effect, (values, limit) in zip(found, effects, finite, strict=True)
    ]


def _verdict(effect: Estimate, test: Test, limit: float, yes: float, no: float) -> Verdict:
    """Of an effect whose corrected one-sided p are those of what supports and what contradicts the claim."""
    level = (1 - LEVEL) / 2
    if yes <= level and (test == "at most" or effect.mean >= limit):
        return "supported"
    return "contradicted" if no <= level else "undecided"


def _would_decide(values: Numbers, effect: Estimate, test: Test, limit: float, level: float) -> int | None:
    """How many seeds would, at the level that is left to each of the places that are undecided."""
    if isinstance(values, Ranked):
        return None  # it takes more ways of learning
    near = 0.0 if test == "more" and effect.mean >= limit else limit
    return seeds_needed(deviation(values), effect.mean - near, level=level)


def p_above(values: Numbers, limit: float) -> float:
    """One-sided p of a mean (S,) that is not above `limit`; NaN where there are too few seeds to tell."""
    if len(values) < FEWEST_SEEDS:
        return math.nan
    if isinstance(values, Ranked):
        return correlations.p_above(values.effect, values.ways, limit)
    gap, p = tested(values - limit)
    return p / 2 if gap.mean > 0 else 1 - p / 2
