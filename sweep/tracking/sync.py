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
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.errors import InputError
from sweep.ledger.commits import began
from sweep.ledger.storage import Storage
from sweep.results import naming, palette
from sweep.tracking import notes, views
from sweep.tracking.addresses import RELATIVE, artifact_folder, explained, with_driver
from sweep.tracking.drafts import (
    PARENT,
    Draft,
    Point,
    arms_of,
    band_curves,
    bin_width,
    digest,
    first_metrics,
    flattened,
    milliseconds,
    params_of,
    thin_curves,
)
from sweep.tracking.turns import turn
from sweep.tracking.writers import TAG_LENGTH, ApiWriter, experiment_for, writer_for

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Experiment, Run

    from sweep.ledger.commits import Done
    from sweep.ledger.failures import Failure
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord
    from sweep.results.leaderboard import Leaderboard, Standing
    from sweep.trials import Trial

BLOCK = 2_000_000  # values in memory at a time; a block reads packs whole, so many small ones would read them often
PAGE = 1000  # runs per answer to a search
REPLACED = "replaced"  # the kind of a run that a sync has deleted
LAYOUT = 2  # of runs; raised when those written earlier are to be written again


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
    tracking_uri = with_driver(tracking_uri)
    with explained(tracking_uri):
        with turn(tracking_uri, "tables"):
            writer = writer_for(tracking_uri)
        with turn(tracking_uri, record.identity):
            files = artifact_folder(tracking_uri)
            root = artifact_root if files is None else RELATIVE
            experiment = experiment_for(writer, record.identity, root, tracking_uri)
            tracker = _Tracker(record, ledger, writer, experiment, files, reused_from)
            return tracker.sync(figures, progress)


