"""Which setting stands for an arm, how it was chosen, and which trials it is chosen by and shown on.

On the seeds that a setting was chosen on it looks better than it is, the more so the more settings there were: the
winner's curse. So a sweep in two stages is reported on fresh seeds, once some of those trials have ended; one whose
settings are chosen by the beginning of the stream is shown by its end; and of all others every table and figure says
that the seeds are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from sweep.errors import InputError
from sweep.ledger.sweeps import fresh_seeds
from sweep.results import frames, naming, windows
from sweep.results.windows import Window
from workloads.metrics import higher_is_better

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord

Stage = Literal["select", "evaluate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """How the settings that are shown were chosen."""

    metric: str  # by its mean
    window: Window  # over these tasks
    # fresh: shown on other seeds than it was chosen on. beginning: on the same, by tasks before those that are shown.
    # same: on the very values that are shown, which flatters, or on values that overlap with them.
    seeds: Literal["same", "fresh", "beginning"]
    candidates: int  # settings of an arm, the most that any has; 1: there was nothing to choose
    chosen_on: tuple[int, ...]  # seeds
    shown_on: tuple[int, ...]  # seeds
    to_come: tuple[int, ...] = ()  # fresh seeds that nothing was trained on yet

    @property
    def by(self) -> str:
        """By what, for people."""
        return f"{naming.metric(self.metric)} over {self.window.words}"

    def told(self) -> str:
        """How settings were chosen, as a sentence; nothing where there was nothing to choose."""
        chosen = naming.numbers(self.chosen_on)
        if self.seeds == "fresh":
            shown = naming.numbers(self.shown_on)
            return (
                f"Settings were chosen on seeds {chosen}, by {self.by}; shown is what they do on fresh seeds, {shown}."
            )
        if self.to_come:
            fresh = naming.numbers(self.to_come)
            return f"Settings are chosen and shown on the same seeds, {chosen}; fresh ones, {fresh}, are still to come."
        if self.candidates < 2:
            return ""
        if self.seeds == "beginning":
            return f"Settings were chosen by the beginning of the stream alone: {self.by}, on the seeds that are shown."
        return (
            f"Settings were chosen by {self.by}, from up to {self.candidates:,} for an arm, on the same seeds that are"
            " shown: that flatters arms with many."
        )

    def briefly(self) -> str:
        """As `told`, for a footnote."""
        chosen = naming.numbers(self.chosen_on)
        if self.seeds == "fresh":
            return f"chosen on seeds {chosen}, shown on fresh ones, {naming.numbers(self.shown_on)}"
        if self.candidates < 2:
            return ""
        if self.seeds == "beginning":
            return f"chosen by the {self.window} of the tasks"
        return f"chosen on the seeds shown, {chosen}"


def shown(record: SweepRecord, ledger: Ledger, stage: Stage | None = None) -> SweepRecord:
    """The record with the trials of a stage; of none, those that results are `reported` from. Raises InputError."""
    if stage is None:
        return reported(record, ledger)
    if "seeds" not in record.manifest:
        raise InputError(
            f"{record.identity} has one stage: its settings are chosen and shown on the same seeds. Two are"
            " seeds: {select: 5, evaluate: 20} in its file"
        )
    if stage == "select":
        return selection(record)
    part = reported(record, ledger)
    if not evaluated(part):
        raise InputError(f"no trial of {record.identity} on fresh seeds has ended yet")
    return part


def reported(record: SweepRecord, ledger: Ledger) -> SweepRecord:
    """The record with the trials that results are read from: those on fresh seeds where there are any, else all."""
    seeds = fresh_seeds(record)
    fresh = [trial for trial in record.trials if trial.config["seed"] in seeds]
    done = ledger.done() if fresh else {}
    return replace(record, trials=fresh) if any(trial.id in done for trial in fresh) else record


def evaluated(part: SweepRecord) -> bool:
    """Whether a record holds trials on fresh seeds alone, as `reported` gives it."""
    fresh = fresh_seeds(part)
    return bool(fresh) and all(trial.config["seed"] in fresh for trial in part.trials)


def selection(record: SweepRecord) -> SweepRecord:
    """The record with the trials that settings are chosen by: every setting on the first seeds."""
    seeds = record.manifest.get("seeds")
    if not seeds:
        return record
    return replace(record, trials=[t for t in record.trials if t.config["seed"] in frozenset(seeds["select"])])


def best_settings(trials: pd.DataFrame, judged: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The best group of `trials` for every combination of the `by` columns, by what is `judged`.

    Fewest lost trials first (those without a value, as where they diverged), then the best mean over the seeds.
    Columns: by, arm, group, and candidates, the number of groups it was chosen from. An arm is judged by all of its
    settings, other arms' too.
    """
    by = list(by)
    higher = judged.empty or higher_is_better(str(judged["metric"].iloc[0]))
    keys = list(dict.fromkeys([*by, "arm", "group"]))
    config = trials.reset_index()[list(dict.fromkeys(["trial", "arm", *by]))]
    judged = judged.merge(config, on=["trial", "arm"])
    judged["lost"] = judged["value"].isna()
    grouped = judged.groupby(keys, dropna=False, sort=False)
    ranked = grouped.agg(lost=("lost", "sum"), mean=("value", "mean")).reset_index()
    ranked["mean"] = ranked["mean"].fillna(-np.inf if higher else np.inf)
    ranked = ranked.sort_values(["lost", "mean", "group"], ascending=[True, not higher, True])
    cells = ranked.groupby(by, dropna=False, sort=False) if by else ranked.groupby(np.zeros(len(ranked)))
    ranked["candidates"] = cells["group"].transform("nunique")
    return ranked[cells.cumcount() == 0].drop(columns=["lost", "mean"]).reset_index(drop=True)


