"""What a sweep found: the leaderboard of its arms, and what of it can be told from chance.

Late performance is the mean of the headline metric over the last tenth of the tasks (`windows.late`). An arm stands at
its best setting by it (`selections.best_settings`), chosen on the same seeds that are reported, which flatters arms
with many settings; or, in a sweep of two stages, at the setting that was chosen before, on fresh seeds alone.
Intervals are the 95 % bootstraps over seeds of `bands.bands`. A difference is that of late performance to the first
arm of the file, on the seeds that both have, as the same seed is the same stream and initial weights.

Settings of network and workload that vary inside an arm make a panel each, as in figures: errors on two problems are
not compared. Divergence is a result: diverged trials are counted, and the mean over the others says of how many it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from sweep.results import frames, naming, selections, windows
from sweep.results.bands import bands
from sweep.results.intervals import NOTHING, Estimate
from sweep.results.verdicts import FEWEST_SEEDS, Verdict, verdict
from workloads.metrics import higher_is_better

if TYPE_CHECKING:
    from rich.table import Table

    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An arm at its best setting in one panel."""

    panel: str  # "width 20"; "" where the sweep has one panel
    arm: str  # its label in the file
    name: str  # of arm and setting for people: "adam 0.01"
    group: str  # id of the setting: its trials differ in seed alone
    settings: Mapping[str, Any]  # the columns that vary inside the arm, as in `naming.settings`
    candidates: int  # settings it was chosen from
    late: Estimate  # over the seeds that did not diverge
    members: int  # trials of the setting that ended
    diverged: int  # of these
    diverged_in: tuple[int, int] | None  # the first and the last task, from 0, in which one did
    difference: Estimate | None  # to the panel's first arm; None for itself, and where no seed has both
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """The arms of a sweep, best first in each panel."""

    sweep: str  # name@scale
    metric: str
    higher: bool  # is better
    first: str  # the arm that others are compared with
    stages: str  # on which seeds settings were chosen and on which they are shown; nothing where they are the same
    evaluated: bool  # whether fresh seeds alone are shown
    trials: int  # that results are read from
    finished: int
    diverged: int  # of these, at any setting
    standings: tuple[Standing, ...]

    def panels(self) -> Iterator[tuple[str, tuple[Standing, ...]]]:
        """Each panel with its standings."""
        for panel in dict.fromkeys(standing.panel for standing in self.standings):
            yield panel, tuple(standing for standing in self.standings if standing.panel == panel)


def leaderboard(record: SweepRecord, ledger: Ledger) -> Leaderboard:
    """What the trials that have ended say. Raises InputError where none has or no headline metric was recorded."""
    part = selections.reported(record, ledger)
    trials = frames.trials(part, ledger)
    return of_frames(record, trials, frames.curves(part, ledger, [frames.headline(trials)]), part)


def of_frames(
    record: SweepRecord, trials: pd.DataFrame, curves: pd.DataFrame, part: SweepRecord | None = None
) -> Leaderboard:
    """The leaderboard from `frames.trials` and `frames.curves` of `part`, which is what is reported of the sweep.

    None is the sweep itself. Raises as `leaderboard`.
    """
    metric = frames.headline(trials)
    higher = higher_is_better(metric)
    ended = trials[trials["status"].isin(frames.FINISHED)]
    begin = windows.late_from(ended["tasks"]).min()  # what comes before is not asked for
    late = windows.late(frames.observed(trials, curves[curves["task"] >= begin], metric))
    networks, linear = frames.split(ended)
    axes = frames.panel_axes(networks)
    best = _best(networks, linear, late, axes, higher=higher)
    settings = naming.settings(record.trials)
    fresh = part is not None and selections.evaluated(part)
    order = {arm: place for place, arm in enumerate(record.arms)}
    standings: list[Standing] = []
    for _, inside in best.groupby("panel", sort=False):
        places = inside.sort_values("arm", key=lambda arms: arms.map(order)).to_dict("records")
        made = [
            _standing(row, places[0], settings[row["arm"], row["group"]], axes, ended, late, higher=higher)
            for row in places
        ]
        if fresh:
            made = [replace(standing, candidates=candidates(standing, settings, axes)) for standing in made]
        standings += sorted(made, key=lambda standing: _rank(standing, higher))
    once = trials[~trials.index.duplicated()]  # a trial has a row for each of its arms
    return Leaderboard(
        sweep=record.identity,
        metric=metric,
        higher=higher,
        first=min(best["arm"], key=order.__getitem__),
        stages=selections.told(part) if part else "",
        evaluated=fresh,
        trials=len(once),
        finished=int(once["status"].isin(frames.FINISHED).sum()),
        diverged=int((once["status"] == "diverged").sum()),
        standings=tuple(standings),
    )


