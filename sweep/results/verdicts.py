"""What of a difference can be told from chance."""

from __future__ import annotations

from typing import Literal

from sweep.results.intervals import Estimate

# Of the difference to the first arm: its interval leaves out 0, or not (or there are too few seeds), or there is none.
Verdict = Literal["first", "better", "worse", "open", "none"]
FEWEST_SEEDS = 6  # differences that all have one sign come by chance once in 2^(seeds - 1): below 5 % from 6 on


def verdict(difference: Estimate | None, *, higher: bool) -> Verdict:
    if difference is None:
        return "none"
    if difference.seeds < FEWEST_SEEDS or difference.low <= 0 <= difference.high:
        return "open"
    return "better" if (difference.mean > 0) == higher else "worse"
