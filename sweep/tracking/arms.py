"""What the runs of arms are to hold: each arm at its best setting, in every panel, with what is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.results import palette
from sweep.tracking import notes, views
from sweep.tracking.drafts import Draft, Point, band_curves, digest, first_metrics, summary
from sweep.tracking.state import LAYOUT, PAGE, State

if TYPE_CHECKING:
    from mlflow.entities import Experiment

    from sweep.results.answers import Standing
    from sweep.results.leaderboard import Leaderboard


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


def measured(state: State, board: Leaderboard) -> views.Measured:
    """The metrics of a sweep that have curves in MLflow."""
    names = first_metrics(state.record.trials[0].config["metrics"], state.track["metrics"])
    return views.Measured(board.metric, board.higher is True, names)