def _best(
    networks: pd.DataFrame, linear: pd.DataFrame, late: pd.DataFrame, axes: list[str], *, higher: bool
) -> pd.DataFrame:
    """The best setting of every arm in every panel, panel after panel: panel, arm, group, candidates.

    A linear learner has no width that could vary, so it stands in every panel with which it shares all else. Of an arm
    that has both networks and linear learners the networks stand.
    """
    best = selections.best_settings(networks, late, [*axes, "arm"], higher=higher)
    alone = linear[~linear["arm"].isin(networks["arm"])]
    if len(alone):
        shared = [axis for axis in axes if axis not in frames.SHAPE]
        theirs = selections.best_settings(alone, late, [*shared, "arm"], higher=higher)
        places = best[axes].drop_duplicates() if axes else best[axes].head(1)
        theirs = places.merge(theirs, on=shared) if shared else places.merge(theirs, how="cross")
        best = pd.concat([best, theirs], ignore_index=True)
    panels = [naming.setting(dict(zip(axes, row, strict=True))) for row in best[axes].to_numpy(dtype=object)]
    return best.assign(panel=panels).sort_values([*axes, "panel"], kind="stable")


def _standing(
    row: Mapping[Any, Any],
    first: Mapping[Any, Any],
    settings: Mapping[str, Any],
    axes: Sequence[str],
    ended: pd.DataFrame,
    late: pd.DataFrame,
    *,
    higher: bool,
) -> Standing:
    """One arm's place in a panel, beside that of the panel's first arm."""
    members = _chosen(ended, row)
    own = _chosen(late, row)
    lost = members.loc[members["status"] == "diverged", "ended"]
    difference = None if row["arm"] == first["arm"] else _difference(own, _chosen(late, first))
    return Standing(
        panel=row["panel"],
        arm=row["arm"],
        name=naming.name(row["arm"], {column: value for column, value in settings.items() if column not in axes}),
        group=row["group"],
        settings=settings,
        candidates=int(row["candidates"]),
        late=_estimate(bands(own, ["arm"])),
        members=len(members),
        diverged=len(lost),
        diverged_in=(int(lost.min()), int(lost.max())) if len(lost) else None,
        difference=difference,
        verdict="first" if row["arm"] == first["arm"] else verdict(difference, higher=higher),
    )


def candidates(standing: Standing, settings: Mapping[tuple[str, str], Mapping[str, Any]], axes: Sequence[str]) -> int:
    """From how many settings of its arm, in its panel, one was chosen that is alone on fresh seeds."""
    place = [standing.settings.get(axis) for axis in axes]
    others = (values for (arm, _), values in settings.items() if arm == standing.arm)
    return sum([values.get(axis) for axis in axes] == place for values in others)


def _chosen(frame: pd.DataFrame, row: Mapping[Any, Any]) -> pd.DataFrame:
    """The rows of one arm at one setting."""
    rows: pd.DataFrame = frame[(frame["arm"] == row["arm"]) & (frame["group"] == row["group"])]
    return rows


def _difference(own: pd.DataFrame, base: pd.DataFrame) -> Estimate | None:
    """own minus base over the seeds that have both; None where there is none. Two arms may share their trials."""
    pairs = own.merge(base[["seed", "value"]], on="seed", suffixes=("", "_base"))
    pairs["value"] -= pairs["value_base"]
    return None if pairs["value"].isna().all() else _estimate(bands(pairs, ["arm"]))


