"""How an arm stands beside the first, and the sentences that say what of it can be told from chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.results import intervals, naming
from sweep.results.differences import Difference
from sweep.results.intervals import FEWEST_SEEDS, Estimate
from sweep.results.verdicts import TOLD, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An arm at its best setting in one panel."""

    panel: str  # "width 20"; "" where the sweep has one panel
    arm: str  # its label in the file
    name: str  # of arm and setting for people: "adam 0.01"
    group: str  # id of the setting: its trials differ in seed alone
    settings: Mapping[str, Any]  # the columns that vary inside the arm, as in `naming.settings`
    candidates: int  # settings it was chosen from
    late: Estimate  # over the seeds that have a value
    members: int  # trials of the setting that ended
    diverged: int  # of these
    diverged_in: tuple[int, int] | None  # the first and the last task, from 0, in which one did
    difference: Difference | None  # to the panel's first arm; None for itself, and where no seed has both
    verdict: Verdict
    seeds_needed: int | None  # how many would decide, where nothing can be told


def sentence(standings: Sequence[Standing]) -> str:
    """What of one panel can be told from its first arm, and what cannot; settings are in the table."""
    return " ".join(_sentences(standings))


def briefly(standings: Sequence[Standing]) -> str:
    """The first of these sentences: which arm stands best, and by how much."""
    return _sentences(standings)[0]


def _sentences(standings: Sequence[Standing]) -> list[str]:
    [first] = [standing for standing in standings if standing.verdict == "first"]
    others = [standing for standing in standings if standing.verdict != "first"]
    arm = naming.words(first.arm)
    if not others:
        return ["There is one arm, so there is nothing to compare."]
    if not first.late.seeds:
        return [f"{arm} has no value to compare with: {lost(first) or 'none was measured'}."]
    if few := too_few(first, others):
        return [few, seen(first, others)]
    told = [answer(first, others)]
    if len(others) > 1:
        told.append(f"Beside {arm}, {_level(len(others))}: {_sorted_out(others)}.")
    return told


def too_few(first: Standing, others: Sequence[Standing]) -> str:
    """That no difference can be told from chance with so few seeds, and how many would do; else nothing."""
    seeds = max(standing.difference.seeds if standing.difference else 0 for standing in others)
    if not 0 < seeds < FEWEST_SEEDS:
        return ""
    few = "1 seed" if seeds == 1 else f"{seeds} seeds"
    enough = [standing.seeds_needed for standing in others if standing.seeds_needed is not None]
    more = f"; for what is seen here, some {min(enough):,}" if enough and min(enough) > FEWEST_SEEDS else ""
    arm = naming.words(first.arm)
    return (
        f"With {few} in common no difference to {arm} can be told from chance; it takes {FEWEST_SEEDS} at least{more}."
    )


def seen(first: Standing, others: Sequence[Standing]) -> str:
    """What few seeds say of the best of the other arms: `What is seen: adam at +0.5 [-0.1, 1.1], ahead in 3 of 3.`"""
    best = next(standing for standing in others if standing.difference is not None)
    assert best.difference is not None
    by, seeds = best.difference.estimate, best.difference.seeds
    said = f"What is seen: {_told(best)} at {naming.rounded(by.mean, sign='+')} {between(by, '+')}".rstrip()
    if seeds < 2 or math.isnan(best.difference.probability):
        return f"{said} beside {naming.words(first.arm)}."
    return f"{said} beside {naming.words(first.arm)}, ahead in {better_in(best.difference)}."


def better_in(difference: Difference) -> str:
    """In how many seeds the first is better, equal ones counting half: `3 of 3 seeds`."""
    return f"{difference.probability * difference.seeds:g} of {difference.seeds} seeds"


def answer(first: Standing, others: Sequence[Standing]) -> str:
    """The arm that stands best beside the first one, and by how much: `adam beats sgd by 0.5 [0.4, 0.6], 30 seeds.`"""
    compared = [standing for standing in others if standing.difference is not None]
    arm = naming.words(first.arm)
    if not compared:
        return f"No arm has a seed in common with {arm}."
    best = next((standing for standing in compared if standing.verdict == "better"), compared[0])
    assert best.difference is not None
    by, seeds = best.difference.estimate, best.difference.seeds
    if best.verdict in ("better", "worse"):
        size = _by(by)
        verb = "beats" if best.verdict == "better" else "is behind"
        return f"{_told(best)} {verb} {arm} by {size}, {seeds} seeds."
    if best.verdict in ("higher", "lower"):
        return f"{_told(best)} is {best.verdict} than {arm} by {_by(by)}, {seeds} seeds."
    needed = f"; to tell one takes some {best.seeds_needed:,}" if best.seeds_needed else ""
    size = f"{naming.rounded(by.mean, sign='+')} {between(by, '+')}"
    return f"No difference told between {_told(best)} and {arm}: {size}, {seeds} seeds{needed}."


def _by(estimate: Estimate) -> str:
    """How far, without its sign."""
    ends = sorted((estimate.low, estimate.high)) if estimate.mean > 0 else sorted((-estimate.low, -estimate.high))
    low, high = map(naming.rounded, ends)
    return f"{naming.rounded(abs(estimate.mean))} [{low}, {high}]"


def _level(comparisons: int) -> str:
    return f"at {intervals.LEVEL:.0%}" + (f" over {comparisons} comparisons" if comparisons > 1 else "")


def _sorted_out(others: Sequence[Standing]) -> str:
    """The arms by what is told of them."""
    kinds: tuple[Verdict, ...] = (*TOLD, "no difference told", "too few seeds", "nothing to compare")
    said = {kind: [_told(standing) for standing in others if standing.verdict == kind] for kind in kinds}
    return "; ".join(f"{kind}: {naming.listed(arms)}" for kind, arms in said.items() if arms)


def _told(standing: Standing) -> str:
    """The arm, and how many seeds its verdict leaves out: a mean over survivors flatters."""
    label = naming.words(standing.arm)
    return f"{label} ({standing.diverged} of {standing.members} diverged)" if standing.diverged else label


def lost(standing: Standing) -> str:
    """How many of a setting's trials diverged, and when: `2 of 30 diverged, in tasks 3 to 9`; nothing for none."""
    if standing.diverged_in is None:
        return ""
    first, last = (task + 1 for task in standing.diverged_in)  # people count from 1
    when = f"in task {first}" if first == last else f"in tasks {first} to {last}"
    return f"{standing.diverged} of {standing.members} diverged, {when}"


def between(estimate: Estimate, sign: str = "") -> str:
    """`[0.012, 0.014]`; nothing where there is none."""
    low, high = (naming.rounded(end, sign=sign) for end in (estimate.low, estimate.high))
    return "" if math.isnan(estimate.low) else f"[{low}, {high}]"
