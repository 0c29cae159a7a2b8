"""Pictures made from numbers of images, on the CPU, against the stream's own batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from workloads.streams.base import pictures_of, rows_of
from workloads.streams.on_device import batches_on, resident
from workloads.streams.permuted_mnist import PermutedMNIST, PermutedMNISTConfig
from workloads.streams.relabelled import Relabelled, RelabelledConfig
from workloads.streams.slowly_changing_regression import SlowlyChangingRegression, SlowlyChangingRegressionConfig

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder: Path = tmp_path_factory.getbasetemp() / "digits"  # one for the session: digits are read once
    monkeypatch.setenv("PLIANT_DATA", str(folder))


def streams(**settings: object) -> list[PermutedMNIST]:
    config = PermutedMNISTConfig(**{"dataset": "digits", "tasks": 4, "examples_per_task": 300, **settings})  # type: ignore[arg-type]
    return [PermutedMNIST(config, seed) for seed in (3, 5, 8)]


@pytest.mark.parametrize(
    ("settings", "start", "count"),
    [
        ({}, 0, 300),
        ({}, 417, 20),
        ({"batch": 3}, 105, 95),
        ({"examples_per_task": 4000}, 5400, 200),  # over the end
        ({"scale": "symmetric"}, 0, 20),
    ],
    ids=str,
)
def test_made_on_a_device_they_have_the_bits_of_the_streams_batches(
    settings: dict[str, Any], start: int, count: int
) -> None:
    made = streams(**settings)
    found = batches_on(CPU, made, start, count)
    assert found is not None
    for i, stream in enumerate(made):
        for ours, wanted in zip(found, stream.batches(start, count), strict=True):
            assert ours.dtype == torch.from_numpy(wanted).dtype
            assert ours[:, i].equal(torch.from_numpy(wanted))


def relabelled(change: str, **settings: object) -> list[Relabelled]:
    given = {"dataset": "digits", "examples": 100, "epochs": 3, "batch": 5, "tasks": 3, "change": change, **settings}
    return [Relabelled(RelabelledConfig(**given), seed) for seed in (3, 5, 8)]  # type: ignore[arg-type]


@pytest.mark.parametrize("change", ["random_labels", "shuffled_labels", "permuted_pixels"])
@pytest.mark.parametrize(
    ("settings", "start", "count"),
    [({}, 0, 60), ({}, 77, 40), ({"gradual": 10}, 70, 50), ({"scale": "standard", "classes": 4}, 61, 30)],
    ids=str,
)
def test_tasks_with_names_of_their_own_are_made_there_too(
    change: str, settings: dict[str, Any], start: int, count: int
) -> None:
    made = relabelled(change, **settings)
    found = batches_on(CPU, made, start, count)
    assert found is not None
    for i, stream in enumerate(made):
        for ours, wanted in zip(found, stream.batches(start, count), strict=True):
            assert ours.dtype == torch.from_numpy(wanted).dtype
            assert ours[:, i].equal(torch.from_numpy(wanted))


def test_where_tasks_mix_or_classes_lie_apart_relabelled_pictures_are_left_to_their_batches() -> None:
    for start, count in ((59, 2), (-1, 1), (170, 11)):
        assert batches_on(CPU, relabelled("random_labels"), start, count) is None
    assert batches_on(CPU, relabelled("random_labels", gradual=10), 69, 5) is None
    assert batches_on(CPU, relabelled("random_labels", dataset="glyphs", classes=2), 0, 5) is None
    assert batches_on(CPU, relabelled("random_labels", dataset="cifar10", scale="standard"), 0, 5) is None


def test_the_bytes_lie_there_once() -> None:
    assert resident("digits", CPU)[0] is resident("digits", CPU)[0]
    assert resident("digits", CPU)[0].dtype == torch.uint8


def test_steps_of_several_tasks_and_streams_of_other_data_are_left_to_their_batches() -> None:
    assert batches_on(CPU, streams(), 299, 2) is None
    assert batches_on(CPU, streams(), -1, 1) is None
    assert batches_on(CPU, streams(), 1199, 2) is None
    regression = SlowlyChangingRegression(SlowlyChangingRegressionConfig(), 0)
    assert batches_on(CPU, [regression], 0, 5) is None
    assert rows_of(regression, 0, 5) is not None


def test_a_stream_that_inherits_but_makes_its_own_examples_is_asked_for_those() -> None:
    class Dark(PermutedMNIST):
        def examples(self, task: int, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
            x, y = super().examples(task, first, count)
            return 1 - x, y

    config = PermutedMNISTConfig(dataset="digits", tasks=4, examples_per_task=300)
    assert pictures_of(PermutedMNIST(config, 0), 0, 5) is not None
    assert pictures_of(Dark(config, 0), 0, 5) is None
