"""What a sweep file means: a sweep at one scale, its arms, and what of it goes to MLflow.

Plain values that every later stage takes; `sweep.spec.grammar` and `sweep.spec.meaning` say which files mean one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sweep.results import windows
from sweep.results.windows import Window
from sweep.spec.axes import Section
from sweep.spec.ranges import Range

ROUND = 16  # settings per arm that are asked for at once, where a search does not say


class Strict(BaseModel):
    """Text enters here: unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Track(Strict):
    """How much of each trial goes to MLflow; the ledger has everything."""

    points: Annotated[int, Field(ge=1)] = 50  # per curve
    metrics: Annotated[int, Field(ge=1)] = 6  # per trial
    trials: bool = True  # false: runs for groups only


def is_end(value: object) -> object:
    """The value, where it says the last part of the tasks. Raises ValueError."""
    try:
        ended = windows.parse(value).end == "last" and value != "all"
    except ValueError:
        ended = False
    if not ended:
        raise ValueError("must be the last part of the tasks, such as `last 25%`")
    return value


class Judged(Strict):
    """By what a setting is chosen: the mean of a metric over the last part of the tasks, and over seeds."""

    objective: str | None = None  # a metric; null is the headline one
    window: Annotated[str, BeforeValidator(is_end)] = "last 25%"  # of the tasks


class Search(Judged):
    """How settings are drawn from the ranges of an arm, the same number for every arm."""

    sampler: Literal["tpe", "random", "gp", "cmaes", "qmc"] = "tpe"  # as Optuna names them
    trials: Annotated[int, Field(ge=1)]  # settings per arm
    round: Annotated[int, Field(ge=1)] | None = None  # of them, asked for at once; null is 16, or all where fewer
    seed: Annotated[int, Field(ge=0)] = 0  # of the sampler; another one is another search

    @model_validator(mode="after")
    def _rounds_fit(self) -> Self:
        if self.round is not None and self.round > self.trials:
            raise ValueError(f"a round of {self.round} settings is more than the {self.trials} trials of an arm")
        return self

    @property
    def at_once(self) -> int:
        """Settings per arm and round."""
        return self.round or min(ROUND, self.trials)


@dataclass(frozen=True, slots=True)
class Seeds:
    """Seeds that every setting is trained with, and fresh ones for the setting of each arm that is chosen on them."""

    select: tuple[int, ...]
    evaluate: tuple[int, ...] = ()
    judged: Judged = Judged()


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of learning under comparison, with its axes and its ranges."""

    label: str
    optimizer: Section
    methods: tuple[Section, ...]
    network: Section

    @property
    def ranges(self) -> dict[str, Range]:
        """What a search draws, such as `optimizer.step_size` and `l2.strength`."""
        parts = {"optimizer": self.optimizer} | {method.name: method for method in self.methods}
        return {f"{part}.{field}": drawn for part, section in parts.items() for field, drawn in section.ranges.items()}

    @property
    def size(self) -> int:
        """How many settings of optimizer and methods its lists stand for."""
        return math.prod(len(part.settings) for part in (self.optimizer, *self.methods))


@dataclass(frozen=True, slots=True)
class Spec:
    """A sweep at one scale, checked, with every default filled in."""

    name: str
    scale: str  # with what was changed of it: laptop+seeds=5
    question: str
    file: str  # where it was read, for messages
    text: str  # the file as it was
    scales: tuple[str, ...]  # all that the file offers, the file as written first
    workload: Section
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]  # that every setting is trained with
    evaluate: tuple[int, ...]  # fresh ones for the chosen setting of each arm; empty without that stage
    objective: str  # the metric that settings are chosen by
    window: Window  # the part of the tasks over which its mean is taken
    search: Search | None
    metrics: tuple[str, ...]  # sorted; the stream's online metric is always among them
    every: int  # tasks between two diagnostics
    probe: int  # examples they look at
    fresh_every: int  # tasks between two comparisons with a fresh network, where plasticity_gap is recorded
    dtype: str
    keep: str | dict[str, int]
    figures: tuple[str, ...]
    track: Track
    code: Mapping[str, str]  # the user's files, name -> source
    changed: Mapping[str, Any] = field(default_factory=dict)  # by --set: dotted key -> value

    @property
    def size(self) -> int:
        """Trials of all rounds, counting once per arm what two arms have in common."""
        return sum(self.places(arm) * (len(self.seeds) * self.settings(arm) + len(self.evaluate)) for arm in self.arms)

    def places(self, arm: Arm) -> int:
        """Settings of workload and network: an arm is chosen, and searched, in each of them by itself."""
        return len(self.workload.settings) * len(arm.network.settings)

    def settings(self, arm: Arm) -> int:
        """Settings of an arm in one place: those that are drawn, or the product of its lists."""
        return self.search.trials if self.search and arm.ranges else arm.size
