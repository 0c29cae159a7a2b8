"""What changes: a stream of examples cut into tasks, where every batch depends on (config, seed, step) alone.

So resuming needs no saved position, any step can be looked at, and members with other seeds are
independent. Streams cache what is dear about the current task (a table, a permutation); the values stay
those of the plain definition.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError
from workloads.losses import LOSSES, LossName
from workloads.metrics import Headline, OnlineMetric
from workloads.settings import Settings

Boundaries = Literal["hidden", "shown"]
Float32 = NDArray[np.float32]
Targets = NDArray[Any]  # as the stream's loss takes them, see `workloads.losses.LossSpec`


class Stream(Protocol):
    """The contract of a stream. Steps count from 0, one batch each, the same however they are asked for."""

    Config: ClassVar[type[Settings]]
    name: ClassVar[str]
    semantics: ClassVar[int]  # raised whenever the values change; part of every trial's hash
    loss: ClassVar[LossName]
    online_metric: ClassVar[OnlineMetric]
    default_every: ClassVar[int]  # diagnostics at every n-th task, unless told otherwise
    default_probe: ClassVar[int]  # examples in the diagnostics' probe, unless told otherwise

    inputs: int
    outputs: int
    batch: int
    tasks: int
    boundaries_shown: bool  # may methods be told when the task changes?

    def __init__(self, config: Settings, seed: int) -> None: ...

    def task_start(self, task: int) -> int:
        """The first step of a task; `task_start(tasks)` is the length of the stream."""

    def task_of(self, step: int) -> int:
        """The task a step belongs to."""

    def batches(self, start: int, count: int) -> tuple[Float32, Targets]:
        """Steps start to start + count - 1: x (count, B, inputs), y (count, B, outputs) or (count, B).

        Raises InputError where the stream does not have all of these steps.
        """

    def probe(self, task: int, count: int) -> tuple[Float32, Targets]:
        """The first `count` examples of a task, starting over where it is shorter: x (count, inputs), y."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Steps of one task as rows of a small table: example i of step t is x[index[t, i]], y[index[t, i]]."""

    x: Float32  # (K, inputs)
    y: Targets  # (K, outputs) or (K,)
    index: NDArray[np.int32]  # (count, B)


def rows_of(stream: Stream, start: int, count: int) -> Rows | None:
    """What `stream.batches(start, count)` gives, as rows of a table, where the stream knows such a table.

    A stream offers it by a method `rows` of the same arguments, which must agree with `batches`. One that inherits
    `rows` but makes its own examples is asked for those.
    """
    rows: Rows | None = stream.rows(start, count) if offers(stream, "rows") else None  # type: ignore[attr-defined]
    return rows


@dataclass(frozen=True, slots=True)
class Pictures:
    """Steps of one task as pictures, each with its pixels in one order.

    They are of a data set's training images with its labels, or of `images` with `labels`.
    """

    dataset: str
    shown: NDArray[np.int32]  # (count, B) numbers of the images
    pixels: NDArray[np.int32] | None  # (inputs,): pixel i of x is pixel pixels[i] of the image; None: as they are
    shades: Float32  # (256,): what each value of a pixel is as an input
    images: NDArray[np.uint8] | None = None  # (n, inputs); the same array for as long as a task lasts
    labels: NDArray[np.int64] | None = None  # (count, B)


def pictures_of(stream: Stream, start: int, count: int) -> Pictures | None:
    """What `stream.batches(start, count)` gives, as pictures; offered by a method `pictures`, as rows by `rows`."""
    offered = offers(stream, "pictures")
    pictures: Pictures | None = stream.pictures(start, count) if offered else None  # type: ignore[attr-defined]
    return pictures


def offers(stream: Stream, name: str) -> bool:
    """Whether a stream has a method `name` that tells of the same examples as its `batches` and `examples`."""
    kind = type(stream)
    definer = {n: next((c for c in kind.__mro__ if n in vars(c)), object) for n in (name, "batches", "examples")}
    return hasattr(stream, name) and all(issubclass(definer[name], definer[n]) for n in ("batches", "examples"))


