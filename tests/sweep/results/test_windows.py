"""Windows of tasks: one meaning in search and results."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from sweep.errors import InputError
from sweep.results import windows
from sweep.results.windows import Window


@pytest.mark.parametrize(
    ("text", "tasks", "bounds"),
    [
        ("last 10%", 20, (18, 20)),
        ("last 10%", 70, (63, 70)),  # 70 times 0.1 is more than 7 in floating point
        ("last 10%", 3, (2, 3)),
        ("first 10%", 20, (0, 2)),
        ("first 12.5%", 10, (0, 2)),
        ("last 25%", 10, (7, 10)),
        ("all", 7, (0, 7)),
        (0.25, 8, (6, 8)),  # as older records have it
    ],
)
def test_a_window_is_a_number_of_tasks(text: str | float, tasks: int, bounds: tuple[int, int]) -> None:
    window = windows.parse(text)
    assert window.bounds(tasks) == bounds and windows.parse(str(window)) == window


@pytest.mark.parametrize("text", ["last 0%", "first 101%", "25%", "last", "middle 10%", ""])
def test_what_is_no_window_is_said(text: str) -> None:
    with pytest.raises(InputError, match="must be the first or the last part of the tasks, such as `last 25%`"):
        windows.asked(text)


def observed(values: dict[str, list[float]]) -> pd.DataFrame:
    """A dense frame of trials with a value at every second of 8 tasks."""
    return pd.DataFrame(
        [
            {"trial": trial, "arm": "a", "group": "g", "seed": 0, "status": "done", "metric": "m"}
            | {"tasks": 8, "task": 2 * place, "step": 2 * place, "value": value}
            for trial, column in values.items()
            for place, value in enumerate(column)
        ]
    )


def test_the_mean_of_a_frame_is_that_of_its_trials() -> None:
    """Tasks 0, 2, 4 and 6 were measured; none is in the last eighth, so the nearest stands for it."""
    frame = observed({"whole": [1.0, 2.0, 3.0, 4.0], "lost": [1.0, math.nan, math.nan, math.nan]})
    for text, whole, lost in [
        ("last 50%", 3.5, math.nan),
        ("first 25%", 1.0, 1.0),
        ("all", 2.5, math.nan),
        ("last 12.5%", 4.0, math.nan),
        ("first 50%", 1.5, math.nan),
    ]:
        window = windows.parse(text)
        late = windows.late(frame, window).set_index("trial")["value"]
        np.testing.assert_equal(late.to_dict(), {"whole": whole, "lost": lost})
        assert window.mean(np.arange(0, 8, 2), np.arange(1.0, 5.0), 8) == whole
    assert Window("first", 10).mean(np.array([3, 5]), np.array([7.0, 9.0]), 10) == 7.0
