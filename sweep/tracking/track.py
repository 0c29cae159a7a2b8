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
`frames.bands`.

Two writers with one meaning: `_Server` speaks MLflow's API to whatever is there; `_Database` writes a batch
of runs as rows of MLflow's tables in one transaction, ten times faster, where the tables are as it expects.

`python -m sweep.tracking.track NAME@SCALE --storage S` syncs with MLFLOW_TRACKING_URI at low priority and prints the
report.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import fcntl
import hashlib
import io
import json
import logging
import math
import os
import secrets
import shlex
import sqlite3
import sys
import tempfile
import time
import uuid
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import numpy as np
import sqlalchemy
from sqlalchemy import bindparam, event

from sweep.errors import InputError, PliantError, TrackingError
from sweep.ledger.ledger import began
from sweep.ledger.storage import Storage
from sweep.results import naming, palette
from sweep.tracking import notes, views
from sweep.tracking.redaction import redacted

if TYPE_CHECKING:
    import pandas as pd
    from fastapi import FastAPI
    from mlflow.entities import Experiment, Run
    from mlflow.tracking import MlflowClient
    from sqlalchemy import Engine, Table

    from sweep.ledger.failures import Failure
    from sweep.ledger.ledger import Done, Ledger, SweepRecord
    from sweep.results.leaderboard import Leaderboard, Standing
    from sweep.trials import Trial

# Read by MLflow when it is imported, here and in the processes started from here.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # pages need no job workers
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

_Point: TypeAlias = tuple[str, int, float]  # metric, task, value

GROUP_POINTS = 320  # per curve of a group run: as many as MLflow's page draws
ARM_BINS = 20  # points of an arm's headline curve
BLOCK = 2_000_000  # values in memory at a time; a block reads packs whole, so many small ones would read them often
PATIENCE = 3.0  # seconds that `check` waits for an answer
REQUESTS = 4  # to a tracking server at a time
PAGE = 1000  # runs per answer to a search
NAME_LENGTH, PARAM_LENGTH = 250, 6000  # characters, MLflow's limits
TAG_LENGTH = 8000
PARENT, RUN_NAME = "mlflow.parentRunId", "mlflow.runName"
OWN_TAGS = (PARENT, RUN_NAME, notes.TAG, views.COLOR)  # of runs, besides those that begin with pliant.
REPLACED = "replaced"  # the kind of a run that a sync has deleted
LAYOUT = 2  # of runs; raised when those written earlier are to be written again
FIRST_VISIT = (  # what MLflow's page remembers in the browser
    ("mlflow.workflowType_v1", '"machine_learning"'),  # rather than GenAI
    ("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true"),  # or it opens by itself over a third of the charts
)
RELATIVE = "mlflow-artifacts:/"  # files where the server keeps them, wherever that is


@dataclass(frozen=True, slots=True)
class SyncReport:
    """How many of a sweep's runs (its own, its groups', its trials') were created, changed, left alone."""

    created: int
    updated: int
    unchanged: int


def default_uri(storage: str) -> str:
    """MLFLOW_TRACKING_URI where it is set, otherwise the SQLite database in a local storage."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    folder = Storage(storage).folder
    if folder is None:
        raise TrackingError(
            f"The storage {storage} cannot hold MLflow's database.\n"
            "Name a tracking server with --tracking-uri or MLFLOW_TRACKING_URI."
        )
    return f"sqlite:///{folder / 'mlflow.db'}"


def default_artifact_root(storage: str, tracking_uri: str) -> str | None:
    """`<storage>/artifacts`, or None where a tracking server decides, or the place of an SQLite database does."""
    if urlsplit(tracking_uri).scheme in ("http", "https", "sqlite"):
        return None
    folder = Storage(storage).folder
    return f"{storage.rstrip('/')}/artifacts" if folder is None else (folder / "artifacts").as_uri()


def artifact_folder(tracking_uri: str) -> Path | None:
    """What relative names of files mean to the server of an SQLite database's pages; None elsewhere."""
    return _sqlite_path(tracking_uri).parent / "artifacts" if tracking_uri.startswith("sqlite:") else None


def server(tracking_uri: str) -> FastAPI:
    """MLflow's server for a database, as an application of this process; once per process.

    Raises InputError for the address of a server, TrackingError where the database cannot be used.
    """
    if urlsplit(tracking_uri).scheme in ("http", "https"):
        raise InputError(f"{_shown(tracking_uri)} is a tracking server and has its own pages: open that address.")
    check(tracking_uri)
    from mlflow.server import constants

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = _with_driver(tracking_uri)
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = RELATIVE
    folder = artifact_folder(tracking_uri)
    if folder is not None:
        os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = str(folder)
    with _explained(tracking_uri), warnings.catch_warnings(action="ignore"):
        _writer(tracking_uri)  # brings the tables up to date
        from mlflow.server.fastapi_app import create_fastapi_app

        app: FastAPI = create_fastapi_app()
    _open_undisturbed(app, Path(constants.__file__).parent / "js" / "build" / "index.html")
    return app


def _open_undisturbed(app: FastAPI, page: Path) -> None:
    """Serve the page so that a browser's first visit shows model training, and not the assistant over the charts."""
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    first = "".join(f"localStorage.getItem('{key}') ?? localStorage.setItem('{key}', '{v}');" for key, v in FIRST_VISIT)
    text = page.read_text().replace("<head>", f"<head><script>{first}</script>", 1)
    app.router.routes.insert(0, Route("/", lambda _: HTMLResponse(text, headers={"Cache-Control": "no-cache"})))


def view_address(tracking_uri: str, identity: str) -> str | None:
    """Where a sweep's arms are on the server of its pages, such as /#/experiments/1/...; None where it is not tracked.

    Its runs where there is no view, as no trial has ended or an earlier version wrote them.
    """
    check(tracking_uri)  # says within seconds what a client would try for minutes
    with _explained(tracking_uri):
        found = _writer(_with_driver(tracking_uri)).client.get_experiment_by_name(identity)
    if found is None or found.lifecycle_stage != "active":
        return None
    there = views.TAG + "arms" in found.tags
    return views.address(found.experiment_id, "arms") if there else views.runs(found.experiment_id)


def check(tracking_uri: str) -> None:
    """Return within seconds when runs can be written there, else raise TrackingError. Creates nothing."""
    scheme = tracking_uri.partition("://")[0]
    _check_password(tracking_uri)
    if scheme in ("http", "https"):
        _check_server(tracking_uri)
    elif scheme == "sqlite":
        _check_sqlite(tracking_uri)
    elif scheme.split("+")[0] in ("postgresql", "mysql", "mssql"):
        _check_database(_with_driver(tracking_uri))
    else:
        raise TrackingError(
            f"{_shown(tracking_uri)!r} is not a tracking URI that can be used here.\n"
            "Allowed: http:// or https:// (a tracking server), sqlite:///PATH, postgresql://, mysql://, mssql://."
        )