def chosen_by(trials: pd.DataFrame) -> tuple[str, Window]:
    """The metric and the window by which settings are chosen, from `frames.trials`. Raises as `frames.headline`."""
    objective, window = trials["objective"].iloc[0], windows.parse(trials["chosen_over"].iloc[0])
    return objective if isinstance(objective, str) else frames.headline(trials), window


def judged(trials: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """What `best_settings` chooses by: each trial's mean of the sweep's objective over its window."""
    return late(trials, curves, *chosen_by(trials))


def late(trials: pd.DataFrame, curves: pd.DataFrame, metric: str, window: Window) -> pd.DataFrame:
    """As `windows.late`, of the trials that ended; no more of the curves is put on a grid than the window holds."""
    ended = trials[trials["status"].isin(frames.FINISHED)]
    bounds = [window.bounds(int(tasks)) for tasks in ended["tasks"].unique()]
    begin, stop = min(begin for begin, _ in bounds), max(stop for _, stop in bounds)
    own = curves[curves["metric"] == metric]
    inside = own[(own["task"] >= begin) & (own["task"] < stop)]
    return windows.late(frames.observed(ended, inside if len(inside) else own, metric), window)


def how(part: SweepRecord, trials: pd.DataFrame, candidates: int, window: Window = windows.LATE) -> Selection:
    """How the settings of a record, as `shown` gives it, with its `frames.trials`, were chosen.

    candidates is how many settings an arm had to choose from, at most, and window what is shown.
    """
    objective, chosen_over = chosen_by(trials)
    stages: Mapping[str, Any] = part.manifest.get("seeds", {})
    seeds = tuple(dict.fromkeys(trial.config["seed"] for trial in part.trials))
    fresh = evaluated(part)
    return Selection(
        metric=objective,
        window=chosen_over,
        seeds="fresh" if fresh else "beginning" if _before(chosen_over, window) else "same",
        candidates=candidates,
        chosen_on=tuple(stages["select"]) if stages else seeds,
        shown_on=tuple(stages["evaluate"]) if fresh else seeds,
        to_come=() if fresh or not stages else tuple(stages["evaluate"]),
    )


def _before(chosen: Window, shown: Window) -> bool:
    """Whether the tasks that settings were chosen by all come before those that are shown."""
    return (chosen.end, shown.end) == ("first", "last") and chosen.percent + shown.percent <= 100


def every_setting(part: SweepRecord) -> str:
    """For the footnote of what shows all settings of a sweep in two stages, and not those that were chosen."""
    stages: Mapping[str, Any] | None = part.manifest.get("seeds")
    return f"every setting on the seeds it is chosen by, {naming.numbers(stages['select'])}" if stages else ""
