"""A stream of the user's own, on its first batches: shapes, types and ranges, and that it is pure.

A batch must depend on (config, seed, step) alone. Else a resumed pack, a pack with other members and a trial alone
would see other examples under one name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from workloads.errors import InputError
from workloads.extensions import place_of, told
from workloads.losses import LOSSES
from workloads.streams.base import Stream, TaskStream, rows_of

PIECE = 6  # steps that are looked at, at the beginning and around the first change of task
MOST_TASKS = 2000  # whose beginnings are compared between seeds: all of most streams, else a selection
SAME = ("tasks", "inputs", "outputs", "batch", "loss", "online_metric", "boundaries_shown", "shape", "tested")


def check_stream(make: Callable[[int], Stream], seeds: Sequence[int], file: str, name: str) -> None:
    """Look at a stream's first batches, and at its shape for every seed. Raises InputError that says what is wrong."""
    try:
        stream, again = make(seeds[0]), make(seeds[0])
        problem = (
            _facts(stream)
            or _tasks(stream)
            or _batch(stream)
            or _purity(stream, again)
            or _probe(stream)
            or _tests(stream)
            or _seeds(stream, map(make, seeds[1:]), seeds)
        )
    except (Exception, SystemExit) as error:
        raise InputError(told(error) if place_of(error) else f"{file}: {name}: {told(error)}") from error
    if problem:
        raise InputError(f"{file}: {name}: {problem}")


