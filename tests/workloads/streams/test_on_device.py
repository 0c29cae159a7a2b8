"""Pictures made from numbers of images, on the CPU, against the stream's own batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from workloads.streams.base import pictures_of, rows_of
from workloads.streams.continual_imagenet import ContinualImageNet, ContinualImageNetConfig
from workloads.streams.on_device import OnDevice, resident
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


def same_bits(made: Sequence[Any], start: int, count: int) -> None:
    """What is made of these streams on a device is what they give themselves."""
    found = OnDevice(CPU).batches(made, start, count)
    assert found is not None
    for i, stream in enumerate(made):
        for ours, wanted in zip(found, stream.batches(start, count), strict=True):
            assert ours.dtype == torch.from_numpy(wanted).dtype
            assert ours[:, i].equal(torch.from_numpy(wanted))


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
    same_bits(streams(**settings), start, count)


def relabelled(change: str, **settings: object) -> list[Relabelled]:
    given = {"dataset": "digits", "examples": 100, "epochs": 3, "batch": 5, "tasks": 3, "change": change, **settings}
    return [Relabelled(RelabelledConfig(**given), seed) for seed in (3, 5, 8)]  # type: ignore[arg-type]


def pairs(**settings: object) -> list[ContinualImageNet]:
    given = {"dataset": "digits", "train_per_class": 50, "epochs": 3, "batch": 5, "tasks": 3, **settings}
    return [ContinualImageNet(ContinualImageNetConfig(**given), seed) for seed in (3, 5, 8)]  # type: ignore[arg-type]


OWN = [relabelled("random_labels"), relabelled("shuffled_labels"), relabelled("permuted_pixels"), pairs()]


@pytest.mark.parametrize(
    ("made", "start", "count"),
    [
        *[(made, start, count) for made in OWN for start, count in ((0, 60), (77, 40))],
        (relabelled("permuted_pixels", gradual=10), 70, 50),
        (relabelled("random_labels", scale="standard", classes=4), 61, 30),
        (pairs(scale="symmetric"), 61, 30),
    ],
)
def test_tasks_with_images_and_labels_of_their_own_are_made_there_too(
    made: list[Relabelled] | list[ContinualImageNet], start: int, count: int
) -> None:
    same_bits(made, start, count)


def test_where_tasks_mix_or_channels_are_scaled_apart_they_are_left_to_their_batches() -> None:
    for start, count in ((59, 2), (-1, 1), (170, 11)):
        assert all(OnDevice(CPU).batches(made, start, count) is None for made in OWN)
    assert OnDevice(CPU).batches(relabelled("random_labels", gradual=10), 69, 5) is None
    assert OnDevice(CPU).batches(relabelled("random_labels", dataset="cifar10", scale="standard"), 0, 5) is None
    assert OnDevice(CPU).batches(pairs(dataset="glyphs", scale="standard"), 0, 5) is None


def test_a_tasks_images_are_sent_once_and_leave_with_it() -> None:
    made, on_device = pairs(), OnDevice(CPU)
    on_device.batches(made, 0, 5)
    first = dict(on_device.held)
    on_device.batches(made, 5, 55)
    assert [on_device.held[key] is first[key] for key in first] == [True] * 3
    on_device.batches(made, 60, 5)
    assert not {id(images) for images, _ in first.values()} & set(on_device.held)
    shared = OnDevice(CPU)
    shared.batches(relabelled("random_labels"), 0, 5)
    assert len(shared.held) == 1  # of three seeds


def test_the_bytes_lie_there_once() -> None:
    assert resident("digits", CPU)[0] is resident("digits", CPU)[0]
    assert resident("digits", CPU)[0].dtype == torch.uint8


def test_steps_of_several_tasks_and_streams_of_other_data_are_left_to_their_batches() -> None:
    assert OnDevice(CPU).batches(streams(), 299, 2) is None
    assert OnDevice(CPU).batches(streams(), -1, 1) is None
    assert OnDevice(CPU).batches(streams(), 1199, 2) is None
    regression = SlowlyChangingRegression(SlowlyChangingRegressionConfig(), 0)
    assert OnDevice(CPU).batches([regression], 0, 5) is None
    assert rows_of(regression, 0, 5) is not None


def test_a_stream_that_inherits_but_makes_its_own_examples_is_asked_for_those() -> None:
    class Dark(PermutedMNIST):
        def examples(self, task: int, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
            x, y = super().examples(task, first, count)
            return 1 - x, y

    config = PermutedMNISTConfig(dataset="digits", tasks=4, examples_per_task=300)
    assert pictures_of(PermutedMNIST(config, 0), 0, 5) is not None
    assert pictures_of(Dark(config, 0), 0, 5) is None
