"""The service: sweeps of plasticity trials, from a file to curves.

import sweep
sweep.run("my_sweep.yaml")            # what `sweep run` does, in this process; or a dict of the same keys
sweep.curves("my_sweep")              # -> tidy pandas DataFrame
sweep.results("my_sweep")             # -> its leaderboard, comparisons, trials and curves; a notebook shows it
sweep.plot("my_sweep", "arms")        # -> one of its figures, as a matplotlib Figure
sweep.load(trial_id)                  # -> the trained network, where its weights were kept
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from sweep.errors import (
    CheckpointError,
    ClusterError,
    DataError,
    InputError,
    PliantError,
    SpecError,
    StorageError,
    TrackingError,
)

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from sweep.results.leaderboard import Leaderboard
    from sweep.results.results import Results
    from sweep.results.trained_network import TrainedNetwork
    from sweep.service import Outcome

    def results(name: str, *, scale: str | None = None, storage: str | None = None) -> Results:
        """What a sweep that was run found, to ask further: its leaderboard, comparisons, trials and curves."""

else:
    from sweep import results

__all__ = [
    "CheckpointError",
    "ClusterError",
    "DataError",
    "InputError",
    "PliantError",
    "SpecError",
    "StorageError",
    "TrackingError",
    "configs",
    "curves",
    "leaderboard",
    "load",
    "plot",
    "results",
    "run",
]


def run(
    study: str | Path | Mapping[str, Any],
    *,
    name: str | None = None,
    scale: str | None = None,
    changed: Mapping[str, Any] | None = None,
    storage: str | None = None,
    address: str | None = None,
    workers: int | None = None,
    inline: bool | None = None,
    track: bool = True,
    tracking_uri: str | None = None,
    replace: bool = False,
    progress: bool = True,
) -> Outcome:
    """Train what is missing of a sweep, keep it in the ledger, write MLflow runs.

    Args:
        study: the path of a sweep file, a shipped study's name, or a mapping of what a file would hold.
        name: of a sweep given as a mapping without the key `name`.
        scale: `laptop` where the file has one, else the file as written (`full`; in a shipped study `paper`).
        changed: other values for this run alone, as `--set` has them: {"workload.tasks": 10, "arms.sgd.momentum": 0.9}.
            It is a sweep of its own then, called NAME@SCALE+KEY=VALUE.
        storage: a folder or an s3:// or gs:// address; default $PLIANT_STORAGE, else ./pliant.
        address: of a Ray cluster; a local Ray otherwise.
        inline: train in this process, or on Ray; whichever is sooner done where it is not said.
        track: write MLflow runs, to `tracking_uri`, else $MLFLOW_TRACKING_URI, else a database in the storage.
        replace: take the place of another file's sweep of this name.
        progress: show a bar, in the cell of a notebook or at a terminal; elsewhere nothing is shown.

    Raises: SpecError, StorageError, DataError, ClusterError and TrackingError, before anything is trained;
        PliantError where packs failed; KeyboardInterrupt where it was stopped. The same call continues.
    """
    from sweep import service
    from sweep.cli import places
    from sweep.cli.progress import executed, view_of
    from sweep.cluster import placement
    from sweep.spec import changes
    from sweep.tracking.behind import Tracker

    if name is not None:
        if not isinstance(study, Mapping):
            raise InputError("name= is for a sweep given as a mapping; a file is called as it is, or by its key `name`")
        study = {**study, "name": name}
    planned = service.plan(study, scale=scale, changed=changes.given(changed or {}), storage=storage, workers=workers)
    tracker = Tracker(planned.identity, planned.ledger, tracking_uri) if track else None
    here = placement.trains_here(planned.packs, times=planned.times, asked=inline, address=address, workers=workers)
    place = places.of_python() if progress else places.Place()
    with view_of(planned, here=here, workers=workers, place=place) as view:
        outcome = executed(planned, view, tracker, here=here, address=address, workers=workers, replace=replace)
        if outcome.interrupted:
            raise KeyboardInterrupt
        if tracker:
            view.stage("writing MLflow's runs")
            tracker.finish()
    if error := service.describe_failure(outcome):
        raise error
    return outcome


def curves(
    name: str, *, metrics: list[str] | None = None, scale: str | None = None, storage: str | None = None
) -> pd.DataFrame:
    """Every measured value of a sweep that was run: sweep, trial, arm, workload, seed, task, step, metric, value.

    Then a column for each axis that tells settings apart, such as optimizer.step_size: an arm may have many settings,
    and a mean over an arm alone is one over all of them. A trial of two arms has its values in both.
    """
    from sweep import lookup
    from sweep.ledger.ledger import Ledger
    from sweep.results import frames

    ledger = Ledger(lookup.storage_of(storage))
    record = lookup.find_sweep(ledger, name, scale)
    return frames.with_axes(frames.curves(record, ledger, metrics), frames.trials(record, ledger))


def leaderboard(name: str, *, scale: str | None = None, storage: str | None = None) -> Leaderboard:
    """What a sweep that was run found: each arm at its best setting, beside the first. A notebook shows it as a table.

    Other metrics, windows and statistics: `sweep.results(name).leaderboard(...)`.
    """
    return results(name, scale=scale, storage=storage).leaderboard()


def plot(
    name: str,
    figure: str = "arms",
    *,
    arms: Sequence[str] = (),
    metric: str | None = None,
    window: str | None = None,
    statistic: Literal["mean", "iqm", "median"] = "mean",
    band: Literal["ci", "tolerance"] = "ci",
    log: bool = False,
    width: float | None = None,
    style: Literal["screen", "paper", "slide"] = "screen",
    scale: str | None = None,
    storage: str | None = None,
) -> Figure:
    """A figure of a sweep that was run, as `sweep figure` draws it and with its options; `style="paper"` is bare.

    A notebook shows it; `figure.savefig("arms.pdf")` writes it. Raises InputError as `sweep figure` does.
    """
    from sweep import lookup
    from sweep.cli import drawing
    from sweep.ledger.ledger import Ledger

    ledger = Ledger(lookup.storage_of(storage))
    record = lookup.find_sweep(ledger, name, scale)
    return drawing.plotted(
        figure,
        record,
        ledger,
        arms=arms,
        metric=metric,
        window=window,
        statistic=statistic,
        band=band,
        log=log,
        width=width,
        style=style,
    )


def configs(name: str, *, scale: str | None = None, storage: str | None = None) -> pd.DataFrame:
    """The trials of a sweep that was run, by id: arm, group, seed, status and every setting as a column."""
    from sweep import lookup
    from sweep.ledger.ledger import Ledger
    from sweep.results import frames

    ledger = Ledger(lookup.storage_of(storage))
    return frames.trials(lookup.find_sweep(ledger, name, scale), ledger)


def load(trial: str, *, task: int | None = None, storage: str | None = None) -> TrainedNetwork:
    """A trial's trained network, called like a function on inputs; `task` picks one kept on the way.

    Raises InputError where the trial is unknown or its weights were not kept (`keep` in the sweep file).
    """
    from sweep import lookup
    from sweep.results import trained_network

    return trained_network.load(trial, task=task, storage=lookup.storage_of(storage))