class TaskStream(ABC):
    """A stream in tasks of any length: all else follows from the examples of one task.

    One that holds examples out also says `tested`, and when and on what the network is tested; one of pictures their
    `shape`. A stream of a user's own need have none of this.
    """

    name: ClassVar[str] = ""  # a user's is called as its table says
    label: ClassVar[str] = ""  # in a title; its name in words where empty
    loss: ClassVar[LossName]
    online_metric: ClassVar[OnlineMetric] = "online_error"  # unless said, what goes with the loss
    default_every: ClassVar[int] = 1
    default_probe: ClassVar[int] = 1000
    tested: ClassVar[bool] = False  # are there test examples?
    headline: ClassVar[Headline | None] = None  # the metric that figures show; None: the online one
    reloads: bool = False  # does a task end with the weights of its best validation accuracy?

    inputs: int

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "loss" in vars(cls) and "online_metric" not in vars(cls):
            classes = cls.loss not in LOSSES or LOSSES[cls.loss].classes  # an unknown one is told when it is registered
            cls.online_metric = "online_accuracy" if classes else "online_error"

    def __init__(self, *, starts: NDArray[np.int64], batch: int, boundaries: Boundaries) -> None:
        """`starts`: the first step of every task, and of the one after the last."""
        self.starts = starts
        self.tasks = len(starts) - 1
        self.batch = batch
        self.boundaries_shown = boundaries == "shown"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example: (inputs,), or (channels, height, width) where it is a picture."""
        return (self.inputs,)

    def only_task(self, start: int, count: int) -> int | None:
        """The task that all of these steps are of; None where there are several, or none."""
        task = self.task_of(start)
        ends = self.task_start(min(task + 1, self.tasks))
        return task if start >= 0 and count >= 1 and start + count <= ends else None

    @abstractmethod
    def examples(self, task: int, first: int, count: int) -> tuple[Float32, Targets]:
        """`count` examples of a task from `first` on: x (count, inputs), y (count, outputs) or (count,)."""

    def evaluations(self, task: int) -> tuple[int, ...]:
        """Steps of a task after which the network is tested, in order; the last is the task's end."""
        return ()

    def test(self, task: int) -> tuple[Float32, Targets]:
        """The test examples of a task: x (count, inputs), y as in training."""
        raise NotImplementedError

    def validation(self, task: int) -> tuple[Float32, Targets]:
        """The examples that choose the weights a task ends with."""
        raise NotImplementedError

    def step_sizes(self, task: int) -> tuple[tuple[int, float], ...]:
        """(step, factor), in order: from that step on, step sizes are the configured ones times the factor."""
        return ((self.task_start(task), 1.0),)

    def task_start(self, task: int) -> int:
        """The first step of a task; `task_start(tasks)` is the length of the stream."""
        return int(self.starts[task])

    def task_of(self, step: int) -> int:
        """The task a step belongs to."""
        return int(np.searchsorted(self.starts, step, side="right")) - 1

    def batches(self, start: int, count: int) -> tuple[Float32, Targets]:
        """Steps start to start + count - 1; see Stream."""
        end, length = start + count, self.task_start(self.tasks)
        if start < 0 or count < 1 or end > length:
            raise InputError(f"steps {start} to {end - 1} asked of a stream that has steps 0 to {length - 1}")
        parts = []
        for task in range(self.task_of(start), self.task_of(end - 1) + 1):
            origin = self.task_start(task)
            first = max(start - origin, 0)
            last = min(end, self.task_start(task + 1)) - origin
            parts.append(self.examples(task, first * self.batch, (last - first) * self.batch))
        x, y = parts[0] if len(parts) == 1 else (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return x.reshape(count, self.batch, *x.shape[1:]), y.reshape(count, self.batch, *y.shape[1:])

    def probe(self, task: int, count: int) -> tuple[Float32, Targets]:
        """The first `count` examples of a task; see Stream."""
        if not 0 <= task < self.tasks:
            raise InputError(f"a probe of task {task} asked of a stream that has tasks 0 to {self.tasks - 1}")
        length = self.task_start(task + 1) - self.task_start(task)
        x, y = self.examples(task, 0, min(count, length * self.batch))
        if len(x) == count:
            return x, y
        again = np.arange(count) % len(x)
        return x[again], y[again]


class EqualTasks(TaskStream):
    """A stream whose tasks are equally long."""

    def __init__(self, *, tasks: int, steps_per_task: int, batch: int, boundaries: Boundaries) -> None:
        super().__init__(
            starts=np.arange(tasks + 1, dtype=np.int64) * steps_per_task, batch=batch, boundaries=boundaries
        )
        self.steps_per_task = steps_per_task

    def task_start(self, task: int) -> int:
        """The first step of a task; `task_start(tasks)` is the length of the stream."""
        return task * self.steps_per_task

    def task_of(self, step: int) -> int:
        """The task a step belongs to."""
        return step // self.steps_per_task
