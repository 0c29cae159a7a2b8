"""A user's stream is tried before it is used; those that ship pass."""

from __future__ import annotations

import pytest

from workloads import streams
from workloads.checks.streams import check_stream, timetable
from workloads.errors import InputError
from workloads.extensions import load_code

pytestmark = pytest.mark.usefixtures("without_own_code")

SOURCE = """\
from dataclasses import dataclass
import numpy as np
from workloads.random import normal, uniform
from workloads.streams.base import EqualTasks

@dataclass(frozen=True, kw_only=True)
class Config:
    tasks: int = 3

class Own(EqualTasks):
    Config = Config
    name, semantics, default_every, default_probe = "own", 1, 1, 10
    loss, online_metric = "cross_entropy", "online_accuracy"

    def __init__(self, config, seed):
        super().__init__(tasks=config.tasks, steps_per_task=20, batch=2, boundaries="hidden")
        self.inputs, self.outputs, self.seed = 3, 4, seed

    def examples(self, task, first, count):
        at = first + np.arange(count)
        x = normal(self.seed, f"x/{task}", at, 3).astype(np.float32)
        y = (4 * uniform(self.seed, f"y/{task}", at, 1)[:, 0]).astype(np.int64)
        return x, y

STREAMS = {"own": Own}
"""
SQUARED = SOURCE.replace('"cross_entropy", "online_accuracy"', '"squared_error", "online_error"')
RETURNS = "return x, y"


def check(source: str) -> None:
    load_code({"own.py": source})
    check_stream(lambda seed: streams.made({"name": "own"}, seed), [4, 5, 7], "own.py", "own")


def test_what_is_right_passes() -> None:
    check(SOURCE)
    check(SQUARED.replace(RETURNS, "return x, np.stack([x[:, 0]] * 4, 1)"))


WRONG = {
    "targets without an axis": (SQUARED.replace(RETURNS, "return x, x[:, 0]"), r"y is float32 \(6, 2\), expected"),
    "targets too wide": (SQUARED.replace(RETURNS, "return x, np.ones((count, 5))"), r"outputs\) = \(6, 2, 4\)"),
    "classes outside": (SOURCE.replace("(4 *", "(5 *"), "y has classes 0 to 4; with 4 outputs they are 0 to 3"),
    "classes of int32": (
        SOURCE.replace("int64", "int32"),
        r"y is int32 \(6, 2\), expected int64 class numbers \(6, 2\)",
    ),
    "narrow inputs": (SOURCE.replace("at, 3)", "at, 2)"), r"x is float32 \(6, 2, 2\), expected float32"),
    "whole inputs": (SOURCE.replace("float32", "int8"), r"x is int8 \(6, 2, 3\), expected float32"),
    "not a number": (SOURCE.replace(RETURNS, "return x * np.nan, y"), "x has values that are not finite"),
    "other inputs later": (SOURCE.replace(RETURNS, "self.seed += 1\n        return x, y"), "when they are asked again"),
    "a generator": (SOURCE.replace(RETURNS, "return np.random.rand(count, 3), y"), "when they are asked again"),
    "by the call": (
        SOURCE.replace("np.arange(count)", "np.arange(count) * count"),
        "asked one by one are other examples",
    ),
    "by the stream": (SOURCE.replace("= 3, 4, seed", "= 3, 4, id(self) % 9973"), "another stream of the same seed"),
    "no batch, no inputs": (
        SOURCE.replace("batch=2", "batch=0").replace("= 3, 4, seed", "= None, 4, seed"),
        "inputs is None, batch is 0: a whole number from 1 on is expected",
    ),
    "it raises": (SOURCE.replace(RETURNS, "raise KeyError('x')"), "own.py:23: KeyError: 'x'"),
    "other tasks by seed": (
        SOURCE.replace("tasks=config.tasks", "tasks=seed"),
        "tasks is 4 for seed 4 and 5 for seed 5",
    ),
    "other outputs by seed": (SOURCE.replace("= 3, 4,", "= 3, seed,"), "outputs is 4 for seed 4 and 5 for seed 5"),
    "tasks that do not fit": (
        SOURCE + "Own.task_of = lambda self, step: 0\n",
        r"task_of\(20\) is 0, and by task_start",
    ),
}


@pytest.mark.parametrize(("source", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(source: str, said: str) -> None:
    assert source not in (SOURCE, SQUARED)
    with pytest.raises(InputError, match=said) as raised:
        check(source)
    assert str(raised.value).startswith("own.py:")


def test_tasks_of_other_lengths_are_another_timetable() -> None:
    """They may differ by seed: such seeds go to packs of their own."""
    source = SOURCE.replace("steps_per_task=20", "steps_per_task=20 + seed % 2")
    check(source)
    made = [streams.made({"name": "own"}, seed) for seed in (4, 6, 5)]
    assert timetable(made[0]) == timetable(made[1]) != timetable(made[2])


SMALL = {
    "slowly_changing_regression": {},
    "permuted_mnist": {"dataset": "digits", "tasks": 3, "examples_per_task": 10},
    "continual_imagenet": {"dataset": "digits", "epochs": 2, "batch": 10, "train_per_class": 20, "tasks": 5},
    "incremental_cifar": {"dataset": "digits", "classes": 4, "classes_per_stage": 2, "epochs": 2, "batch": 10}
    | {"train_per_class": 20, "validation_per_class": 5},
    "relabelled": {"dataset": "digits", "examples": 20, "batch": 5, "epochs": 2, "tasks": 3},
    "lipschitz_regression": {},
    "warm_start": {"dataset": "digits", "examples": 40, "batch": 10, "epochs": 4},
}


@pytest.mark.parametrize("name", streams.STREAMS)
def test_every_stream_that_ships_is_accepted(name: str) -> None:
    check_stream(lambda seed: streams.made({"name": name, **SMALL[name]}, seed), [0, 1], f"{name}.py", name)
