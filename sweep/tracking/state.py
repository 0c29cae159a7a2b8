"""What the ledger knows of a sweep, as its runs are to show it: by group, with how each trial ended and its curves."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.errors import InputError
from sweep.ledger.commits import began
from sweep.results import naming
from sweep.tracking import notes, views
from sweep.tracking.drafts import (
    Point,
    arms_of,
    bin_width,
    digest,
    first_metrics,
    flattened,
    milliseconds,
    params_of,
)

if TYPE_CHECKING:
    import pandas as pd

    from sweep.ledger.commits import Done
    from sweep.ledger.failures import Failure
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord
    from sweep.results.leaderboard import Leaderboard
    from sweep.trials import Trial

BLOCK = 2_000_000  # values in memory at a time; a block reads packs whole, so many small ones would read them often
LAYOUT = 2  # of groups' and trials' runs; raised when those written earlier are to be written again
PAGE = 2  # likewise, of arms' runs, notes and views


class State:
    """A sweep as the ledger has it when a sync begins."""

    def __init__(self, record: SweepRecord, ledger: Ledger, reused_from: Mapping[str, str | None] | None) -> None:
        self.record, self.ledger = record, ledger
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

    def status(self, trial: Trial) -> str:
        """How a trial ended, or that it has not."""
        if trial.id in self.done:
            return self.done[trial.id].status
        return "failed" if trial.id in self.failed else "pending"

    def span(self, trials: Sequence[Trial]) -> tuple[int, int]:
        """When the first of these trials' packs began and the last ended, in ms since 1970."""
        spans = []
        for trial in trials:
            if trial.id in self.done:
                spans.append((self.done[trial.id].began, self.done[trial.id].finished))
            else:
                failure = self.failed[trial.id]
                spans.append((began(failure.attempt, failure.time), failure.time))
        return milliseconds(min(start for start, _ in spans)), milliseconds(max(end for _, end in spans))

    def content(self, group: str) -> str:
        """Of what the group's run and its trials' runs are made."""
        told = sorted((trial.id, self.status(trial)) for trial in self.told[group])
        tried = sorted(self.failed[trial.id].attempt for trial in self.told[group] if trial.id in self.failed)
        return digest([LAYOUT, sorted(self.members[group]), told, tried, self.names[group], self.track["trials"]])

    def complete(self, group: str) -> bool:
        """Whether all trials of a group have ended."""
        return len(self.ended[group]) == len(self.members[group])

    def blocks(self, groups: Iterable[str]) -> Iterator[list[str]]:
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

    def frame(self, groups: Sequence[str]) -> pd.DataFrame:
        """The ended trials' curves, of the metrics that are tracked: trial, group, seed, metric, task, value.

        Finite values only: a curve ends where its trial diverged. Sorted by trial, metric and task.
        """
        trials = {trial.id: trial for group in groups for trial in self.ended[group]}
        frame = self.ledger.curves(list(trials)).to_pandas(use_threads=False)
        tracked = first_metrics(frame["metric"].unique(), self.track["metrics"])
        finite = frame["metric"].isin(tracked) & np.isfinite(frame["value"])
        kept: pd.DataFrame = frame[finite].astype({"trial": object, "metric": object})
        kept["group"] = kept["trial"].map({name: trial.group for name, trial in trials.items()})
        kept["seed"] = kept["trial"].map({name: trial.config["seed"] for name, trial in trials.items()})
        return kept

    def shown(self, group: str, *, evaluated: bool, stage: str = "evaluate") -> list[Trial]:
        """The ended trials that an arm at this setting is shown by: where it is evaluated, on that stage's seeds."""
        seeds = frozenset(self.record.manifest.get("seeds", {}).get(stage, ()))
        return [trial for trial in self.ended[group] if not evaluated or trial.config["seed"] in seeds]

    def binned(self, groups: Sequence[str], metric: str, *, evaluated: bool, stage: str = "evaluate") -> pd.DataFrame:
        """As `frame`, of what is `shown`, the metric averaged over bins of tasks: they differ more than arms do."""
        import pandas as pd

        from sweep.results import frames
        from sweep.trials import planned_tasks

        shown = {trial.id for group in groups for trial in self.shown(group, evaluated=evaluated, stage=stage)}
        frame = self.frame(groups)
        frame = frame[frame["trial"].isin(shown)]
        parts = [frame[frame["metric"] != metric]]
        for group, own in frame[frame["metric"] == metric].groupby("group", sort=False):
            workload = next(iter(self.members[str(group)].values())).config["workload"]
            parts.append(frames.bins(own, bin_width(planned_tasks(workload))))
        return pd.concat(parts, ignore_index=True).sort_values(["trial", "metric", "task"], ignore_index=True)

    def late(self, groups: Sequence[str]) -> dict[str, list[Point]]:
        """Trial or group -> late performance (`windows.late`): a trial's value, a group's mean with its interval."""
        from sweep.results import frames, windows
        from sweep.results.bands import bands

        ended = [trial for group in groups for trial in self.ended[group]]
        part = replace(self.record, trials=ended)
        try:
            trials = frames.trials(part, self.ledger)
            metric = frames.headline(trials)
            late = windows.late(frames.observed(trials, frames.curves(part, self.ledger, [metric]), metric))
        except InputError:
            return {}
        late = late.drop_duplicates("trial")  # a trial has a row for each of its arms
        name = views.final(metric)
        values = zip(late["trial"], late["value"].tolist(), strict=True)
        points: dict[str, list[Point]] = {trial: [(name, 0, value)] for trial, value in values if math.isfinite(value)}
        for band in bands(late, ["group"]).to_dict("records"):
            ends = {name: band["mean"], f"{name}/ci_low": band["ci_low"], f"{name}/ci_high": band["ci_high"]}
            points[band["group"]] = [(end, 0, float(value)) for end, value in ends.items() if math.isfinite(value)]
        return points

    def counts(self) -> notes.Counts:
        """How many trials there are, and how many ended in which way."""
        statuses = Counter(done.status for done in self.done.values())
        return notes.Counts(
            trials=sum(map(len, self.members.values())),
            settings=len(self.members),
            ended=len(self.done),
            diverged=statuses["diverged"],
            failed=len(self.failed),
        )

    def table(self) -> str:
        """All trials of the sweep as CSV: what they are, and how they ended."""
        rows = []
        for trials in self.members.values():
            for trial in trials.values():
                head = {
                    "trial": trial.id,
                    "group": trial.group,
                    "arm": arms_of(trial),
                    "status": self.status(trial),
                }
                rows.append(head | flattened(trial.config))
        columns = list(dict.fromkeys(column for row in rows for column in row))
        text = io.StringIO()
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        return text.getvalue()

    def board(self) -> Leaderboard | None:
        """The arms at their best settings; None where no trial has ended or nothing says which is better."""
        from sweep.results import leaderboard

        try:
            return leaderboard.leaderboard(self.record, self.ledger)
        except InputError:
            return None
