"""One comparison told whole: two arms, each at its best setting, paired by seed.

It is read from the leaderboard, so that it never says anything else. Beside the sweep's first arm, p is corrected for
all arms that are compared with it; any other two arms are one comparison, which is not corrected.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from sweep.errors import InputError
from sweep.results import frames, intervals, leaderboard, selections, verdicts, windows
from sweep.results.answers import Standing
from sweep.results.bands import COLUMNS
from sweep.results.differences import paired_difference
from sweep.results.intervals import Estimate, Statistic
from sweep.results.leaderboard import Leaderboard
from sweep.results.selections import Stage
from sweep.results.windows import Window
from workloads.registry import lookup

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One arm, ours, beside another, theirs, in one panel."""

    board: Leaderboard  # that it is of: metric, window, how settings were chosen
    panel: str
    ours: Standing  # its difference is to theirs
    theirs: Standing
    improvement: Estimate | None  # how likely any run of ours is better than any of theirs; None where neither way is
    comparisons: int  # that p is corrected for
    smallest: float  # effect that matters
    seeds_needed: int | None  # to tell a difference of this size, or the smallest that matters, from none
    curve: pd.DataFrame  # task, step, mean, ci_low, ci_high, seeds, diverged of ours minus theirs


def compare(
    record: SweepRecord,
    ledger: Ledger,
    ours: str,
    theirs: str,
    *,
    metric: str | None = None,
    window: Window = windows.LATE,
    stage: Stage | None = None,
    statistic: Statistic = "mean",
) -> list[Comparison]:
    """One comparison for every panel in which both arms are; arguments as `leaderboard`.

    Raises InputError as it does, for an unknown arm, and where the two are in no panel together.
    """
    for arm in (ours, theirs):
        lookup(dict.fromkeys(record.arms), arm, "arm")
    if ours == theirs:
        raise InputError(f"{ours} is compared with itself: name two arms of {', '.join(record.arms)}")
    part = selections.shown(record, ledger, stage)
    if theirs != record.arms[0]:
        record, part = only(record, theirs, ours), only(part, theirs, ours)
    trials, curves, shown = leaderboard.read(part, ledger, metric)
    board = leaderboard.of_frames(record, trials, curves, part, metric=shown, window=window, statistic=statistic)
    late = selections.late(trials, curves, shown, window)
    told = []
    for panel, standings in board.panels():
        by_arm = {standing.arm: standing for standing in standings}
        if ours in by_arm and theirs in by_arm:
            sides = by_arm[ours], by_arm[theirs]
            smallest = verdicts.smallest_effect(shown, sides[1].late.mean)
            told.append(
                Comparison(
                    board=board,
                    panel=panel,
                    ours=sides[0],
                    theirs=sides[1],
                    improvement=_improvement(late, sides, board.higher),
                    comparisons=len(standings) - 1,
                    smallest=smallest,
                    seeds_needed=verdicts.seeds_needed(sides[0].difference, smallest),
                    curve=_curve(trials, curves, shown, sides),
                )
            )
    if not told:
        ended = {standing.arm for standing in board.standings}
        without = [arm for arm in (ours, theirs) if arm not in ended]
        why = f"no trial of {' or '.join(without)} has ended yet" if without else "they share no network and workload"
        raise InputError(f"{ours} and {theirs} cannot be compared: {why}")
    return told


def only(record: SweepRecord, *arms: str) -> SweepRecord:
    """The record as if it had these arms alone, in this order."""
    trials = [
        replace(trial, arms=tuple(arm for arm in trial.arms if arm in arms))
        for trial in record.trials
        if not set(arms).isdisjoint(trial.arms)
    ]
    return replace(record, trials=trials, manifest={**record.manifest, "arms": list(arms)})


def _improvement(late: pd.DataFrame, sides: tuple[Standing, Standing], higher: bool | None) -> Estimate | None:
    """Of late performance, a row for each trial; None where neither direction is better."""
    if higher is None:
        return None
    ours, theirs = (late.loc[(late["arm"] == s.arm) & (late["group"] == s.group), "value"].to_numpy() for s in sides)
    return intervals.improvement(ours, theirs, higher=higher)


def _curve(trials: pd.DataFrame, curves: pd.DataFrame, metric: str, sides: tuple[Standing, Standing]) -> pd.DataFrame:
    """Ours minus theirs at every task, over the seeds that have both; empty where none has."""
    if sides[0].difference is None:
        return pd.DataFrame(columns=["task", "step", *COLUMNS])
    places = pd.DataFrame([{"arm": side.arm, "group": side.group} for side in sides])
    own = trials.reset_index().merge(places, on=["arm", "group"]).set_index("trial")
    values = frames.observed(own, curves, metric)
    return paired_difference(values, sides[0].arm, sides[1].arm, by=("task", "step"))
