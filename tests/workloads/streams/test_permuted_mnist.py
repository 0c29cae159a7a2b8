"""Permuted images against a loop over examples, with the digits that scikit-learn brings."""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest

from workloads.data import front
from workloads.data.catalogue import DATASETS
from workloads.random import permutation
from workloads.streams.base import pictures_of
from workloads.streams.gradual import still_old
from workloads.streams.permuted_mnist import PermutedMNIST, PermutedMNISTConfig


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.getbasetemp() / "digits"  # one for the session: digits are read once
    monkeypatch.setenv("PLIANT_DATA", str(folder))
    return folder


def stream(seed: int = 3, **settings: object) -> PermutedMNIST:
    return PermutedMNIST(PermutedMNISTConfig(**{"dataset": "digits", "tasks": 4, **settings}), seed)


def test_shapes_types_and_facts() -> None:
    made = stream(examples_per_task=300, batch=3)
    x, y = made.batches(95, 10)
    assert x.shape == (10, 3, 64) and x.dtype == np.float32
    assert y.shape == (10, 3) and y.dtype == np.int64
    assert x.min() == 0 and x.max() == 1
    assert (made.inputs, made.outputs, made.batch, made.tasks) == (64, 10, 3, 4)
    assert made.task_of(99) == 0 and made.task_of(100) == 1 and made.task_start(4) == 400


def test_every_example_is_the_image_with_its_pixels_permuted() -> None:
    made = stream(seed=5, examples_per_task=40)
    digits = front.load("digits")
    x, y = made.batches(0, 160)
    for step in (0, 1, 39, 40, 77, 159):
        task, place = divmod(step, 40)
        image = permutation(5, "stream/image_order", task, 1500)[place]
        pixels = permutation(5, "stream/pixel_order", task, 64)
        expected = [digits.images[image, pixel] / 16 for pixel in pixels]  # sixteenths: exact in float32
        assert x[step, 0].tolist() == expected
        assert y[step, 0] == digits.labels[image]


def test_a_whole_task_shows_every_image_once() -> None:
    digits = front.load("digits")
    x, y = stream(examples_per_task=1500).batches(1500, 1500)
    assert sorted(y[:, 0]) == sorted(digits.labels)
    assert sorted(x.sum((1, 2)) * 16) == sorted(digits.images.sum(1))
    # Task 0 is permuted as well: a pixel that is dark in every image has moved.
    dark = (digits.images == 0).all(0)
    first = stream(examples_per_task=1500).batches(0, 1500)[0]
    assert dark.any() and not np.array_equal((first[:, 0] == 0).all(0), dark)


def test_tasks_and_seeds_are_permuted_differently() -> None:
    made = stream(examples_per_task=100)
    orders = [made.orders(task) for task in range(4)] + [stream(seed=4).orders(0)]
    for which in (0, 1):
        assert len({tuple(order[which]) for order in orders}) == 5


def test_longer_tasks_start_the_same_order_again_and_shorter_ones_stop_early() -> None:
    whole = stream(examples_per_task=1500).batches(0, 1500)
    long = stream(examples_per_task=3200).batches(0, 3200)
    short = stream(examples_per_task=200).batches(0, 200)
    for part, of_long, of_short in zip(whole, long, short, strict=True):
        np.testing.assert_array_equal(of_long, np.concatenate([part, part, part[:200]]))
        np.testing.assert_array_equal(of_short, part[:200])


def test_same_values_however_asked() -> None:
    made = stream(examples_per_task=120, batch=2)
    x, y = made.batches(0, 240)
    for start, count in ((200, 40), (0, 1), (59, 2), (30, 180), (61, 1)):
        part = made.batches(start, count)
        np.testing.assert_array_equal(part[0], x[start : start + count])
        np.testing.assert_array_equal(part[1], y[start : start + count])


def test_probe_is_the_beginning_of_the_task_and_starts_over() -> None:
    made = stream(examples_per_task=120, batch=2)
    x, y = made.probe(1, 150)
    seen_x, seen_y = (part.reshape(120, *part.shape[2:]) for part in made.batches(60, 60))
    np.testing.assert_array_equal(x, np.concatenate([seen_x, seen_x[:30]]))
    np.testing.assert_array_equal(y, np.concatenate([seen_y, seen_y[:30]]))


def test_sizes_are_known_without_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLIANT_DATA", str(tmp_path / "nothing"))
    made = PermutedMNIST(PermutedMNISTConfig(batch=4), 0)
    assert (made.inputs, made.outputs, made.task_start(made.tasks)) == (784, 10, 12_000_000)
    assert not (tmp_path / "nothing").exists()


def test_batch_must_divide_the_task() -> None:
    with pytest.raises(ValueError, match="batch 7 must divide examples_per_task 100"):
        PermutedMNISTConfig(examples_per_task=100, batch=7)


def test_every_grey_dataset_is_offered() -> None:
    grey = tuple(name for name, known in DATASETS.items() if known.shape[0] == 1)
    assert get_args(get_type_hints(PermutedMNISTConfig)["dataset"]) == grey


def test_gradual_change_mixes_two_orders_of_the_pixels() -> None:
    sudden, made = stream(examples_per_task=120, batch=2), stream(examples_per_task=120, batch=2, gradual=30)
    np.testing.assert_array_equal(made.batches(0, 60)[0], sudden.batches(0, 60)[0])
    x, y = (part.reshape(120, *part.shape[2:]) for part in made.batches(120, 60))
    pure, labels = (part.reshape(120, *part.shape[2:]) for part in sudden.batches(120, 60))
    np.testing.assert_array_equal(y, labels)
    old = still_old(3, 2, 0, 120, batch=2, gradual=30)
    assert 15 < len(old) < 45
    unpermuted = pure[old][:, np.argsort(made.orders(2)[1])]
    np.testing.assert_array_equal(x[old], unpermuted[:, made.orders(1)[1]])
    new = np.setdiff1d(np.arange(120), old)
    np.testing.assert_array_equal(x[new], pure[new])
    np.testing.assert_array_equal(made.batches(133, 9)[0].reshape(18, 64), x[26:44])


def test_as_pictures_it_is_the_same_wherever_tasks_do_not_mix() -> None:
    made, digits = stream(examples_per_task=120, batch=2, gradual=10), front.load("digits")
    for start, count in ((0, 60), (3, 4), (70, 50), (119, 1)):
        found = pictures_of(made, start, count)
        assert found is not None and found.pixels is not None and found.dataset == "digits"
        x, y = made.batches(start, count)
        np.testing.assert_array_equal(digits.images[found.shown][..., found.pixels] / np.float32(16), x)
        np.testing.assert_array_equal(digits.labels[found.shown], y)
    for start, count in ((60, 1), (69, 5), (59, 2), (230, 11)):
        assert pictures_of(made, start, count) is None


def test_a_change_must_end_before_the_next() -> None:
    with pytest.raises(ValueError, match="gradual 51: at most the 50 steps of a task"):
        PermutedMNISTConfig(examples_per_task=100, batch=2, gradual=51)