def _estimate(rows: pd.DataFrame) -> Estimate:
    band = rows.iloc[0]
    return Estimate(float(band["mean"]), float(band["ci_low"]), float(band["ci_high"]), int(band["seeds"]))


def _rank(standing: Standing, higher: bool) -> tuple[bool, float]:
    """Best first, those without a value last."""
    mean = standing.late.mean
    return math.isnan(mean), -mean if higher else mean


def sentence(standings: Sequence[Standing]) -> str:
    """What of one panel can be told from its first arm, and what cannot; settings are in the table."""
    [first] = [standing for standing in standings if standing.verdict == "first"]
    others = [standing for standing in standings if standing.verdict != "first"]
    arm = naming.words(first.arm)
    if not others:
        return "There is one arm, so there is nothing to compare."
    if not first.late.seeds:
        return f"{arm} has no value to compare with: {lost(first)}."
    seeds = max(standing.difference.seeds if standing.difference else 0 for standing in others)
    if seeds < FEWEST_SEEDS:
        few = "1 seed" if seeds == 1 else f"{seeds} seeds"
        return f"With {few} in common no difference to {arm} can be told from chance; it takes {FEWEST_SEEDS}."
    said = {
        kind: naming.listed([_told(standing) for standing in others if standing.verdict == kind])
        for kind in ("better", "worse", "open", "none")
    }
    told = [f"{text} {said[kind]}" for kind, text in (("better", "better:"), ("worse", "worse:")) if said[kind]]
    if said["open"]:
        told.append(f"not distinguishable: {said['open']}")
    if said["none"]:
        told.append(f"no value to compare: {said['none']}")
    return f"Beside {arm}, at 95 %: {'; '.join(told)}."


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


def table(standings: Sequence[Standing]) -> Table:
    """One panel's standings as a table for the terminal."""
    from rich.table import Table

    [first] = [standing for standing in standings if standing.verdict == "first"]
    compared = [f"minus {naming.words(first.arm)}", "95 %"] if len(standings) > 1 else []
    shown = Table("arm, at its best setting", box=None, pad_edge=False)
    for name in ("mean", "95 %", "seeds", *compared):
        shown.add_column(name, justify="right")
    for standing in standings:
        late, difference = standing.late, standing.difference
        cells = [f"{late.mean:.4g}", _interval(late), str(late.seeds)] if late.seeds else ["diverged", "", "0"]
        if difference is not None:
            cells += [f"{difference.mean:+.3g}", _interval(difference, "+")]
        shown.add_row(standing.name, *cells)
    return shown


def _interval(estimate: Estimate, sign: str = "") -> str:
    """`[0.012, 0.014]`; nothing where there is none."""
    return "" if math.isnan(estimate.low) else f"[{estimate.low:{sign}.3g}, {estimate.high:{sign}.3g}]"


def heading(board: Leaderboard) -> str:
    """What the numbers are: `online squared error, mean of the last tenth of the tasks (lower is better)`."""
    better = "higher" if board.higher else "lower"
    part = f"; {board.finished:,} of {board.trials:,} trials have ended" if board.finished < board.trials else ""
    return f"{naming.metric(board.metric)}, mean of the last tenth of the tasks ({better} is better){part}"


def rows(board: Leaderboard) -> list[dict[str, Any]]:
    """The leaderboard as flat rows of scalars, as `sweep results --csv` writes them."""
    return [
        {
            "sweep": board.sweep,
            "metric": board.metric,
            "panel": standing.panel,
            "arm": standing.arm,
            "setting": naming.setting(standing.settings, standing.arm),
            "group": standing.group,
            "candidates": standing.candidates,
            **_columns("", standing.late),
            "trials": standing.members,
            "diverged": standing.diverged,
            **_columns("difference_", standing.difference or NOTHING),
            "verdict": standing.verdict,
        }
        for standing in board.standings
    ]


def _columns(prefix: str, estimate: Estimate) -> dict[str, float | int]:
    names = ("mean", "ci_low", "ci_high", "seeds")
    return {f"{prefix}{name}": value for name, value in zip(names, astuple(estimate), strict=True)}
