"""How well a setting did: what a search is told, and what the best setting of an arm is chosen by.

A trial's value is the mean of the objective over a window of its tasks; a setting's the mean over its seeds. A
setting of which a seed diverged ranks behind every one of which none did, as in `sweep.results`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sweep.ledger.ledger import Ledger
from sweep.ledger.shards import numbers
from sweep.results.windows import Window
from sweep.trials import Trial, planned_tasks


@dataclass(frozen=True, slots=True)
class Score:
    """A setting over its seeds."""

    diverged: int  # seeds without a finite value
    mean: float  # over the others; NaN where there is none

    @property
    def value(self) -> float | None:
        """What a search is told; None where a seed diverged."""
        return None if self.diverged else self.mean


def best(candidates: Iterable[tuple[str, Score]], *, higher: bool) -> str:
    """The best of (group, score): fewest diverged, then the best mean, then the first by id."""

    def rank(candidate: tuple[str, Score]) -> tuple[int, float, str]:
        group, score = candidate
        mean = math.inf if math.isnan(score.mean) else -score.mean if higher else score.mean
        return score.diverged, mean, group

    return min(candidates, key=rank)[0]


def scores(ledger: Ledger, trials: Sequence[Trial], objective: str, window: Window) -> dict[str, Score]:
    """Group -> its score over these trials, all of which have ended; one that ended inside the window is lost."""
    ended = ledger.done()
    planned = {trial.group: planned_tasks(trial.config["workload"]) for trial in trials}
    tasks = {trial.id: planned[trial.group] for trial in trials}
    measured = {
        id: window.mean(task, value, tasks[id])
        for id, task, value in curves(ledger, [trial.id for trial in trials], objective)
        if ended[id].status == "done" or ended[id].tasks >= window.bounds(tasks[id])[1]
    }
    seeds: dict[str, list[float]] = defaultdict(list)
    for trial in trials:
        seeds[trial.group].append(measured.get(trial.id, math.nan))
    return {group: score(values) for group, values in seeds.items()}


def score(values: Sequence[float]) -> Score:
    """A setting's score from its seeds' values, NaN or infinite for those that diverged."""
    finite = [value for value in values if math.isfinite(value)]
    return Score(len(values) - len(finite), sum(finite) / len(finite) if finite else math.nan)


def curves(ledger: Ledger, ids: Sequence[str], metric: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(trial, tasks, values) of every trial that recorded the metric."""
    table = ledger.curves(ids, [metric])
    if not table.num_rows:
        return
    column = table.column("trial").chunk(0)
    names, code = column.dictionary.to_pylist(), np.from_dlpack(column.indices)
    task, value = numbers(table, "task"), numbers(table, "value")
    ends = [*np.flatnonzero(np.diff(code)) + 1, len(code)]
    for begin, end in zip([0, *ends], ends, strict=False):
        yield names[code[begin]], task[begin:end], value[begin:end]
