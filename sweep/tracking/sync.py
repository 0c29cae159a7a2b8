"""MLflow as a view of the ledger: one run per sweep, per group and per trial, nested in this order.

`sync` compares the ledger with what an MLflow server or database holds and writes what is missing. The ledger
stays the truth: a sync may be killed, repeated, or run twice at once, and leaves the same set of runs.

What makes this hold:
- The experiment is the sweep's identity, `name@scale`. A run is found by its tags (`pliant.kind`, and one of
  `pliant.sweep`, `pliant.group`, `pliant.trial`), which are created together with it.
- A run is complete when its status is FINISHED. One that is RUNNING was cut short and is filled again; times
  come from the ledger, so the second writing gives the rows of the first. A trial that diverged is FINISHED
  too: divergence is a result, told by the tag `pliant.status`.
- A group's curves are written when all its seeds have ended. When a sweep grows by further seeds, the group's
  run is replaced by a new one, as MLflow has no way to take a curve back.
- `pliant.content` on group and sweep runs says of what they were made. With nothing new, one run is read.
- Syncs take turns: by a file lock on one machine, an advisory lock inside Postgres. Machines that share only
  a tracking server cannot; there a sync looks again after writing, and of two runs for one thing every sync
  keeps the same.

The step of a metric is its task, the clock that all curves of a sweep share. A trial's run has thinned
curves, a group's run `<metric>/mean`, `/ci_low` and `/ci_high`: the 95 % bootstrap over seeds of
`bands.bands`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.tracking import arms, notes, views
from sweep.tracking.addresses import RELATIVE, artifact_folder, explained, with_driver
from sweep.tracking.drafts import (
    PARENT,
    Draft,
    Point,
    arms_of,
    band_curves,
    digest,
    milliseconds,
    thin_curves,
)
from sweep.tracking.runs import Runs
from sweep.tracking.state import LAYOUT, PAGE, State
from sweep.tracking.turns import turn
from sweep.tracking.writers import experiment_for, writer_for

if TYPE_CHECKING:
    from mlflow.entities import Run

    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord
    from sweep.results.leaderboard import Leaderboard
    from sweep.trials import Trial


REPORT = "report.html"  # the file's name at the sweep's run


@dataclass(frozen=True, slots=True)
class SyncReport:
    """How many of a sweep's runs (its own, its groups', its trials') were created, changed, left alone."""

    created: int
    updated: int
    unchanged: int


