"""Kinds of workload: supervised streams, whose examples come to the learner, and control, whose data it makes itself.

The loop of a trial belongs to its kind (`workloads.training.loop.training_of`). What planning asks of a workload is the
same for all kinds, and nothing is built for it: no data set is read, no environment made, torch not imported.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from typing import Any, ClassVar, Protocol, cast

from workloads.registry import fields_of, lookup
from workloads.reinforcement import CONTROLS
from workloads.reinforcement.worlds import World
from workloads.settings import Settings
from workloads.streams import STREAMS


class Workload(Protocol):
    """What every kind declares: sizes and timetable, pure in (config, seed)."""

    Config: ClassVar[type[Settings]]
    name: ClassVar[str]
    semantics: ClassVar[int]
    # Any, for a class variable is of one type exactly, and each kind has its own names.
    loss: ClassVar[Any]
    online_metric: ClassVar[Any]  # what a task is told by
    default_every: ClassVar[int]
    default_probe: ClassVar[int]

    tasks: int
    boundaries_shown: bool

    @property
    def inputs(self) -> int:
        """Numbers in an example."""

    @property
    def outputs(self) -> int:
        """Of a network that learns it; of several, of the first."""

    @property
    def batch(self) -> int:
        """Examples in a step of learning."""

    def __init__(self, config: Settings, seed: int) -> None: ...

    def task_start(self, task: int) -> int:
        """The first step of a task; `task_start(tasks)` is the length."""

    def task_of(self, step: int) -> int:
        """The task a step belongs to."""


# What ships and, among the streams, what a user's files add: a view, not a copy.
WORKLOADS: Mapping[str, type[Workload]] = ChainMap(
    cast("MutableMapping[str, type[Workload]]", STREAMS), cast("MutableMapping[str, type[Workload]]", CONTROLS)
)


def made(workload: Mapping[str, Any], seed: int) -> Workload:
    """The workload of a trial, by its name and the fields of its config. Raises InputError for no such name.

    Also for a world in which a task is too short to be told by a return.
    """
    name, fields = fields_of(workload)
    kind = lookup(WORKLOADS, name, "workload")
    made = kind(kind.Config(**fields), seed)
    if isinstance(made, World):
        made.check()
    return made


def outputs_of(workload: Workload) -> tuple[int, ...]:
    """Of each network that a learner trains on it: one network, unless the workload says otherwise."""
    heads: tuple[int, ...] = getattr(workload, "heads", (workload.outputs,))
    return heads
