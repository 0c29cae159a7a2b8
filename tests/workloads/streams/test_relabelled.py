"""The same pictures by other names: which labels, which pixels, and how one task turns into the next."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from marked_images import MarkedImages, marks

from workloads.random import integers, permutation
from workloads.streams.gradual import still_old
from workloads.streams.relabelled import Relabelled, RelabelledConfig

pytestmark = pytest.mark.usefixtures("marked")
CHANGES = ("random_labels", "shuffled_labels", "permuted_pixels")


def stream(seed: int = 3, **settings: object) -> Relabelled:
    small = {"dataset": "glyphs", "examples": 60, "tasks": 4, "epochs": 2, "batch": 6}
    return Relabelled(RelabelledConfig(**{**small, **settings}), seed)


def task_of(made: Relabelled, task: int) -> tuple[np.ndarray, np.ndarray]:
    """All examples of a task."""
    x, y = made.batches(20 * task, 20)
    return x.reshape(120, -1), y.ravel()


def test_sizes_need_no_images(marked: MarkedImages) -> None:
    made = Relabelled(RelabelledConfig(), 0)
    assert made.task_start(1) == 75 * 50 and made.tasks == 50
    assert made.shape == (1, 28, 28) and (made.inputs, made.outputs, made.batch) == (784, 10, 16)
    assert not made.tested and made.headline is None and not made.boundaries_shown
    assert RelabelledConfig(dataset="glyphs", examples=None, batch=8).examples == 120
    assert marked.asked == []


@pytest.mark.parametrize("change", CHANGES)
def test_an_epoch_shows_every_picture_once(change: str, marked: MarkedImages) -> None:
    made = stream(change=change)
    pictures = np.concatenate([marked.train(label)[:6] for label in range(10)]) / np.float32(255)
    for task in (0, 1):
        x, y = task_of(made, task)
        if change == "permuted_pixels":
            x = x[:, np.argsort(permutation(3, "stream/pixel_order", task, 192))]
        for epoch in (x[:60], x[60:]):
            assert sorted(map(bytes, epoch)) == sorted(map(bytes, pictures))
        assert not np.array_equal(x[:60], x[60:])
        named = dict(zip(marks(x), y.tolist(), strict=True))
        assert [named[seen] for seen in marks(x)] == y.tolist()  # a picture keeps its label within a task


def test_random_labels_are_drawn_for_every_picture_and_task() -> None:
    made = stream()
    labels = [
        dict(zip(*(part.tolist() for part in (np.array(marks(x)) @ [100, 1], y)), strict=True))
        for x, y in (task_of(made, task) for task in range(3))
    ]
    assert list(labels[1].values()) != list(labels[2].values())
    drawn = integers(3, "stream/labels", 1, 60, 10)
    assert [labels[1][100 * (k // 6) + k % 6] for k in range(60)] == drawn.tolist()
    many = stream(examples=120, tasks=50)
    counts = np.bincount(np.concatenate([many.labels(task) for task in range(50)]), minlength=10)
    assert len(counts) == 10 and np.abs(counts - 600).max() < 95  # four standard errors


def test_shuffled_labels_are_a_new_naming_of_the_classes() -> None:
    made = stream(change="shuffled_labels")
    namings = []
    for task in range(4):
        x, y = task_of(made, task)
        naming = {label: set() for label in range(10)}
        for (label, _), name in zip(marks(x), y.tolist(), strict=True):
            naming[label].add(name)
        assert all(len(names) == 1 for names in naming.values())
        namings.append(tuple(name for label in range(10) for name in naming[label]))
        assert sorted(namings[-1]) == list(range(10))
        assert namings[-1] == tuple(permutation(3, "stream/label_order", task, 10))
        assert Counter(y.tolist()) == dict.fromkeys(range(10), 12)
    assert len(set(namings)) == 4


def test_permuted_pixels_keep_the_labels(marked: MarkedImages) -> None:
    made = stream(change="permuted_pixels")
    orders = [permutation(3, "stream/pixel_order", task, 192) for task in range(2)]
    assert orders[0].tolist() != orders[1].tolist()
    for task, order in enumerate(orders):
        x, y = task_of(made, task)
        back = x[:, np.argsort(order)]
        assert [label for label, _ in marks(back)] == y.tolist()
    standard = stream(change="permuted_pixels", scale="standard")
    np.testing.assert_allclose(task_of(standard, 1)[0], (x - 0.5) / 0.25, atol=1e-6)


@pytest.mark.parametrize("change", CHANGES)
def test_gradual_change_mixes_the_two_tasks(change: str) -> None:
    sudden, made = stream(change=change), stream(change=change, gradual=15)
    np.testing.assert_array_equal(task_of(made, 0)[0], task_of(sudden, 0)[0])
    np.testing.assert_array_equal(task_of(made, 0)[1], task_of(sudden, 0)[1])
    old = still_old(3, 2, 0, 120, batch=6, gradual=15)
    assert 20 < len(old) < 70
    new = np.setdiff1d(np.arange(120), old)
    (x, y), (sudden_x, sudden_y) = task_of(made, 2), task_of(sudden, 2)
    np.testing.assert_array_equal(x[new], sudden_x[new])
    np.testing.assert_array_equal(y[new], sudden_y[new])
    shown = sudden.epochs.shown(2, 0, 120, 60)
    expected_x, expected_y = sudden.as_in(1, shown[old])
    np.testing.assert_array_equal(x[old], expected_x)
    np.testing.assert_array_equal(y[old], expected_y)
    assert not (np.array_equal(x, sudden_x) and np.array_equal(y, sudden_y))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("gradual", [0, 13])
def test_same_values_however_asked(change: str, gradual: int) -> None:
    settings = {"change": change, "gradual": gradual}
    made = stream(**settings)
    x, y = made.batches(0, 80)
    for start, count in ((79, 1), (0, 1), (19, 2), (7, 60), (21, 5), (33, 40)):
        for asked in (made, stream(**settings)):
            part = asked.batches(start, count)
            np.testing.assert_array_equal(part[0], x[start : start + count])
            np.testing.assert_array_equal(part[1], y[start : start + count])
    assert not np.array_equal(stream(seed=4, **settings).batches(0, 2)[0], x[:2])


def test_images_are_shared_by_all_seeds(marked: MarkedImages) -> None:
    for seed in range(5):
        stream(seed).batches(0, 3)
    assert marked.asked == list(range(10))


def test_fewer_classes() -> None:
    made = stream(classes=2, examples=24)
    assert made.outputs == 2
    assert {label for label, _ in marks(made.batches(0, 8)[0].reshape(48, -1))} == {0, 1}


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"batch": 7}, "batch 7 must divide examples, which are 60"),
        ({"examples": 61}, "examples 61: must be a multiple of the 10 classes and at most 120"),
        ({"classes": 11}, "classes 11: glyphs has 10"),
        ({"gradual": 21}, "gradual 21: at most the 20 steps of a task"),
    ],
)
def test_mistakes(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stream(**settings)