def timetable(stream: Stream) -> str:
    """Equal for streams whose tasks, tests and step sizes change at the same steps: what one pack can hold."""
    tasks = range(0, stream.tasks, max(1, stream.tasks // MOST_TASKS))
    said: list[Any] = [stream.tasks, *(stream.task_start(task) for task in (*tasks, stream.tasks))]
    if isinstance(stream, TaskStream):
        said += [stream.evaluations(task) for task in tasks if stream.evaluations(task)]
        schedules = [stream.step_sizes(task) for task in tasks]
        said += [schedule for schedule in schedules if {factor for _, factor in schedule} != {1.0}]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def _facts(stream: Stream) -> str | None:
    """What everything else is sized by."""
    values = {name: getattr(stream, name, None) for name in ("inputs", "outputs", "batch", "tasks")}
    wrong = {n: v for n, v in values.items() if isinstance(v, bool) or not isinstance(v, int | np.integer) or v < 1}
    if wrong:
        said = ", ".join(f"{name} is {value!r}" for name, value in wrong.items())
        return f"{said}: a whole number from 1 on is expected, set in __init__"
    if not isinstance(getattr(stream, "boundaries_shown", None), bool):
        return "boundaries_shown must be true or false: may methods be told when the task changes?"
    return None


def _tasks(stream: Stream) -> str | None:
    """task_start and task_of are each other's inverse."""
    if stream.task_start(0) != 0:
        return f"task_start(0) is {stream.task_start(0)}; steps count from 0"
    for task in sorted({0, 1, stream.tasks - 1}):
        if task >= stream.tasks:
            continue
        first, end = stream.task_start(task), stream.task_start(task + 1)
        if end <= first:
            return f"task {task} begins at step {first} and the next at {end}; a task has one step at least"
        for step in (first, end - 1):
            if stream.task_of(step) != task:
                return f"task_of({step}) is {stream.task_of(step)}, and by task_start step {step} is of task {task}"
    return None


def wrong_batch(stream: Stream, x: Any, y: Any, lead: tuple[int, ...]) -> str | None:
    """Why arrays x (*lead, inputs), y (*lead, ...) are no examples of this stream; None where they are."""
    if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray):
        return f"must return two arrays (x, y), and returned {type(x).__name__} and {type(y).__name__}"
    if x.shape != (*lead, stream.inputs) or not np.issubdtype(x.dtype, np.floating):
        return f"x is {x.dtype} {x.shape}, expected float32 (..., inputs) = {(*lead, stream.inputs)}"
    if not np.isfinite(x).all():
        return "x has values that are not finite"
    targets = LOSSES[stream.loss]
    if not targets.classes:
        if y.shape != (*lead, stream.outputs) or not np.issubdtype(y.dtype, np.floating):
            return f"y is {y.dtype} {y.shape}, expected float32 (..., outputs) = {(*lead, stream.outputs)}"
        return None if np.isfinite(y).all() else "y has values that are not finite"
    wanted = (*lead, 2) if targets.counted else lead
    if y.shape != wanted or y.dtype != np.int64:
        return f"y is {y.dtype} {y.shape}, expected int64 class numbers {wanted} for {stream.loss}"
    if y.min() < 0 or y.max() > stream.outputs - (not targets.counted):
        return f"y has classes {y.min()} to {y.max()}; with {stream.outputs} outputs they are 0 to {stream.outputs - 1}"
    return None


def _batch(stream: Stream) -> str | None:
    """The first batches are shaped as the stream says."""
    count = min(PIECE, stream.task_start(stream.tasks))
    result = stream.batches(0, count)
    if not isinstance(result, tuple | list) or len(result) != 2:
        return f"batches must return two arrays (x, y), and returned {type(result).__name__}"
    problem = wrong_batch(stream, *result, (count, stream.batch))
    return problem and f"batches(0, {count}): {problem}"


def _purity(stream: Stream, again: Stream) -> str | None:
    """The same steps are the same examples, asked twice, later, in pieces, and of another stream of the seed."""
    length = stream.task_start(stream.tasks)
    for start in sorted({0, max(0, stream.task_start(1) - PIECE // 2)}):
        count = min(PIECE, length - start)
        first = stream.batches(start, count)
        stream.batches(min(length, stream.task_start(1) + PIECE) - 1, 1)
        pieces = [stream.batches(start + k, 1) for k in range(count)]
        other = again.batches(start, count)
        others = {
            "are other examples when they are asked again": stream.batches(start, count),
            "asked one by one are other examples": [np.concatenate([p[i] for p in pieces]) for i in (0, 1)],
            "are other examples in another stream of the same seed": other,
        }
        for what, batches in others.items():
            if not all(np.array_equal(one, two) for one, two in zip(first, batches, strict=True)):
                return (
                    f"steps {start} to {start + count - 1} {what}: a batch depends on config, seed and step alone "
                    "(workloads.random draws by seed, name and step)"
                )
        rows = rows_of(stream, 0, 1)
        if rows is not None and not np.array_equal(rows.x[rows.index[0]], stream.batches(0, 1)[0][0]):
            return "rows(0, 1) are other examples than batches(0, 1)"
    return None


def _probe(stream: Stream) -> str | None:
    """A task's first examples, for diagnostics."""
    problem = wrong_batch(stream, *stream.probe(0, 5), (5,))
    return problem and f"probe(0, 5): {problem}"


def _tests(stream: Stream) -> str | None:
    """What a stream that holds examples out says of them."""
    if not isinstance(stream, TaskStream) or not stream.tested:
        return None
    steps, end = stream.evaluations(0), stream.task_start(1)
    if not steps or list(steps) != sorted(steps) or steps[-1] != end or steps[0] <= 0:
        return f"evaluations(0) is {steps}, expected steps of the task in order, the last of them its end, {end}"
    x, y = stream.test(0)
    problem = wrong_batch(stream, x, y, (len(x),))
    return problem and f"test(0): {problem}"


def _seeds(stream: Stream, others: Iterable[Stream], seeds: Sequence[int]) -> str | None:
    """Seeds differ in their examples alone: they are compared task by task, by one network."""
    for other, seed in zip(others, seeds[1:], strict=True):
        for name in SAME:
            one, two = getattr(stream, name, None), getattr(other, name, None)
            if one != two:
                text = f"{name} is {one} for seed {seeds[0]} and {two} for seed {seed}"
                return f"{text}; it may depend on the config alone, as seeds are compared task by task"
    return None
