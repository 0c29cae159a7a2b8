"""The settings that a page shows: one row for every arm at one of its settings, and what they may be chosen by.

A page offers some hundred settings: each arm at its best in every panel, then the others from the best down. The tables
of `sweep results` and the CSV beside the page are of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from sweep.results import frames, naming
from workloads.metrics import higher_is_better

if TYPE_CHECKING:
    from sweep.ledger.sweeps import SweepRecord
    from sweep.results.leaderboard import Leaderboard

MOST = 150  # settings of one sweep on a page
MENU = 30  # values of a hyperparameter that a menu offers; a search draws as many as it has trials


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """An arm at a setting, as charts are told of it."""

    arm: int  # its place among the page's arms
    label: str  # the arm's, in the file
    group: str
    name: str  # for people: "adam 0.01"
    panels: tuple[str, ...]  # where it is shown; a linear learner, which has no width, in several
    best: tuple[str, ...]  # those in which it is its arm's best
    values: Mapping[str, str]  # hyperparameter (a column of `frames.trials`) -> its value as text
    trial: str  # the one of its first seed, by which it is repeated


def of_sweep(
    record: SweepRecord,
    trials: pd.DataFrame,
    judged: pd.DataFrame,
    board: Leaderboard,
    places: Mapping[str, int],
    *,
    most: int,
    prefix: str = "",
) -> list[Setting]:
    """The settings to show, the best of every arm and panel first, then by rank inside their arms.

    trials and judged are of what is reported: `frames.trials`, and what settings are chosen by; places: of every arm;
    prefix: of every name.
    """
    ended = trials[trials["status"].isin(frames.FINISHED)]
    panel_axes = frames.panel_axes(frames.split(ended)[0])
    every = tuple(dict.fromkeys(standing.panel for standing in board.standings))
    best: dict[tuple[str, str], list[str]] = {(standing.arm, standing.group): [] for standing in board.standings}
    for standing in board.standings:
        best[standing.arm, standing.group].append(standing.panel)
    known = naming.settings(record.trials)
    columns = hyperparameters(trials)
    chosen = _ranked(judged, list(best))[:most]
    of_setting = dict(iter(ended[ended["group"].isin([group for _, group in chosen])].groupby(["arm", "group"])))
    shown = []
    for arm, group in chosen:
        members = of_setting[arm, group]
        config = members.iloc[0]
        own = {column: value for column, value in known[arm, group].items() if column not in panel_axes}
        shown.append(
            Setting(
                arm=places[arm],
                label=arm,
                group=group,
                name=f"{prefix}{naming.name(arm, own)}",
                panels=_panels(config, panel_axes, every),
                best=tuple(best.get((arm, group), ())),
                values={column: text(config[column]) for column in columns if not pd.isna(config[column])},
                trial=str(members["seed"].idxmin()),
            )
        )
    return shown


def hyperparameters(trials: pd.DataFrame) -> list[str]:
    """The columns that vary inside an arm, in the order in which they are told."""
    inside = {column for _, arm in trials.groupby("arm") for column in frames.varying(arm, *_parts(trials))}
    return [column for column in frames.axes(trials) if column in inside]


def panels_of(trials: pd.DataFrame, board: Leaderboard) -> pd.Series[str]:
    """The panel of every trial, by its id; "" for one that belongs to several."""
    ended = trials[trials["status"].isin(frames.FINISHED)]
    axes = frames.panel_axes(frames.split(ended)[0])
    every = tuple(dict.fromkeys(standing.panel for standing in board.standings))
    once = ended.drop_duplicates("group").set_index("group")
    columns = [column for column in dict.fromkeys([*axes, "network.depth"]) if column in once]
    alike = once.groupby(columns, dropna=False, sort=False).ngroup() if columns else pd.Series(0, once.index)
    told = [_panels(once.loc[group], axes, every) for group in alike.drop_duplicates().index]  # settings are many
    panels = ended["group"].map(alike.map(lambda place: told[place][0] if len(told[place]) == 1 else ""))
    return panels[~panels.index.duplicated()]


def text(value: Any) -> str:
    """A hyperparameter's value for people, and for menus, which compare text."""
    if isinstance(value, str):
        return naming.words(value)
    return str(value) if isinstance(value, bool) else naming.number(float(value))


def menus(settings: Sequence[Setting], columns: Sequence[str]) -> dict[str, list[str]]:
    """Hyperparameter -> the values there are of it, smallest first, for those that a menu can offer."""
    found = {column: {s.values[column] for s in settings if column in s.values} for column in columns}
    return {column: sorted(values, key=_size) for column, values in found.items() if 1 < len(values) <= MENU}


def _parts(trials: pd.DataFrame) -> list[str]:
    """The prefixes of config columns."""
    return sorted({column.partition(".")[0] + "." for column in trials.columns if "." in column})


def _ranked(judged: pd.DataFrame, first: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """All (arm, group): `first`, then the best of every arm, the second of every arm, and so on."""
    higher = higher_is_better(str(judged["metric"].iloc[0]))
    means = judged.groupby(["arm", "group"], sort=False)["value"].mean().reset_index()
    means["rank"] = means.groupby("arm")["value"].rank(ascending=not higher, method="first", na_option="bottom")
    order = means.sort_values("rank", kind="stable")[["arm", "group"]].itertuples(index=False, name=None)
    return list(dict.fromkeys([*first, *order]))


def _panels(config: pd.Series[Any], axes: Sequence[str], every: tuple[str, ...]) -> tuple[str, ...]:
    """The panels that a setting belongs to: those of its own axes; of a linear learner all that share the others."""
    linear = config.get("network.depth") == 0
    told = {axis: config[axis] for axis in axes if not (linear and axis in frames.SHAPE)}
    own = naming.setting(told)
    if own in every:
        return (own,)
    return tuple(panel for panel in every if all(part in panel.split(", ") for part in own.split(", ") if part))


def _size(value: str) -> tuple[bool, float, str]:
    """By which a menu is sorted: numbers by size, then words."""
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value
