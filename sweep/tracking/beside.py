"""Several sweeps of one question side by side: an experiment of their arms, a method's curve from one, another's from
another. Runs are named by arm and sweep; a difference is that to the first arm of the same sweep.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sweep.errors import InputError, TrackingError
from sweep.results import naming, palette
from sweep.tracking import arms, notes, views
from sweep.tracking.addresses import RELATIVE, artifact_folder, explained, with_driver
from sweep.tracking.drafts import Draft, digest
from sweep.tracking.runs import Runs
from sweep.tracking.state import State
from sweep.tracking.turns import turn
from sweep.tracking.writers import experiment_for, writer_for

if TYPE_CHECKING:
    from mlflow.entities import Experiment

    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord
    from sweep.results.leaderboard import Leaderboard


def name_of(records: Sequence[SweepRecord]) -> str:
    """What the experiment is called."""
    return " beside ".join(record.identity for record in records)


def labels(identities: Sequence[str]) -> list[str]:
    """What tells sweeps apart, in short: `flip=one` and `demo@smoke` of demo@smoke+workload.flip=one and demo@smoke."""
    parts = [identity.replace("@", "+").split("+") for identity in identities]
    common = set(parts[0]).intersection(*parts[1:])
    own = [" ".join(part.rpartition(".")[2] for part in each if part not in common) for each in parts]
    own = [label or identity.partition("+")[0] for label, identity in zip(own, identities, strict=True)]
    return own if len(set(own)) == len(own) else list(identities)


def sync(records: Sequence[SweepRecord], ledger: Ledger, tracking_uri: str, artifact_root: str | None = None) -> str:
    """Bring the experiment of these sweeps' arms up to date, and return its name.

    Raises InputError where one has no leaderboard, or they are judged by different metrics; TrackingError where one is
    not tracked there, or the server or database fails.
    """
    tracking_uri, name = with_driver(tracking_uri), name_of(records)
    states = [State(record, ledger, None) for record in records]
    boards = _boards(states)
    with explained(tracking_uri):
        writer = writer_for(tracking_uri)
        own = [writer.client.get_experiment_by_name(record.identity) for record in records]
        with turn(tracking_uri, name):
            files = artifact_folder(tracking_uri)
            root = artifact_root if files is None else RELATIVE
            runs = Runs(writer, experiment_for(writer, name, root, tracking_uri), name, files)
            runs.bring_back()
            runs.renew("arm", _drafts(name, states, boards, own))
            runs.describe_experiment(
                {
                    notes.TAG: "\n\n".join(_note(states, boards, own)),
                    **views.tags(_views(states, boards), runs.experiment.creation_time or 0),
                }
            )
    return name


def _boards(states: Sequence[State]) -> list[Leaderboard]:
    """The leaderboards, of one metric."""
    boards = []
    for state in states:
        if (board := state.board()) is None:
            raise InputError(f"{state.identity} has nothing to compare yet: no trial of it has ended")
        boards.append(board)
    if len({board.metric for board in boards}) > 1:
        said = naming.listed([f"{board.sweep} by {naming.metric(board.metric)}" for board in boards])
        raise InputError(f"these sweeps are judged by different metrics and share no chart: {said}")
    return boards


def _drafts(
    name: str, states: Sequence[State], boards: Sequence[Leaderboard], own: Sequence[Experiment | None]
) -> dict[str, Draft]:
    """The runs of all arms, each told apart by its sweep; an arm of the first sweep keeps the colour it has there."""
    told = labels([state.identity for state in states])
    keys = {
        (state.identity, arm): arm if state is states[0] else f"{arm} of {label}"
        for state, label in zip(states, told, strict=True)
        for arm in state.record.arms
    }
    colors = palette.colors(keys.values())
    made = {}
    for state, board, label, experiment in zip(states, boards, told, own, strict=True):
        if experiment is None:
            raise TrackingError(f"{state.identity} is not tracked there: run it once more without --no-track")
        for place, draft in arms.drafts(state, board, experiment).items():
            color = colors[keys[state.identity, draft.tags["pliant.arm"]]]
            tags = draft.tags | {
                "pliant.sweep": name,
                "pliant.from": state.identity,
                "pliant.place": f"{state.identity}/{place}",
                "pliant.content": digest([draft.tags["pliant.content"], label, color]),
                views.COLOR: color,
            }
            made[tags["pliant.place"]] = replace(draft, name=f"{label}: {draft.name}", tags=tags)
    return made


def _views(states: Sequence[State], boards: Sequence[Leaderboard]) -> list[views.View]:
    """Of the metrics that all of the sweeps have."""
    all_measured = [arms.measured(state, board) for state, board in zip(states, boards, strict=True)]
    names = [name for name in all_measured[0].names if all(name in measured.names for measured in all_measured)]
    columns = dict.fromkeys(column for state in states for params in state.params.values() for column in params)
    return views.beside(replace(all_measured[0], names=names), list(columns))


def _note(states: Sequence[State], boards: Sequence[Leaderboard], own: Sequence[Experiment | None]) -> Iterator[str]:
    """The sweeps with their leaderboards, one after the other."""
    questions = dict.fromkeys(str(state.record.manifest.get("question") or state.identity) for state in states)
    yield f"### {' '.join(questions)}"
    yield (
        "Arms of several sweeps. Differences are to the first arm of the same sweep; one seed in two sweeps is the same"
        " stream only where the workload is the same."
    )
    for state, board, experiment in zip(states, boards, own, strict=True):
        assert experiment is not None
        link = views.address(experiment.experiment_id, "arms")[1:]
        yield f"**[{state.identity}]({link})**"
        yield from notes.standings_of(board)