def sync(
    record: SweepRecord,
    ledger: Ledger,
    tracking_uri: str,
    *,
    artifact_root: str | None = None,
    figures: Sequence[Path] = (),
    reused_from: Mapping[str, str | None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SyncReport:
    """Bring MLflow up to what the ledger knows of the sweep; a second call changes nothing.

    Any number of processes may call this for one sweep.

    Args:
        artifact_root: where the experiment's files go when it is created; None leaves it to the server. Beside an
            SQLite database they are named relative to the server of its pages, so that a copy shows its own.
        figures: files to keep with the sweep's run; the ones kept earlier stay when none are given.
        reused_from: trial id -> identity of the sweep that computed it first; by default `reused_from` of the
            sweep's manifest, or nothing.
        progress: told (trials written, trials to write) after every group.

    Raises: TrackingError where the server or database fails; the next call completes what this one wrote.
    """
    tracking_uri = _with_driver(tracking_uri)
    with _explained(tracking_uri):
        with _turn(tracking_uri, "tables"):
            writer = _writer(tracking_uri)
        with _turn(tracking_uri, record.identity):
            files = artifact_folder(tracking_uri)
            root = artifact_root if files is None else RELATIVE
            experiment = _experiment(writer, record.identity, root, tracking_uri)
            tracker = _Tracker(record, ledger, writer, experiment, files, reused_from)
            return tracker.sync(figures, progress)


class _Tracker:
    """One sync of one sweep."""

    def __init__(
        self,
        record: SweepRecord,
        ledger: Ledger,
        writer: _Server,
        experiment: Experiment,
        files: Path | None,
        reused_from: Mapping[str, str | None] | None,
    ) -> None:
        self.record, self.ledger, self.writer = record, ledger, writer
        self.experiment, self.files = experiment, files
        self.client = writer.client
        self.identity = record.identity
        self.track: Mapping[str, Any] = record.manifest["track"]
        self.reused_from = record.manifest.get("reused_from", {}) if reused_from is None else reused_from
        self.members: dict[str, dict[str, Trial]] = defaultdict(dict)  # group -> id -> trial
        for trial in record.trials:
            self.members[trial.group].setdefault(trial.id, trial)
        wanted = {trial.id for trial in record.trials}
        self.done: dict[str, Done] = {name: done for name, done in ledger.done().items() if name in wanted}
        self.failed: dict[str, Failure] = {name: f for name, f in ledger.failures().items() if name in wanted}
        self.ended = {
            group: [trial for trial in trials.values() if trial.id in self.done]
            for group, trials in self.members.items()
        }
        self.told = {  # ended or failed: of what there is a run
            group: [trial for trial in trials.values() if trial.id in self.done or trial.id in self.failed]
            for group, trials in self.members.items()
        }
        # A group that several arms mean is called as the first of them calls it.
        self.names = {group: name for (_, group), name in reversed(naming.names(record.trials).items())}
        self.params = _params({group: next(iter(trials.values())) for group, trials in self.members.items()})
        self.created: set[str] = set()
        self.updated: set[str] = set()
        self.trials_known = True  # may there be trial runs already?

    def sync(self, figures: Sequence[Path], progress: Callable[[int, int], None] | None) -> SyncReport:
        self._bring_back()
        parent = self._sweep_run()
        tags = parent.data.tags
        drawn = _digest([(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in figures])
        if not figures:
            drawn = tags.get("pliant.figures", "")
        content = self._sweep_content(drawn)
        if tags.get("pliant.content") == content:
            return SyncReport(0, len(self.updated), int(tags["pliant.runs"]) - len(self.updated))
        if figures and (tags.get("pliant.figures") != drawn or "pliant.pictures" not in tags):
            self._keep_figures(parent, figures, drawn)
        touched = self._sync_groups(None, progress)
        if not self.writer.exclusive and touched:
            parent = self._sweep_run()
            self._sync_groups(touched, None)
        board = self._board()
        arms = self._sync_arms(board)
        groups = sum(1 for told in self.told.values() if told)
        trials = sum(map(len, self.told.values())) if self.track["trials"] else 0
        total = 1 + arms + groups + trials
        self._finish_sweep(parent, board, {"pliant.content": content, "pliant.runs": str(total)})
        updated = len(self.updated - self.created)
        return SyncReport(len(self.created), updated, total - len(self.created) - updated)

    def _bring_back(self) -> None:
        """Restore the runs that were deleted by hand: what the ledger holds is shown."""
        condition = f"tags.`pliant.sweep` = '{self.identity}' and tags.`pliant.kind` != '{REPLACED}'"
        for run in self._search(condition, deleted=True):
            self.client.restore_run(run.info.run_id)
            self.updated.add(run.info.run_id)

    # The sweep's run

    def _sweep_run(self) -> Run:
        found = self._find("sweep", "pliant.sweep")
        if self.identity in found:
            return found[self.identity]
        tags = {"pliant.kind": "sweep", "pliant.sweep": self.identity}
        begun = _milliseconds(min((done.began for done in self.done.values()), default=time.time()))
        [run_id] = self._create([_Draft(self.identity, tags, begun, begun)])
        return self.client.get_run(run_id)

    def _sweep_content(self, drawn: str) -> str:
        ended = {name: done.status for name, done in self.done.items()}
        failed = {name: failure.attempt for name, failure in self.failed.items()}
        trials = [(trial.id, trial.group, trial.arms) for trial in self.record.trials]
        return _digest([LAYOUT, self.record.manifest, self.record.file_text, trials, ended, failed, drawn])

    def _finish_sweep(self, parent: Run, board: Leaderboard | None, last: Mapping[str, str]) -> None:
        """The files first, then what is said of the sweep; the tag that says that all is there last."""
        run_id = parent.info.run_id
        self._keep(parent, f"{self.record.name}.yaml", self.record.file_text.encode())
        self._keep(parent, "manifest.json", json.dumps(self.record.manifest, indent=2, sort_keys=True).encode())
        self._keep(parent, "trials.csv", self._table().encode())
        counts = self._counts()
        told = notes.Told(self.record, board, counts, self.experiment.experiment_id, run_id, self._pictures(run_id))
        self._tag(run_id, {f"pliant.{name}": str(count) for name, count in asdict(counts).items()})
        self._tag(run_id, {notes.TAG: notes.of_sweep(told)})
        self._tag_experiment({notes.TAG: notes.of_experiment(told), **self._views(board)})
        if counts.ended == counts.trials:
            ended = max(_milliseconds(done.finished) for done in self.done.values())
            self.client.set_terminated(run_id, "FINISHED", ended)
        else:
            self.client.update_run(run_id, "RUNNING")
        self._tag(run_id, last)

    def _counts(self) -> notes.Counts:
        statuses = Counter(done.status for done in self.done.values())
        return notes.Counts(
            trials=sum(map(len, self.members.values())),
            settings=len(self.members),
            ended=len(self.done),
            diverged=statuses["diverged"],
            failed=len(self.failed),
        )

    def _keep_figures(self, run: Run, figures: Sequence[Path], content: str) -> None:
        for path in figures:
            self._keep(run, f"figures/{path.name}", path.read_bytes())
        pictures = ",".join(path.name for path in figures if path.suffix == ".svg")
        self._tag(run.info.run_id, {"pliant.pictures": pictures, "pliant.figures": content})

    def _pictures(self, run_id: str) -> list[str]:
        """The names of the figures that are kept with the sweep's run as SVG."""
        return [name for name in self.client.get_run(run_id).data.tags.get("pliant.pictures", "").split(",") if name]

    def _keep(self, run: Run, name: str, content: bytes) -> None:
        """Keep a file with a run: where the server will look for it, which may not be up, or through it."""
        place = run.info.artifact_uri
        if self.files is not None and place.startswith(RELATIVE):
            Storage(self.files).write_bytes(f"{place.removeprefix(RELATIVE).strip('/')}/{name}", content)
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, Path(name).name)
            path.write_bytes(content)
            folder_there = name.rpartition("/")[0] or None
            self.client.log_artifact(run.info.run_id, str(path), folder_there)

    def _table(self) -> str:
        """All trials of the sweep as CSV: what they are, and how they ended."""
        rows = []
        for trials in self.members.values():
            for trial in trials.values():
                head = {"trial": trial.id, "group": trial.group, "arm": _arms_of(trial), "status": self._status(trial)}
                rows.append(head | _flat(trial.config))
        columns = list(dict.fromkeys(column for row in rows for column in row))
        text = io.StringIO()
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        return text.getvalue()

    def _status(self, trial: Trial) -> str:
        if trial.id in self.done:
            return self.done[trial.id].status
        return "failed" if trial.id in self.failed else "pending"

    # What the page opens on: the arms

    def _board(self) -> Leaderboard | None:
        """The arms at their best settings; None where no trial has ended or nothing says which is better."""
        from sweep.results import leaderboard

        try:
            return leaderboard.leaderboard(self.record, self.ledger)
        except InputError:
            return None

    def _sync_arms(self, board: Leaderboard | None) -> int:
        """A run for every arm in every panel, anew where anything in it changed; returns how many there are."""
        drafts = self._arm_drafts(board) if board else {}
        known = self._find("arm", "pliant.place")
        same = {
            place
            for place, draft in drafts.items()
            if place in known and known[place].data.tags.get("pliant.content") == draft.tags["pliant.content"]
        }
        stale = {place: run for place, run in known.items() if place not in same}
        left = {place: run for place, run in stale.items() if place in drafts and self.writer.rewrites}
        self._discard([run for place, run in stale.items() if place not in left])
        whole = {place for place in same if known[place].info.status == "FINISHED"}
        changed = {place: draft for place, draft in drafts.items() if place not in whole}
        self._write(changed, left | {place: known[place] for place in same})
        return len(drafts)

    def _arm_drafts(self, board: Leaderboard) -> dict[str, _Draft]:
        """Panel and arm -> what its run is to hold."""
        bands = _band_curves(self._binned(list({standing.group for standing in board.standings}), board.metric))
        drafts = {}
        for standing in board.standings:
            place = f"{standing.panel}/{standing.arm}" if standing.panel else standing.arm
            drafts[place] = self._arm_draft(standing, board, place, bands.get(standing.group, []))
        return drafts

    def _arm_draft(self, standing: Standing, board: Leaderboard, place: str, bands: list[_Point]) -> _Draft:
        group, ended = standing.group, self.ended[standing.group]
        name = f"{standing.panel}: {standing.name}" if standing.panel else standing.name
        late = standing.late
        final = {"": late.mean, "/ci_low": late.low, "/ci_high": late.high}
        tags = {
            "pliant.kind": "arm",
            "pliant.sweep": self.identity,
            "pliant.place": place,
            "pliant.arm": standing.arm,
            **({"pliant.panel": standing.panel} if standing.panel else {}),
            "pliant.group": group,
            "pliant.seeds": str(standing.members),
            "pliant.diverged": str(standing.diverged),
            "pliant.content": _digest([LAYOUT, self._content(group), place, name, str(standing)]),
            views.COLOR: palette.colors(self.record.arms)[standing.arm],
            notes.TAG: notes.of_arm(standing, board, self.experiment.experiment_id),
        }
        points = bands + [(views.final(board.metric) + part, 0, value) for part, value in final.items()]
        points = [point for point in points if math.isfinite(point[2])]
        return _Draft(name, tags, *self._span(ended), params=self.params[group], points=points)

    def _views(self, board: Leaderboard | None) -> dict[str, str]:
        """Tags of the experiment: the views in the order in which the page's menu is to list them."""
        if board is None:
            return {}
        names = _first_metrics(self.record.trials[0].config["metrics"], self.track["metrics"])
        columns = list(dict.fromkeys(column for params in self.params.values() for column in params))
        panels = list(dict.fromkeys(standing.panel for standing in board.standings))
        measured = views.Measured(board.metric, board.higher, names)
        made = views.of_sweep(measured, columns, panels, trials=self.track["trials"])
        # The menu lists the newest first.
        created = self.experiment.creation_time or 0
        return dict(view.tag(created + len(made) - number) for number, view in enumerate(made))

    # Groups and their trials

    def _sync_groups(self, only: set[str] | None, progress: Callable[[int, int], None] | None) -> set[str]:
        """Write the groups in which something is new, or `only` those named; returns which were looked at."""
        known = self._find("group", "pliant.group")
        if only is None:
            tags = {group: run.data.tags for group, run in known.items()}
            only = {
                group
                for group, told in self.told.items()
                if told and tags.get(group, {}).get("pliant.content") != self._content(group)
            }
        work = [group for group in self.members if group in only]
        # A search goes through all trial runs: where there are none yet, no group has to be searched for.
        condition = "tags.`pliant.kind` = 'trial'"
        self.trials_known = bool(self.client.search_runs([self.experiment.experiment_id], condition, max_results=1))
        total, written = sum(len(self.told[group]) for group in work), 0
        for block in self._blocks(work):
            frame, late = self._frame(block), self._late(block)
            curves = _thin_curves(frame, self.track["points"])
            bands = _band_curves(frame[frame["group"].isin([name for name in block if self._complete(name)])])
            for group in block:
                self._sync_group(group, known.get(group), curves, bands.get(group, []), late)
                written += len(self.told[group])
                if progress:
                    progress(written, total)
        return only

    def _blocks(self, groups: Iterable[str]) -> Iterator[list[str]]:
        """The groups in turn, as many at a time as hold about BLOCK values."""
        block: list[str] = []
        size = 0
        for group in groups:
            block.append(group)
            size += sum(self.done[trial.id].tasks * len(trial.config["metrics"]) for trial in self.ended[group])
            if size >= BLOCK:
                yield block
                block, size = [], 0
        if block:
            yield block

    def _sync_group(
        self,
        group: str,
        known: Run | None,
        curves: Mapping[str, list[_Point]],
        bands: list[_Point],
        late: Mapping[str, list[_Point]],
    ) -> None:
        draft = self._group_draft(group, bands, late.get(group, []))
        # Curves over fewer seeds, or a run as an earlier version wrote it.
        stale = known is not None and known.data.tags.get("pliant.members") != draft.tags["pliant.members"]
        if known and stale:
            known = self._emptied({group: known}).get(group)
        run_id = known.info.run_id if known else self._create([draft])[0]
        if self.track["trials"]:
            self._sync_trials(group, run_id, curves, late)
        if not known or stale or known.info.status != draft.status:
            self._fill({run_id: draft})
        told = Counter(self._status(trial) for trial in self.told[group])
        tags = {"pliant.diverged": str(told["diverged"]), "pliant.failed": str(told["failed"])}
        self._tag(run_id, tags | {"pliant.content": self._content(group)})

    def _sync_trials(
        self,
        group: str,
        parent: str,
        curves: Mapping[str, list[_Point]],
        late: Mapping[str, list[_Point]],
    ) -> None:
        known = self._find("trial", "pliant.trial", group) if self.trials_known else {}
        drafts = {
            trial.id: self._trial_draft(trial, parent, [*curves.get(trial.id, []), *late.get(trial.id, [])])
            for trial in self.told[group]
            if trial.id not in known or not self._as_written(known[trial.id], trial)
        }
        self._write(drafts, known)
        for name, run in known.items():
            if name not in drafts:
                self._nest(run, parent)

    def _as_written(self, run: Run, trial: Trial) -> bool:
        """Is a trial's run complete, and as this version writes it?"""
        tags = run.data.tags
        complete = run.info.status == ("FINISHED" if trial.id in self.done else "FAILED")
        failure = self.failed.get(trial.id)
        same = failure is None or tags.get("pliant.attempt") == failure.attempt
        return complete and same and tags.get("pliant.layout") == str(LAYOUT)

    def _group_draft(self, group: str, bands: list[_Point], late: list[_Point]) -> _Draft:
        members, told = self.members[group], self.told[group]
        tags = {
            "pliant.kind": "group",
            "pliant.sweep": self.identity,
            "pliant.group": group,
            "pliant.arm": _arms_of(told[0]),
            "pliant.members": _digest([LAYOUT, sorted(members)]),
            "pliant.seeds": str(len(members)),
            notes.TAG: notes.of_group(group, len(members), self.experiment.experiment_id),
        }
        complete = self._complete(group)
        points = bands + (late if complete else [])
        status, params = "FINISHED" if complete else "RUNNING", self.params[group]
        return _Draft(self.names[group], tags, *self._span(told), status=status, params=params, points=points)

    def _trial_draft(self, trial: Trial, parent: str, points: list[_Point]) -> _Draft:
        status = self._status(trial)
        tags = {
            "pliant.kind": "trial",
            "pliant.sweep": self.identity,
            "pliant.group": trial.group,
            "pliant.trial": trial.id,
            "pliant.arm": _arms_of(trial),
            "pliant.status": status,
            "pliant.layout": str(LAYOUT),
            PARENT: parent,
        }
        first = self.reused_from.get(trial.id)
        if first and first != self.identity:
            tags["pliant.reused_from"] = first
        if status == "failed":
            failure = self.failed[trial.id]
            tags |= {"pliant.reason": failure.reason, "pliant.attempt": failure.attempt}
        elif status == "diverged":
            tags["pliant.reason"] = f"diverged in task {self.done[trial.id].tasks}, counted from 0"
        tags[notes.TAG] = notes.of_trial(trial.id, tags.get("pliant.reason"), self.failed.get(trial.id))
        name = f"{self.names[trial.group]}, seed {trial.config['seed']}"
        params = self.params[trial.group] | {"seed": str(trial.config["seed"])}
        ending = "FAILED" if status == "failed" else "FINISHED"
        return _Draft(name, tags, *self._span([trial]), status=ending, params=params, points=points)

    def _span(self, trials: Sequence[Trial]) -> tuple[int, int]:
        """When the first of these trials' packs began and the last ended, in ms since 1970."""
        spans = []
        for trial in trials:
            if trial.id in self.done:
                spans.append((self.done[trial.id].began, self.done[trial.id].finished))
            else:
                failure = self.failed[trial.id]
                spans.append((began(failure.attempt, failure.time), failure.time))
        return _milliseconds(min(start for start, _ in spans)), _milliseconds(max(end for _, end in spans))

    def _frame(self, groups: Sequence[str]) -> pd.DataFrame:
        """The ended trials' curves, of the metrics that are tracked: trial, group, seed, metric, task, value.

        Finite values only: a curve ends where its trial diverged. Sorted by trial, metric and task.
        """
        trials = {trial.id: trial for group in groups for trial in self.ended[group]}
        frame = self.ledger.curves(list(trials)).to_pandas()
        tracked = _first_metrics(frame["metric"].unique(), self.track["metrics"])
        finite = frame["metric"].isin(tracked) & np.isfinite(frame["value"])
        kept: pd.DataFrame = frame[finite].astype({"trial": object, "metric": object})
        kept["group"] = kept["trial"].map({name: trial.group for name, trial in trials.items()})
        kept["seed"] = kept["trial"].map({name: trial.config["seed"] for name, trial in trials.items()})
        return kept

    def _binned(self, groups: Sequence[str], metric: str) -> pd.DataFrame:
        """As `_frame`, with the metric averaged over bins of tasks: tasks differ in difficulty more than arms do."""
        import pandas as pd

        from sweep.results import frames

        frame = self._frame(groups)
        parts = [frame[frame["metric"] != metric]]
        for group, own in frame[frame["metric"] == metric].groupby("group", sort=False):
            workload = next(iter(self.members[str(group)].values())).config["workload"]
            parts.append(frames.bins(own, _bin_width(frames.planned_tasks(workload))))
        return pd.concat(parts, ignore_index=True).sort_values(["trial", "metric", "task"], ignore_index=True)

    def _late(self, groups: Sequence[str]) -> dict[str, list[_Point]]:
        """Trial or group -> late performance (`frames.late`): a trial's value, a group's mean with its interval."""
        from sweep.results import frames

        ended = [trial for group in groups for trial in self.ended[group]]
        part = replace(self.record, trials=ended)
        try:
            trials = frames.trials(part, self.ledger)
            metric = frames.headline(trials)
            late = frames.late(frames.observed(trials, frames.curves(part, self.ledger, [metric]), metric))
        except InputError:
            return {}
        late = late.drop_duplicates("trial")  # a trial has a row for each of its arms
        name = views.final(metric)
        values = zip(late["trial"], late["value"].tolist(), strict=True)
        points: dict[str, list[_Point]] = {trial: [(name, 0, value)] for trial, value in values if math.isfinite(value)}
        for band in frames.bands(late, ["group"]).to_dict("records"):
            ends = {name: band["mean"], f"{name}/ci_low": band["ci_low"], f"{name}/ci_high": band["ci_high"]}
            points[band["group"]] = [(end, 0, float(value)) for end, value in ends.items() if math.isfinite(value)]
        return points

    def _content(self, group: str) -> str:
        """Of what the group's run and its trials' runs are made."""
        told = sorted((trial.id, self._status(trial)) for trial in self.told[group])
        tried = sorted(self.failed[trial.id].attempt for trial in self.told[group] if trial.id in self.failed)
        return _digest([LAYOUT, sorted(self.members[group]), told, tried, self.names[group], self.track["trials"]])

    def _complete(self, group: str) -> bool:
        return len(self.ended[group]) == len(self.members[group])

    # Runs of any kind

    def _find(self, kind: str, key: str, group: str | None = None) -> dict[str, Run]:
        """The sweep's live runs of a kind, by the value of the tag `key`.

        Of two for one thing, as two machines on one server can leave them, every sync keeps the same one.
        """
        condition = f"tags.`pliant.kind` = '{kind}'"
        if group is not None:
            condition += f" and tags.`pliant.group` = '{group}'"
        found: dict[str, Run] = {}
        twice = []
        for run in sorted(self._search(condition), key=lambda run: (run.info.start_time, run.info.run_id)):
            if found.setdefault(run.data.tags[key], run) is not run:
                twice.append(run)
        self._discard(twice)
        return found

    def _search(self, condition: str, *, deleted: bool = False) -> list[Run]:
        """All runs that meet a condition: the live ones, or those that were deleted."""
        from mlflow.entities import ViewType

        state = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
        within = [self.experiment.experiment_id]
        page = self.client.search_runs(within, condition, state, max_results=PAGE)
        runs = list(page)
        while page.token:
            page = self.client.search_runs(within, condition, state, max_results=PAGE, page_token=page.token)
            runs += page
        return runs

    def _write(self, drafts: Mapping[str, _Draft], known: Mapping[str, Run]) -> None:
        """Make runs hold their drafts, those that are not known or cannot be emptied as new ones."""
        kept = self._emptied({name: known[name] for name in drafts if name in known})
        new = [name for name in drafts if name not in kept]
        runs = {name: run.info.run_id for name, run in kept.items()}
        runs |= zip(new, self._create([drafts[name] for name in new]), strict=True)
        self._fill({runs[name]: draft for name, draft in drafts.items()})

    def _emptied(self, runs: Mapping[str, Run]) -> dict[str, Run]:
        """Those of the runs that may be written again as if new; the others are given up."""
        kept = {name: run for name, run in runs.items() if self.writer.rewrites or run.info.status == "RUNNING"}
        self._discard([run for name, run in runs.items() if name not in kept])
        return kept

    def _discard(self, runs: Sequence[Run]) -> None:
        """Delete runs and mark them, so that `_bring_back` leaves them alone."""
        for run in runs:
            self.client.set_tag(run.info.run_id, "pliant.kind", REPLACED)
            self.client.delete_run(run.info.run_id)

    def _create(self, drafts: Sequence[_Draft]) -> list[str]:
        runs = self.writer.create(self.experiment.experiment_id, drafts)
        self.created.update(runs)
        return runs

    def _fill(self, drafts: Mapping[str, _Draft]) -> None:
        self.writer.fill(drafts)
        self.updated.update(drafts)

    def _nest(self, run: Run, parent: str) -> None:
        if run.data.tags.get(PARENT) != parent:
            self._tag(run.info.run_id, {PARENT: parent})

    def _tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        self.writer.tag(run_id, {name: value[:TAG_LENGTH] for name, value in tags.items()})
        self.updated.add(run_id)

    def _tag_experiment(self, tags: Mapping[str, str]) -> None:
        for name, value in tags.items():
            if self.experiment.tags.get(name) != value:
                self.client.set_experiment_tag(self.experiment.experiment_id, name, value)


# ------------------------------------------------------------------------------------------ what a run holds


@dataclass(frozen=True, slots=True)
class _Draft:
    """What a run is to hold. Times are in ms since 1970; all its points have that of its end."""

    name: str
    tags: dict[str, str]
    start: int
    end: int
    status: str = "FINISHED"  # when it is filled
    params: dict[str, str] = field(default_factory=dict)
    points: list[_Point] = field(default_factory=list)  # increasing tasks within a metric


def _thin_curves(frame: pd.DataFrame, limit: int) -> dict[str, list[_Point]]:
    """Trial -> its points, at most `limit` a metric. frame as `_Tracker._frame` gives it."""
    if frame.empty:
        return {}
    trials, metrics = frame["trial"].to_numpy(), frame["metric"].to_numpy()
    tasks, values = frame["task"].to_numpy(), frame["value"].to_numpy()
    starts = np.flatnonzero(np.r_[True, (trials[1:] != trials[:-1]) | (metrics[1:] != metrics[:-1])])
    curves: dict[str, list[_Point]] = defaultdict(list)
    for start, stop in zip(starts, np.r_[starts[1:], len(trials)], strict=True):
        kept = start + _thinned(int(stop - start), limit)
        curves[trials[start]] += [
            (metrics[start], task, value)
            for task, value in zip(tasks[kept].tolist(), values[kept].tolist(), strict=True)
        ]
    return curves


def _thinned(count: int, limit: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """At most `limit` of the indices below count, evenly spread: the last and, from two on, the first."""
    return np.rint(np.linspace(count - 1, 0, min(count, limit))).astype(np.int64)[::-1]


def _bin_width(tasks: int) -> int:
    """Tasks per bin: at most ARM_BINS bins, and if one of the next few widths permits it no task left over."""
    least = math.ceil(tasks / ARM_BINS)
    return next((width for width in range(least, 2 * least + 1) if tasks % width == 0), least)


def _band_curves(frame: pd.DataFrame) -> dict[str, list[_Point]]:
    """Group -> the points of `<metric>/mean`, `/ci_low` and `/ci_high`; an interval needs two seeds."""
    from sweep.results.frames import bands

    if frame.empty:
        return {}
    keys = ["group", "metric", "task"]
    points = frame[keys].drop_duplicates().sort_values(keys)
    curve = points.groupby(["group", "metric"])["task"]
    count, place = curve.transform("size").tolist(), curve.cumcount().tolist()
    kept = {size: set(_thinned(size, GROUP_POINTS).tolist()) for size in set(count)}
    shown = [at in kept[size] for at, size in zip(place, count, strict=True)]
    table = bands(frame.merge(points[shown], on=keys), keys)
    curves: dict[str, list[_Point]] = defaultdict(list)
    for name in ("mean", "ci_low", "ci_high"):
        columns = table.loc[np.isfinite(table[name]), ["group", "metric", "task", name]]
        for group, metric, task, value in columns.itertuples(index=False):
            curves[group].append((f"{metric}/{name}", int(task), float(value)))
    return curves


def _first_metrics(names: Iterable[str], limit: int) -> list[str]:
    """The metrics that are tracked: test and online ones first, then by name, then those of single layers and bins."""
    first = ("test_", "online_", "plasticity_gap")
    return sorted(names, key=lambda name: (not name.startswith(first), "/" in name, name))[:limit]


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A config's fields as text, under the names of `sweep.results.frames.trials`, such as l2.strength."""
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            inner = "" if not prefix and name == "methods" else f"{prefix}{name}."
            flat |= _flat(value, inner)
        else:
            flat[prefix + name] = _text(value)
    return flat


def _params(groups: Mapping[str, Trial]) -> dict[str, dict[str, str]]:
    """Group -> MLflow's params: the settings that take several values in the sweep, where the group has them.

    What all trials share is in the sweep's file and manifest. groups: id -> one of its trials.
    """
    settings = {group: dict(naming.fields(trial.config)) for group, trial in groups.items()}
    values: dict[str, set[str]] = defaultdict(set)
    for fields in settings.values():
        for column, value in fields.items():
            if value is not None:
                values[column].add(_text(value))
    return {
        group: {
            column: _text(value) for column, value in fields.items() if value is not None and len(values[column]) > 1
        }
        for group, fields in settings.items()
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _arms_of(trial: Trial) -> str:
    """The arms a trial belongs to, as one text."""
    return ", ".join(trial.arms)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


# -------------------------------------------------------------------------------------------------- writers


class _Server:
    """Writes runs through MLflow's API."""

    exclusive = False  # whether `_turn` keeps every other sync of the sweep away
    rewrites = False  # whether `fill` replaces what a run holds; MLflow's API takes no params and points back

    def __init__(self, client: MlflowClient) -> None:
        self.client = client

    def create(self, experiment: str, drafts: Sequence[_Draft]) -> list[str]:
        """New runs with name and tags, status RUNNING; returns their ids."""

        def one(draft: _Draft) -> str:
            run = self.client.create_run(
                experiment, start_time=draft.start, tags=draft.tags, run_name=draft.name[:NAME_LENGTH]
            )
            return str(run.info.run_id)

        with ThreadPoolExecutor(REQUESTS) as pool:
            return list(pool.map(one, drafts))

    def fill(self, drafts: Mapping[str, _Draft]) -> None:
        """Give runs (by id) their params and points, then their status and end; rows they have stay single."""
        with ThreadPoolExecutor(REQUESTS) as pool:
            list(pool.map(self._fill_one, drafts.keys(), drafts.values()))

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run; those it has besides stay."""
        from mlflow.entities import RunTag

        self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def _fill_one(self, run_id: str, draft: _Draft) -> None:
        from mlflow.entities import Metric, Param

        params = [Param(name, value[:PARAM_LENGTH]) for name, value in draft.params.items()]
        metrics = [Metric(metric, value, draft.end, task) for metric, task, value in draft.points]
        # A batch holds at most 100 params, and 1000 params and metrics together.
        for start in range(0, max(math.ceil(len(params) / 100), math.ceil(len(metrics) / 900))):
            self.client.log_batch(
                run_id,
                metrics=metrics[900 * start : 900 * (start + 1)],
                params=params[100 * start : 100 * (start + 1)],
            )
        if draft.status == "RUNNING":
            self.client.update_run(run_id, draft.status)
        else:
            self.client.set_terminated(run_id, draft.status, draft.end)


class _Database(_Server):
    """Writes runs as rows of MLflow's tables, as `_Server` makes them, a whole batch in one transaction."""

    rewrites = True

    def __init__(self, client: MlflowClient, engine: Engine, tables: Mapping[str, Table]) -> None:
        super().__init__(client)
        self.engine, self.tables = engine, tables
        self.exclusive = engine.dialect.name in ("sqlite", "postgresql")
        self.locations: dict[str, str] = {}  # experiment -> where its files are; asked once

    def create(self, experiment: str, drafts: Sequence[_Draft]) -> list[str]:
        from mlflow.utils.uri import append_to_uri_path

        if not drafts:
            return []
        if experiment not in self.locations:
            self.locations[experiment] = self.client.get_experiment(experiment).artifact_location
        location = self.locations[experiment]
        ids = [_run_id() for _ in drafts]
        runs, tags = [], []
        for run_id, draft in zip(ids, drafts, strict=True):
            name = draft.name[:NAME_LENGTH]
            place = append_to_uri_path(location, run_id, "artifacts")  # type: ignore[no-untyped-call]
            values = (run_id, name, draft.start, int(experiment), place)
            runs.append(RUN_CONSTANTS | dict(zip(RUN_COLUMNS, values, strict=True)))
            tags += _tag_rows(run_id, draft)
        with self.engine.begin() as connection:
            connection.execute(self.tables["runs"].insert(), runs)
            connection.execute(self.tables["tags"].insert(), tags)
        return ids

    def fill(self, drafts: Mapping[str, _Draft]) -> None:
        if not drafts:
            return
        rows: dict[str, list[dict[str, Any]]] = {"params": [], "metrics": [], "latest_metrics": [], "tags": []}
        for run_id, draft in drafts.items():
            for key, text in draft.params.items():
                rows["params"].append({"run_uuid": run_id, "key": key, "value": text[:PARAM_LENGTH]})
            last: dict[str, dict[str, Any]] = {}
            for metric, task, value in draft.points:
                values = (run_id, metric, value, draft.end, task, False)
                last[metric] = dict(zip(METRIC_COLUMNS, values, strict=True))
                rows["metrics"].append(last[metric])
            rows["latest_metrics"] += last.values()
            rows["tags"] += _tag_rows(run_id, draft)
        runs, tags = self.tables["runs"], self.tables["tags"]
        own = tags.c.key.like("pliant.%") | tags.c.key.in_(OWN_TAGS)  # those a person has set stay
        changed = runs.update().where(runs.c.run_uuid == bindparam("id"))
        columns: dict[str, Any] = {
            name: bindparam(f"new_{name}") for name in ("name", "start_time", "end_time", "status")
        }
        with self.engine.begin() as connection:
            for name, new in rows.items():
                table = self.tables[name]
                old = table.c.run_uuid.in_(list(drafts))
                connection.execute(table.delete().where(old & own if name == "tags" else old))
                if new:
                    connection.execute(table.insert(), new)
            connection.execute(changed.values(columns), [_run_row(*item) for item in drafts.items()])

    def relocate(self, experiment: Experiment) -> None:
        """Name an experiment's files, and its runs', relative to the server: earlier versions wrote absolute paths."""
        old = experiment.artifact_location.rstrip("/")
        experiments, runs = self.tables["experiments"], self.tables["runs"]
        own = int(experiment.experiment_id)
        moved = sqlalchemy.func.replace(runs.c.artifact_uri, f"{old}/", RELATIVE)
        with self.engine.begin() as connection:
            here = experiments.update().where(experiments.c.experiment_id == own)
            connection.execute(here.values(artifact_location=RELATIVE))
            connection.execute(runs.update().where(runs.c.experiment_id == own).values(artifact_uri=moved))

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        table = self.tables["tags"]
        rows = [{"run_uuid": run_id, "key": key, "value": value} for key, value in tags.items()]
        with self.engine.begin() as connection:
            connection.execute(table.delete().where(table.c.run_uuid == run_id, table.c.key.in_(list(tags))))
            connection.execute(table.insert(), rows)


def _tag_rows(run_id: str, draft: _Draft) -> list[dict[str, str]]:
    tags = draft.tags | {RUN_NAME: draft.name[:NAME_LENGTH]}
    return [{"run_uuid": run_id, "key": key, "value": value[:TAG_LENGTH]} for key, value in tags.items()]


def _run_row(run_id: str, draft: _Draft) -> dict[str, Any]:
    return {
        "id": run_id,
        "new_name": draft.name[:NAME_LENGTH],
        "new_start_time": draft.start,
        "new_end_time": draft.end,
        "new_status": draft.status,
    }


def _run_id() -> str:
    """32 hexadecimal digits, the first twelve the time in milliseconds, as in a UUID of version 7.

    Rows written together then lie together in the database's trees. Under random ids every row touches another page,
    and a commit costs the more the more runs there are.
    """
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


RUN_COLUMNS = ("run_uuid", "name", "start_time", "experiment_id", "artifact_uri")
RUN_CONSTANTS = {
    "source_type": "UNKNOWN",
    "source_name": "",
    "entry_point_name": "",
    "source_version": "",
    "user_id": "unknown",
    "status": "RUNNING",
    "lifecycle_stage": "active",
}
METRIC_COLUMNS = ("run_uuid", "key", "value", "timestamp", "step", "is_nan")


def _writer(tracking_uri: str) -> _Server:
    """A writer for the server or database; a database is created where there is none."""
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking import MlflowClient

    # Errors are raised and told by `_explained`; tracebacks in the log would say them twice.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if tracking_uri.startswith("sqlite:"):
        _prepare_sqlite(_sqlite_path(tracking_uri))
    client = MlflowClient(tracking_uri)
    store = client._tracking_client.store
    if not isinstance(store, SqlAlchemyStore):
        return _Server(client)
    engine = store.engine
    if engine.dialect.name == "sqlite" and not event.contains(engine, "connect", _relax):
        event.listen(engine, "connect", _relax)
        engine.dispose()  # the connections that were opened before it
    tables = Base.metadata.tables
    return _Database(client, engine, tables) if _as_expected(tables) else _Server(client)


def _prepare_sqlite(path: Path) -> None:
    """Make the database where there is none; set the mode in which pages are read while runs are written.

    MLflow cannot mend tables that were half made when it was killed, so they are made beside their place.
    """
    from mlflow.tracking import MlflowClient

    if not path.exists():
        for leftover in path.parent.glob(f"{path.name}.new-*"):
            leftover.unlink()
        new = path.with_name(f"{path.name}.new-{uuid.uuid4().hex}")
        _set_journal(new, "WAL")  # quicker by a third
        MlflowClient(f"sqlite:///{new}")._tracking_client.store.engine.dispose()
        _set_journal(new, "DELETE")  # all in one file again
        os.replace(new, path)
    _set_journal(path, "WAL")


def _set_journal(path: Path, mode: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")


def _relax(connection: sqlite3.Connection, _: object) -> None:
    """Commits that a power cut may take back, though not tear: the next sync writes them again."""
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA busy_timeout=20000")


def _as_expected(tables: Mapping[str, Table]) -> bool:
    """Do the columns `_Database` fills exist, and are there none besides that must be filled?"""
    filled = {
        "runs": {*RUN_COLUMNS, *RUN_CONSTANTS, "end_time"},
        "tags": {"run_uuid", "key", "value"},
        "params": {"run_uuid", "key", "value"},
        "metrics": set(METRIC_COLUMNS),
        "latest_metrics": set(METRIC_COLUMNS),
    }
    for name, known in filled.items():
        columns = tables[name].columns
        needed = {column.name for column in columns if not column.nullable and column.default is None}
        if not needed <= known <= set(columns.keys()):
            return False
    return True


def _experiment(writer: _Server, identity: str, artifact_root: str | None, tracking_uri: str) -> Experiment:
    """The sweep's experiment, which is created where there is none."""
    from mlflow.exceptions import MlflowException

    client = writer.client
    found = client.get_experiment_by_name(identity)
    if found is None:
        try:
            # The tag makes MLflow's page open on runs and charts instead of language-model traces.
            client.create_experiment(identity, artifact_root, {"mlflow.experimentKind": "custom_model_development"})
        except MlflowException:
            if client.get_experiment_by_name(identity) is None:  # nobody else was quicker
                raise
        found = client.get_experiment_by_name(identity)
        assert found is not None
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"The experiment {identity} was deleted in MLflow, and its name stays taken.\n"
            f"Bring it back: MLFLOW_TRACKING_URI={shlex.quote(_shown(tracking_uri))} {shlex.quote(sys.executable)}"
            f" -m mlflow experiments restore --experiment-id {found.experiment_id}"
        )
    earlier = found.artifact_location.startswith("file:") and found.artifact_location.endswith("/artifacts")
    if artifact_root == RELATIVE and earlier and isinstance(writer, _Database):
        writer.relocate(found)
        found = client.get_experiment(found.experiment_id)
    return found


# ------------------------------------------------------------------------------------------ turns and errors


@contextlib.contextmanager
def _turn(tracking_uri: str, what: str) -> Iterator[None]:
    """Hold the lock on `what` in a database: by file among processes here, in Postgres among machines too."""
    key = hashlib.sha256(f"{tracking_uri} {what}".encode()).digest()
    if tracking_uri.startswith("sqlite:"):
        path = _sqlite_path(tracking_uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f"{path.name}.lock")
    else:
        lock = Path(tempfile.gettempdir()) / f"pliant-{os.getuid()}-{key.hex()[:16]}.lock"
    with contextlib.ExitStack() as held:
        fcntl.flock(held.enter_context(lock.open("w")), fcntl.LOCK_EX)  # let go when the process ends, however it ends
        if tracking_uri.startswith("postgresql"):
            engine = sqlalchemy.create_engine(tracking_uri, isolation_level="AUTOCOMMIT")
            held.callback(engine.dispose)
            name = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], signed=True)
            held.enter_context(engine.connect()).execute(sqlalchemy.text(f"SELECT pg_advisory_lock({name})"))
        yield


@contextlib.contextmanager
def _explained(tracking_uri: str) -> Iterator[None]:
    """What fails inside is a TrackingError in one sentence."""
    try:
        yield
    except PliantError:
        raise
    except Exception as error:
        from mlflow.exceptions import MlflowException

        if not isinstance(error, (MlflowException, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, OSError)):
            raise
        said = redacted(_first_line(error), tracking_uri)
        raise TrackingError(f"MLflow at {_shown(tracking_uri)} failed: {said}") from error


def _check_password(tracking_uri: str) -> None:
    """Refuse a password that would be cut elsewhere than meant; a driver's error would then show a part of it."""
    scheme, _, rest = tracking_uri.partition("://")
    user, _, password = rest.rpartition("@")[0].partition(":")
    reserved = set("/?# ") if scheme in ("http", "https") else set("@/?# ")
    if scheme not in ("file", "sqlite") and "/" not in user and set(password) & reserved:
        raise TrackingError(
            f"The password in {_shown(tracking_uri)} holds a character that ends it where a URI is read.\n"
            "Write @ as %40, / as %2F, ? as %3F, # as %23 and a space as %20."
        )


def _check_server(tracking_uri: str) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    where = _shown(tracking_uri)
    try:
        credentials = get_default_host_creds(tracking_uri)  # type: ignore[no-untyped-call]
        answer = http_request(  # type: ignore[no-untyped-call]
            credentials, "/health", "GET", timeout=PATIENCE, max_retries=0, raise_on_status=False
        )
    except (MlflowException, OSError) as error:
        raise TrackingError(f"No MLflow tracking server answers at {where}.") from error
    if answer.status_code in (401, 403):
        raise TrackingError(
            f"The tracking server at {where} refuses access ({answer.status_code}).\n"
            "Give it MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; "
            "a server behind a name of its own must list it in MLFLOW_SERVER_ALLOWED_HOSTS."
        )
    if answer.status_code != 200:
        raise TrackingError(f"What answers at {where} is no MLflow tracking server ({answer.status_code}).")


def _check_sqlite(tracking_uri: str) -> None:
    path = _sqlite_path(tracking_uri)
    if not path.exists():
        folder = next(folder for folder in path.parents if folder.exists())
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise TrackingError(f"MLflow's database {path} cannot be created: {folder}: {error.strerror}.") from error
        return
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise TrackingError(f"MLflow's database {path} cannot be written: {error}.") from error


def _check_database(tracking_uri: str) -> None:
    limit = {"connect_timeout": math.ceil(PATIENCE)} if not tracking_uri.startswith("mssql") else {}
    try:
        engine = sqlalchemy.create_engine(tracking_uri, connect_args=limit)
        with contextlib.closing(engine.connect()):
            pass
        engine.dispose()
    except ImportError as error:
        raise TrackingError(
            f"The database {_shown(tracking_uri)} needs a driver that is not installed: {error}.\n"
            "For Postgres: pip install 'pliant[postgres]'."
        ) from error
    except sqlalchemy.exc.SQLAlchemyError as error:
        said = redacted(_first_line(error), tracking_uri)
        raise TrackingError(f"The database {_shown(tracking_uri)} cannot be opened: {said}") from error


def _with_driver(tracking_uri: str) -> str:
    """Plain postgresql:// with the driver that is installed; SQLAlchemy's own choice changed with 2.1."""
    for driver in ("psycopg2", "psycopg"):
        if tracking_uri.startswith("postgresql://") and find_spec(driver):
            return f"postgresql+{driver}{tracking_uri.removeprefix('postgresql')}"
    return tracking_uri


def _sqlite_path(tracking_uri: str) -> Path:
    return Path(tracking_uri.partition(":///")[2].partition("?")[0]).absolute()


def _shown(tracking_uri: str) -> str:
    """The URI without its password."""
    return redacted(tracking_uri, tracking_uri)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


# ------------------------------------------------------------------------------------ as a process of its own


def main(arguments: Sequence[str] | None = None) -> int:
    """Sync one sweep of a storage; prints the report as JSON. 2 where the user can mend what is wrong."""
    from sweep.ledger.ledger import Ledger

    parser = argparse.ArgumentParser(prog="python -m sweep.tracking.track", description=main.__doc__)
    parser.add_argument("sweep", metavar="NAME@SCALE")
    parser.add_argument("--storage", required=True)
    parser.add_argument("--figures", nargs="*", type=Path, default=[], metavar="FILE")
    given = parser.parse_args(arguments)
    try:
        name, _, scale = given.sweep.rpartition("@")
        ledger = Ledger(given.storage)
        uri = default_uri(given.storage)
        root = default_artifact_root(given.storage, uri)
        report = sync(ledger.sweep(name, scale), ledger, uri, artifact_root=root, figures=given.figures)
    except PliantError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(asdict(report)))
    return 0


if __name__ == "__main__":
    os.nice(10)  # the training goes first
    sys.exit(main())