class _Tracker:
    """One sync of one sweep."""

    def __init__(
        self,
        record: SweepRecord,
        ledger: Ledger,
        writer: ApiWriter,
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
        self.params = params_of({group: next(iter(trials.values())) for group, trials in self.members.items()})
        self.created: set[str] = set()
        self.updated: set[str] = set()
        self.trials_known = True  # may there be trial runs already?

    def sync(self, figures: Sequence[Path], progress: Callable[[int, int], None] | None) -> SyncReport:
        self._bring_back()
        parent = self._sweep_run()
        tags = parent.data.tags
        drawn = digest([(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in figures])
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
        begun = milliseconds(min((done.began for done in self.done.values()), default=time.time()))
        [run_id] = self._create([Draft(self.identity, tags, begun, begun)])
        return self.client.get_run(run_id)

    def _sweep_content(self, drawn: str) -> str:
        ended = {name: done.status for name, done in self.done.items()}
        failed = {name: failure.attempt for name, failure in self.failed.items()}
        trials = [(trial.id, trial.group, trial.arms) for trial in self.record.trials]
        return digest([LAYOUT, self.record.manifest, self.record.file_text, trials, ended, failed, drawn])

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
            ended = max(milliseconds(done.finished) for done in self.done.values())
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
                head = {"trial": trial.id, "group": trial.group, "arm": arms_of(trial), "status": self._status(trial)}
                rows.append(head | flattened(trial.config))
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

    def _arm_drafts(self, board: Leaderboard) -> dict[str, Draft]:
        """Panel and arm -> what its run is to hold."""
        bands = band_curves(self._binned(list({standing.group for standing in board.standings}), board.metric))
        drafts = {}
        for standing in board.standings:
            place = f"{standing.panel}/{standing.arm}" if standing.panel else standing.arm
            drafts[place] = self._arm_draft(standing, board, place, bands.get(standing.group, []))
        return drafts

    def _arm_draft(self, standing: Standing, board: Leaderboard, place: str, bands: list[Point]) -> Draft:
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
            "pliant.content": digest([LAYOUT, self._content(group), place, name, str(standing)]),
            views.COLOR: palette.colors(self.record.arms)[standing.arm],
            notes.TAG: notes.of_arm(standing, board, self.experiment.experiment_id),
        }
        points = bands + [(views.final(board.metric) + part, 0, value) for part, value in final.items()]
        points = [point for point in points if math.isfinite(point[2])]
        return Draft(name, tags, *self._span(ended), params=self.params[group], points=points)

    def _views(self, board: Leaderboard | None) -> dict[str, str]:
        """Tags of the experiment: the views in the order in which the page's menu is to list them."""
        if board is None:
            return {}
        names = first_metrics(self.record.trials[0].config["metrics"], self.track["metrics"])
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
            curves = thin_curves(frame, self.track["points"])
            bands = band_curves(frame[frame["group"].isin([name for name in block if self._complete(name)])])
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
        curves: Mapping[str, list[Point]],
        bands: list[Point],
        late: Mapping[str, list[Point]],
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
        curves: Mapping[str, list[Point]],
        late: Mapping[str, list[Point]],
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

    def _group_draft(self, group: str, bands: list[Point], late: list[Point]) -> Draft:
        members, told = self.members[group], self.told[group]
        tags = {
            "pliant.kind": "group",
            "pliant.sweep": self.identity,
            "pliant.group": group,
            "pliant.arm": arms_of(told[0]),
            "pliant.members": digest([LAYOUT, sorted(members)]),
            "pliant.seeds": str(len(members)),
            notes.TAG: notes.of_group(group, len(members), self.experiment.experiment_id),
        }
        complete = self._complete(group)
        points = bands + (late if complete else [])
        status, params = "FINISHED" if complete else "RUNNING", self.params[group]
        return Draft(self.names[group], tags, *self._span(told), status=status, params=params, points=points)

    def _trial_draft(self, trial: Trial, parent: str, points: list[Point]) -> Draft:
        status = self._status(trial)
        tags = {
            "pliant.kind": "trial",
            "pliant.sweep": self.identity,
            "pliant.group": trial.group,
            "pliant.trial": trial.id,
            "pliant.arm": arms_of(trial),
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
        return Draft(name, tags, *self._span([trial]), status=ending, params=params, points=points)

    def _span(self, trials: Sequence[Trial]) -> tuple[int, int]:
        """When the first of these trials' packs began and the last ended, in ms since 1970."""
        spans = []
        for trial in trials:
            if trial.id in self.done:
                spans.append((self.done[trial.id].began, self.done[trial.id].finished))
            else:
                failure = self.failed[trial.id]
                spans.append((began(failure.attempt, failure.time), failure.time))
        return milliseconds(min(start for start, _ in spans)), milliseconds(max(end for _, end in spans))

    def _frame(self, groups: Sequence[str]) -> pd.DataFrame:
        """The ended trials' curves, of the metrics that are tracked: trial, group, seed, metric, task, value.

        Finite values only: a curve ends where its trial diverged. Sorted by trial, metric and task.
        """
        trials = {trial.id: trial for group in groups for trial in self.ended[group]}
        frame = self.ledger.curves(list(trials)).to_pandas()
        tracked = first_metrics(frame["metric"].unique(), self.track["metrics"])
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
            parts.append(frames.bins(own, bin_width(frames.planned_tasks(workload))))
        return pd.concat(parts, ignore_index=True).sort_values(["trial", "metric", "task"], ignore_index=True)

    def _late(self, groups: Sequence[str]) -> dict[str, list[Point]]:
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
        points: dict[str, list[Point]] = {trial: [(name, 0, value)] for trial, value in values if math.isfinite(value)}
        for band in frames.bands(late, ["group"]).to_dict("records"):
            ends = {name: band["mean"], f"{name}/ci_low": band["ci_low"], f"{name}/ci_high": band["ci_high"]}
            points[band["group"]] = [(end, 0, float(value)) for end, value in ends.items() if math.isfinite(value)]
        return points

    def _content(self, group: str) -> str:
        """Of what the group's run and its trials' runs are made."""
        told = sorted((trial.id, self._status(trial)) for trial in self.told[group])
        tried = sorted(self.failed[trial.id].attempt for trial in self.told[group] if trial.id in self.failed)
        return digest([LAYOUT, sorted(self.members[group]), told, tried, self.names[group], self.track["trials"]])

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

    def _write(self, drafts: Mapping[str, Draft], known: Mapping[str, Run]) -> None:
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

    def _create(self, drafts: Sequence[Draft]) -> list[str]:
        runs = self.writer.create(self.experiment.experiment_id, drafts)
        self.created.update(runs)
        return runs

    def _fill(self, drafts: Mapping[str, Draft]) -> None:
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
