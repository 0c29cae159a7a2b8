"""What a sweep file means: a sweep at one scale, its arms, and what of it goes to MLflow.

Plain values that every later stage takes; `sweep.spec.grammar` and `sweep.spec.meaning` say which files mean one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sweep.spec.axes import Section


class Strict(BaseModel):
    """Text enters here: unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Track(Strict):
    """How much of each trial goes to MLflow; the ledger has everything."""

    points: Annotated[int, Field(ge=1)] = 50  # per curve
    metrics: Annotated[int, Field(ge=1)] = 6  # per trial
    trials: bool = True  # false: runs for groups only


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of learning under comparison, with its axes."""

    label: str
    optimizer: Section
    methods: tuple[Section, ...]
    network: Section


@dataclass(frozen=True, slots=True)
class Spec:
    """A sweep at one scale, checked, with every default filled in."""

    name: str
    scale: str
    question: str
    file: str  # where it was read, for messages
    text: str  # the file as it was
    scales: tuple[str, ...]  # all that the file offers, the file as written first
    workload: Section
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]  # sorted; the stream's online metric is always among them
    every: int  # tasks between two diagnostics
    probe: int  # examples they look at
    fresh_every: int  # tasks between two comparisons with a fresh network, where plasticity_gap is recorded
    dtype: str
    keep: str | dict[str, int]
    figures: tuple[str, ...]
    track: Track
    code: Mapping[str, str]  # the user's files, name -> source

    @property
    def size(self) -> int:
        """Trials, counting once per arm what two arms have in common."""
        return len(self.seeds) * len(self.workload.settings) * sum(arm_size(arm) for arm in self.arms)


def arm_size(arm: Arm) -> int:
    """How many settings an arm stands for."""
    return math.prod(len(part.settings) for part in (arm.network, arm.optimizer, *arm.methods))
