"""The part of its tasks that a trial is judged by, and its mean over it: the one meaning of `last 10%`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sweep.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

WRITTEN = re.compile(r"(first|last) (\d+(?:\.\d+)?) ?%")
MEANT = "the first or the last part of the tasks, such as `last 25%` or `first 10%`, or `all`"


@dataclass(frozen=True, slots=True)
class Window:
    """The first or the last so many percent of the tasks, one task at least; 100 % are all of them."""

    end: Literal["first", "last"]
    percent: float

    def __str__(self) -> str:
        """As it is written in a sweep file and on the command line."""
        return "all" if self.percent == 100 else f"{self.end} {self.percent:g}%"

    @property
    def words(self) -> str:
        """For people, in a sentence."""
        if self.percent == 100:
            return "all of the tasks"
        part = "tenth" if self.percent == 10 else f"{self.percent:g}%"
        return f"the {self.end} {part} of the tasks"

    def length(self, tasks: int) -> int:
        """How many of so many tasks it holds."""
        return math.ceil(tasks * self.percent / 100)

    def bounds(self, tasks: int) -> tuple[int, int]:
        """The first task inside and the first behind it."""
        length = self.length(tasks)
        return (0, length) if self.end == "first" else (tasks - length, tasks)

    def mean(self, task: np.ndarray, value: np.ndarray, tasks: int) -> float:
        """The mean of what was measured in it, of a trial of so many tasks; where nothing was, the nearest value.

        task is sorted and not empty.
        """
        begin, stop = self.bounds(tasks)
        inside = value[(task >= begin) & (task < stop)]
        if len(inside):
            return float(inside.mean())
        return float(value[-1] if self.end == "last" else value[task >= stop][0])


LATE = Window("last", 10)  # what arms are shown by and their settings chosen by, where nothing else is said


def parse(text: Any) -> Window:
    """`last 25%`, `first 10%`, `all`; a number is the share of the last tasks, as older records have it.

    Raises ValueError.
    """
    if text == "all":
        return Window("last", 100)
    if isinstance(text, float):
        return Window("last", round(100 * text, 6))
    written = WRITTEN.fullmatch(text.strip()) if isinstance(text, str) else None
    if written is None or not 0 < float(written[2]) <= 100:
        raise ValueError(f"must be {MEANT}")
    return Window("first" if written[1] == "first" else "last", float(written[2]))


def asked(text: str) -> Window:
    """As `parse`, of what was asked for on the command line or in Python. Raises InputError."""
    try:
        return parse(text)
    except ValueError as error:
        raise InputError(f"window {text!r}: {error}") from None


def within(values: pd.DataFrame, window: Window) -> pd.Series[bool]:
    """Which rows of an `observed` frame are of tasks inside the window of their trial."""
    bounds = {tasks: window.bounds(int(tasks)) for tasks in values["tasks"].unique()}
    begin, stop = (values["tasks"].map({tasks: bound[side] for tasks, bound in bounds.items()}) for side in (0, 1))
    return (values["task"] >= begin) & (values["task"] < stop)


def late(values: pd.DataFrame, window: Window = LATE) -> pd.DataFrame:
    """Each trial's mean over a window of its planned tasks, from an `observed` frame, as `Window.mean`.

    NaN where it diverged before the window's end. Columns trial, arm, group, seed, status, metric, value.
    """
    keys = ["trial", "arm", "group", "seed", "status", "metric"]
    inside = within(values, window)
    measured = inside.groupby([values["trial"], values["arm"]]).transform("any")
    if not measured.all():
        tasks = values[~measured].groupby(["trial", "arm"])["task"]
        inside[tasks.idxmax() if window.end == "last" else tasks.idxmin()] = True
    grouped = values[inside].groupby(keys, sort=False)["value"]
    means: pd.Series[float] = grouped.mean().where(grouped.count() == grouped.size())
    return means.reset_index()