def sync(
    record: SweepRecord,
    ledger: Ledger,
    tracking_uri: str,
    *,
    artifact_root: str | None = None,
    figures: Sequence[Path] = (),
    report: Path | None = None,
    reused_from: Mapping[str, str | None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SyncReport:
    """Bring MLflow up to what the ledger knows of the sweep; a second call changes nothing.

    Any number of processes may call this for one sweep.

    Args:
        artifact_root: where the experiment's files go when it is created; None leaves it to the server. Beside an
            SQLite database they are named relative to the server of its pages, so that a copy shows its own.
        figures: files to keep with the sweep's run; the ones kept earlier stay when none are given.
        report: the page to keep with the sweep's run, called report.html there; likewise.
        reused_from: trial id -> identity of the sweep that computed it first; by default `reused_from` of the
            sweep's manifest, or nothing.
        progress: told (trials written, trials to write) after every group.

    Raises: TrackingError where the server or database fails; the next call completes what this one wrote.
    """
    tracking_uri = with_driver(tracking_uri)
    with explained(tracking_uri):
        with turn(tracking_uri, "tables"):
            writer = writer_for(tracking_uri)
        with turn(tracking_uri, record.identity):
            files = artifact_folder(tracking_uri)
            root = artifact_root if files is None else RELATIVE
            experiment = experiment_for(writer, record.identity, root, tracking_uri)
            runs = Runs(writer, experiment, record.identity, files)
            return Sync(State(record, ledger, reused_from), runs).sync(figures, report, progress)


class Sync:
    """One sync of one sweep."""

    def __init__(self, state: State, runs: Runs) -> None:
        self.state, self.runs = state, runs
        self.trials_known = True  # may there be trial runs already?

    def sync(
        self, figures: Sequence[Path], report: Path | None, progress: Callable[[int, int], None] | None
    ) -> SyncReport:
        self.runs.bring_back()
        parent = self._sweep_run()
        tags = parent.data.tags
        drawn = _content_of(figures) if figures else tags.get("pliant.figures", "")
        told = _content_of([report]) if report else tags.get("pliant.report", "")
        content = self._sweep_content(drawn, told)
        if tags.get("pliant.content") == content:
            return SyncReport(0, len(self.runs.updated), int(tags["pliant.runs"]) - len(self.runs.updated))
        if figures and (tags.get("pliant.figures") != drawn or "pliant.pictures" not in tags):
            self._keep_figures(parent, figures, drawn)
        if report and tags.get("pliant.report") != told:
            self.runs.keep(parent, REPORT, report.read_bytes())
            self.runs.tag(parent.info.run_id, {"pliant.report": told})
        touched = self._sync_groups(None, progress)
        if not self.runs.writer.exclusive and touched:
            parent = self._sweep_run()
            self._sync_groups(touched, None)
        board = self.state.board()
        shown = self.runs.renew("arm", arms.drafts(self.state, board, self.runs.experiment) if board else {})
        values = arms.values(self.state, board, self.runs.experiment) if board else {}
        shown += self.runs.renew("value", values)
        groups = sum(1 for told in self.state.told.values() if told)
        trials = sum(map(len, self.state.told.values())) if self.state.track["trials"] else 0
        total = 1 + shown + groups + trials
        self._finish_sweep(parent, board, arms.axes(values), {"pliant.content": content, "pliant.runs": str(total)})
        updated = len(self.runs.updated - self.runs.created)
        return SyncReport(len(self.runs.created), updated, total - len(self.runs.created) - updated)

    # The sweep's run

    def _sweep_run(self) -> Run:
        runs = self.runs.find("sweep", "pliant.sweep")
        if self.state.identity in runs:
            return runs[self.state.identity]
        tags = {"pliant.kind": "sweep", "pliant.sweep": self.state.identity}
        begun = milliseconds(min((done.began for done in self.state.done.values()), default=time.time()))
        [run_id] = self.runs.create([Draft(self.state.identity, tags, begun, begun)])
        return self.runs.client.get_run(run_id)

    def _sweep_content(self, drawn: str, told: str) -> str:
        ended = {name: done.status for name, done in self.state.done.items()}
        failed = {name: failure.attempt for name, failure in self.state.failed.items()}
        trials = [(trial.id, trial.group, trial.arms) for trial in self.state.record.trials]
        record = self.state.record
        return digest([LAYOUT, PAGE, record.manifest, record.file_text, trials, ended, failed, drawn, told])

    def _finish_sweep(
        self, parent: Run, board: Leaderboard | None, axes: Sequence[tuple[str, str]], last: Mapping[str, str]
    ) -> None:
        """The files first, then what is said of the sweep; the tag that says that all is there last."""
        run_id = parent.info.run_id
        self.runs.keep(parent, f"{self.state.record.name}.yaml", self.state.record.file_text.encode())
        self.runs.keep(
            parent, "manifest.json", json.dumps(self.state.record.manifest, indent=2, sort_keys=True).encode()
        )
        self.runs.keep(parent, "trials.csv", self.state.table().encode())
        counts = self.state.counts()
        kept = self.runs.client.get_run(run_id).data.tags
        told = notes.Told(
            self.state.record,
            board,
            counts,
            self.runs.experiment.experiment_id,
            run_id,
            pictures=[name for name in kept.get("pliant.pictures", "").split(",") if name],
            report=REPORT if "pliant.report" in kept else None,
        )
        self.runs.tag(run_id, {f"pliant.{name}": str(count) for name, count in asdict(counts).items()})
        self.runs.tag(run_id, {notes.TAG: notes.of_sweep(told)})
        self.runs.describe_experiment({notes.TAG: notes.of_experiment(told), **self._views(board, axes)})
        if counts.ended == counts.trials:
            ended = max(milliseconds(done.finished) for done in self.state.done.values())
            self.runs.client.set_terminated(run_id, "FINISHED", ended)
        else:
            self.runs.client.update_run(run_id, "RUNNING")
        self.runs.tag(run_id, last)

    def _keep_figures(self, run: Run, figures: Sequence[Path], content: str) -> None:
        for path in figures:
            self.runs.keep(run, f"figures/{path.name}", path.read_bytes())
        pictures = ",".join(path.name for path in figures if path.suffix == ".svg")
        self.runs.tag(run.info.run_id, {"pliant.pictures": pictures, "pliant.figures": content})

    def _views(self, board: Leaderboard | None, axes: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Tags of the experiment: the views in the order in which the page's menu is to list them."""
        if board is None:
            return {}
        columns = list(dict.fromkeys(column for params in self.state.params.values() for column in params))
        panels = list(dict.fromkeys(standing.panel for standing in board.standings))
        measured = arms.measured(self.state, board)
        made = views.of_sweep(measured, columns, panels, axes, trials=self.state.track["trials"])
        return views.tags(made, self.runs.experiment.creation_time or 0)

    # Groups and their trials

    def _sync_groups(self, only: set[str] | None, progress: Callable[[int, int], None] | None) -> set[str]:
        """Write the groups in which something is new, or `only` those named; returns which were looked at."""
        earlier = self.runs.find("group", "pliant.group")
        if only is None:
            tags = {group: run.data.tags for group, run in earlier.items()}
            only = {
                group
                for group, told in self.state.told.items()
                if told and tags.get(group, {}).get("pliant.content") != self.state.content(group)
            }
        work = [group for group in self.state.members if group in only]
        # A search goes through all trial runs: where there are none yet, no group has to be searched for.
        condition = "tags.`pliant.kind` = 'trial'"
        self.trials_known = bool(
            self.runs.client.search_runs([self.runs.experiment.experiment_id], condition, max_results=1)
        )
        total, written = sum(len(self.state.told[group]) for group in work), 0
        for block in self.state.blocks(work):
            frame, late = self.state.frame(block), self.state.late(block)
            curves = thin_curves(frame, self.state.track["points"])
            bands = band_curves(frame[frame["group"].isin([name for name in block if self.state.complete(name)])])
            for group in block:
                self._sync_group(group, earlier.get(group), curves, bands.get(group, []), late)
                written += len(self.state.told[group])
                if progress:
                    progress(written, total)
        return only

    def _sync_group(
        self,
        group: str,
        earlier: Run | None,
        curves: Mapping[str, list[Point]],
        bands: list[Point],
        late: Mapping[str, list[Point]],
    ) -> None:
        draft = self._group_draft(group, bands, late.get(group, []))
        # Curves over fewer seeds, or a run as an earlier version wrote it.
        stale = earlier is not None and earlier.data.tags.get("pliant.members") != draft.tags["pliant.members"]
        if earlier and stale:
            earlier = self.runs.emptied({group: earlier}).get(group)
        run_id = earlier.info.run_id if earlier else self.runs.create([draft])[0]
        if self.state.track["trials"]:
            self._sync_trials(group, run_id, curves, late)
        if not earlier or stale or earlier.info.status != draft.status:
            self.runs.fill({run_id: draft})
        told = Counter(self.state.status(trial) for trial in self.state.told[group])
        tags = {"pliant.diverged": str(told["diverged"]), "pliant.failed": str(told["failed"])}
        self.runs.tag(run_id, tags | {"pliant.content": self.state.content(group)})

    def _sync_trials(
        self,
        group: str,
        parent: str,
        curves: Mapping[str, list[Point]],
        late: Mapping[str, list[Point]],
    ) -> None:
        earlier = self.runs.find("trial", "pliant.trial", group) if self.trials_known else {}
        drafts = {
            trial.id: self._trial_draft(trial, parent, [*curves.get(trial.id, []), *late.get(trial.id, [])])
            for trial in self.state.told[group]
            if trial.id not in earlier or not self._as_written(earlier[trial.id], trial)
        }
        self.runs.write(drafts, earlier)
        for name, run in earlier.items():
            if name not in drafts:
                self.runs.nest(run, parent)

    def _as_written(self, run: Run, trial: Trial) -> bool:
        """Is a trial's run complete, and as this version writes it?"""
        tags = run.data.tags
        complete = run.info.status == ("FINISHED" if trial.id in self.state.done else "FAILED")
        failure = self.state.failed.get(trial.id)
        same = failure is None or tags.get("pliant.attempt") == failure.attempt
        return complete and same and tags.get("pliant.layout") == str(LAYOUT)

    def _group_draft(self, group: str, bands: list[Point], late: list[Point]) -> Draft:
        members, told = self.state.members[group], self.state.told[group]
        tags = {
            "pliant.kind": "group",
            "pliant.sweep": self.state.identity,
            "pliant.group": group,
            "pliant.arm": arms_of(told[0]),
            "pliant.members": digest([LAYOUT, sorted(members)]),
            "pliant.seeds": str(len(members)),
            notes.TAG: notes.of_group(group, len(members), self.runs.experiment.experiment_id),
        }
        complete = self.state.complete(group)
        points = bands + (late if complete else [])
        status, params = "FINISHED" if complete else "RUNNING", self.state.params[group]
        return Draft(self.state.names[group], tags, *self.state.span(told), status=status, params=params, points=points)

    def _trial_draft(self, trial: Trial, parent: str, points: list[Point]) -> Draft:
        status = self.state.status(trial)
        tags = {
            "pliant.kind": "trial",
            "pliant.sweep": self.state.identity,
            "pliant.group": trial.group,
            "pliant.trial": trial.id,
            "pliant.arm": arms_of(trial),
            "pliant.status": status,
            "pliant.layout": str(LAYOUT),
            PARENT: parent,
        }
        first = self.state.reused_from.get(trial.id)
        if first and first != self.state.identity:
            tags["pliant.reused_from"] = first
        if status == "failed":
            failure = self.state.failed[trial.id]
            tags |= {"pliant.reason": failure.reason, "pliant.attempt": failure.attempt}
        elif status == "diverged":
            tags["pliant.reason"] = f"diverged in task {self.state.done[trial.id].tasks}, counted from 0"
        tags[notes.TAG] = notes.of_trial(trial.id, tags.get("pliant.reason"), self.state.failed.get(trial.id))
        name = f"{self.state.names[trial.group]}, seed {trial.config['seed']}"
        params = self.state.params[trial.group] | {"seed": str(trial.config["seed"])}
        ending = "FAILED" if status == "failed" else "FINISHED"
        return Draft(name, tags, *self.state.span([trial]), status=ending, params=params, points=points)


def _content_of(files: Sequence[Path]) -> str:
    return digest([(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files])
