"""What the runs of arms are to hold: each arm at its best setting, in every panel, with what is told of it; and each
arm at its best setting with every value of each of its axes, from which sensitivity is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sweep.results import naming, palette
from sweep.tracking import notes, views
from sweep.tracking.drafts import Draft, Point, band_curves, digest, first_metrics, summary
from sweep.tracking.state import LAYOUT, PAGE, State

if TYPE_CHECKING:
    from mlflow.entities import Experiment

    from sweep.results.answers import Standing
    from sweep.results.leaderboard import Leaderboard

RAMP = ("#440154", "#3E4A89", "#26828E", "#1F9E89", "#6CCE59", "#D8B400")  # of an axis' values, smallest first
MOST_VALUES = 12  # of an axis that has a view: those that a search has drawn are no curves to compare


def drafts(state: State, board: Leaderboard, experiment: Experiment) -> dict[str, Draft]:
    """Panel and arm -> what its run is to hold; `experiment` is where the settings and trials are that it links to."""
    groups = list({standing.group for standing in board.standings})
    bands = band_curves(state.binned(groups, board.metric, evaluated=board.evaluated))
    made = {}
    for standing in board.standings:
        draft = _draft(state, standing, board, experiment.experiment_id, bands.get(standing.group, []))
        made[draft.tags["pliant.place"]] = draft
    return made


def _draft(state: State, standing: Standing, board: Leaderboard, experiment: str, bands: list[Point]) -> Draft:
    place = f"{standing.panel}/{standing.arm}" if standing.panel else standing.arm
    name = f"{standing.panel}: {standing.name}" if standing.panel else standing.name
    tags = {
        "pliant.kind": "arm",
        "pliant.sweep": state.identity,
        "pliant.place": place,
        "pliant.arm": standing.arm,
        **({"pliant.panel": standing.panel} if standing.panel else {}),
        "pliant.group": standing.group,
        "pliant.seeds": str(standing.members),
        "pliant.diverged": str(standing.diverged),
        views.VERDICT: standing.verdict,
        "pliant.content": digest([LAYOUT, PAGE, state.content(standing.group), place, name, str(standing)]),
        views.COLOR: palette.colors(state.record.arms)[standing.arm],
        notes.TAG: notes.of_arm(standing, board, experiment),
    }
    points = [*bands, *summary(views.final(board.metric), standing.late)]
    if standing.difference is not None:
        points += summary(views.difference(board.metric), standing.difference.estimate)
    ended = state.shown(standing.group, evaluated=board.evaluated)
    return Draft(name, tags, *state.span(ended), params=state.params[standing.group], points=points)


def values(state: State, board: Leaderboard, experiment: Experiment) -> dict[str, Draft]:
    """Axis, panel and arm -> what the run of an arm at its best setting with one value of the axis is to hold."""
    from sweep.results import leaderboard, selections

    chosen = selections.selection(state.record)
    trials, curves, _ = leaderboard.read(chosen, state.ledger, board.metric)
    settings = naming.settings(state.record.trials)
    made: dict[str, Draft] = {}
    for column, known in _axes(settings).items():
        at_values = leaderboard.of_frames(state.record, trials, curves, chosen, by=[column])
        own = [standing for standing in at_values.standings if standing.arm in known]
        groups = list({standing.group for standing in own})
        two_stages = "seeds" in state.record.manifest
        bands = band_curves(state.binned(groups, board.metric, evaluated=two_stages, stage="select"))
        for standing in own:
            value = settings[standing.arm, standing.group][column]
            if value is not None:
                draft = _draft(state, standing, at_values, experiment.experiment_id, bands.get(standing.group, []))
                made |= _as_value(draft, column, known[standing.arm].index(value), len(known[standing.arm]))
    return made


def _axes(settings: Mapping[tuple[str, str], Mapping[str, Any]]) -> dict[str, dict[str, list[Any]]]:
    """Column -> arm -> the values there are, smallest first; of optimizer and methods, as the others make panels."""
    found: dict[str, dict[str, dict[Any, None]]] = {}
    for (arm, _), fields in settings.items():
        for column, value in fields.items():
            if value is not None and not column.startswith(("network.", "workload.")):
                found.setdefault(column, {}).setdefault(arm, {})[value] = None
    return {
        column: {
            arm: sorted(known, key=lambda value: (isinstance(value, str), value))
            for arm, known in arms.items()
            if 1 < len(known) <= MOST_VALUES
        }
        for column, arms in found.items()
    }


def _as_value(draft: Draft, column: str, place: int, count: int) -> dict[str, Draft]:
    """The draft of an arm as that of one value of an axis, the place-th of so many."""
    tags = {name: value for name, value in draft.tags.items() if name != views.VERDICT} | {
        "pliant.kind": "value",
        "pliant.axis": column,
        "pliant.place": f"{column}/{draft.tags['pliant.place']}",
        views.COLOR: RAMP[round(place * (len(RAMP) - 1) / (count - 1))],
    }
    tags["pliant.content"] = digest([draft.tags["pliant.content"], column, place, count])
    points = [point for point in draft.points if not point[0].startswith(views.difference(""))]
    name = draft.name.replace(f"{naming.axis(column)} ", "", 1)  # the view's name says which axis
    return {
        tags["pliant.place"]: replace(draft, name=name, tags=tags, points=[*points, (views.VALUE, 0, float(place))])
    }


def axes(made: Mapping[str, Draft]) -> list[tuple[str, str]]:
    """(arm, column) of what there are values of."""
    return list(dict.fromkeys((draft.tags["pliant.arm"], draft.tags["pliant.axis"]) for draft in made.values()))


def measured(state: State, board: Leaderboard) -> views.Measured:
    """The metrics of a sweep that have curves in MLflow."""
    names = first_metrics(state.record.trials[0].config["metrics"], state.track["metrics"])
    return views.Measured(board.metric, board.higher is True, names)
