"""What a setting is called, worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweep.results import naming
from sweep.spec.reading import parse
from sweep.trials import expand

HEAD = "workload: {name: slowly_changing_regression}\nseeds: 2\narms:\n"


@pytest.mark.parametrize(
    ("arm", "names"),
    [
        ("adam: {optimizer: adam, step_size: [0.01, 1e-4]}", {"adam 0.01", "adam 1e-4"}),
        ("sgd: {optimizer: sgd}", {"sgd"}),
        (
            "continual_backprop: {optimizer: sgd, continual_backprop: {replacement_rate: [1e-4, 1e-3]}}",
            {"continual backprop, replacement rate 1e-4", "continual backprop, replacement rate 0.001"},
        ),
        (
            "adamo: {optimizer: adamo, isometry_strength: [0, 0.1], step_size: [0.01, 0.003]}",
            {f"adamo {size}, isometry strength {strength}" for size in ("0.01", "0.003") for strength in ("0", "0.1")},
        ),
        ("l2: {optimizer: sgd, l2: {strength: [0.1, 0.2]}}", {"l2, strength 0.1", "l2, strength 0.2"}),
        ("mine: {optimizer: sgd, l2: {strength: [0.1, 0.2]}}", {"mine, l2 strength 0.1", "mine, l2 strength 0.2"}),
        (
            "sgd: {optimizer: sgd, network: {depth: [0, 1], width: [5, 10], activation: tanh}}",
            {"sgd, linear", "sgd, width 5, depth 1, tanh", "sgd, width 10, depth 1, tanh"},
        ),
        (
            "adamo: {optimizer: adamo, isometry_step_size: [null, 0.5]}",
            {"adamo", "adamo, isometry step size 0.5"},
        ),
    ],
)
def test_a_setting_is_named_by_what_varies_in_its_arm(arm: str, names: set[str]) -> None:
    found = naming.names(expand(parse(f"{HEAD}  {arm}\n", Path("mine.yaml"))))
    assert set(found.values()) == names and len(found) == len(names)


def test_a_setting_of_two_arms_has_a_name_in_each() -> None:
    arms = "  default: {optimizer: sgd}\n  tuned: {optimizer: sgd, step_size: [0.01, 0.001]}\n"
    assert list(naming.names(expand(parse(HEAD + arms, Path("mine.yaml")))).values()) == [
        "default", "tuned 0.01", "tuned 0.001"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.001, "0.001"), (1e-4, "1e-4"), (0, "0"), (1e6, "1e6"), (5.0, "5"), (3e-5, "3e-5"), (float("inf"), "inf")],
)
def test_numbers_as_people_write_them(value: float, text: str) -> None:
    assert naming.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.01234, "+0.0123"),
        (1113.7, "+1110"),
        (-44512.0, "-44500"),
        (123.4, "+123"),
        (4.5e7, "+4.5e+07"),
        (1e-5, "+1e-05"),
    ],
)
def test_measured_numbers_are_whole_in_the_thousands(value: float, text: str) -> None:
    """As returns of an episode are."""
    assert naming.rounded(value, sign="+") == text


def test_fields_that_are_no_scalars_can_be_counted() -> None:
    config: dict[str, Any] = {"workload": {"name": "mine", "tasks": (1, 2)}, "network": {}, "optimizer": {}}
    assert dict(naming.fields({**config, "methods": {"m": {"a": None}}})) == {
        "workload.name": "mine", "workload.tasks": "[1, 2]", "m.a": None
    }  # fmt: skip
