"""Pairs of classes in a row: which, in which order, how often shown and tested."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from marked_images import MarkedImages, marks

from workloads.random import permutation
from workloads.streams.continual_imagenet import ContinualImageNet, ContinualImageNetConfig

pytestmark = pytest.mark.usefixtures("marked")


def stream(seed: int = 3, **settings: object) -> ContinualImageNet:
    small = {"dataset": "glyphs", "tasks": 12, "epochs": 3, "batch": 6}
    return ContinualImageNet(ContinualImageNetConfig(**{**small, **settings}), seed)


def test_the_defaults_are_the_papers_and_need_no_images(marked: MarkedImages) -> None:
    made = ContinualImageNet(ContinualImageNetConfig(), 0)
    assert made.task_start(1) == 3000 and made.tasks == 2000 and made.batch == 100
    assert made.shape == (3, 32, 32) and made.inputs == 3072 and made.outputs == 2
    assert made.evaluations(1) == (6000,) and made.boundaries_shown
    assert (made.config.classes, made.config.train_per_class) == (1000, 600)
    assert made.config == ContinualImageNetConfig(classes=1000, train_per_class=600)
    assert made.pair(0) == made.pair(500) and marked.asked == []


def test_pairs_are_entries_of_an_order_of_the_classes() -> None:
    order = permutation(3, "stream/class_order", 0, 10).tolist()
    recurring, fresh = stream(), stream(pairs="fresh")
    pairs = [recurring.pair(task) for task in range(12)]
    assert pairs[:5] == [tuple(order[2 * t : 2 * t + 2]) for t in range(5)]
    assert pairs[5:10] == pairs[:5] and pairs[10:] == pairs[:2]
    again = [fresh.pair(task) for task in range(12)]
    assert again[:5] == pairs[:5] and again[5:10] != pairs[:5]
    assert sorted(c for pair in again[5:10] for c in pair) == list(range(10))
    assert [fresh.pair(task) for task in (7, 0)] == [again[7], again[0]]
    assert [stream(seed=4).pair(task) for task in range(5)] != pairs[:5]


def test_an_odd_number_of_classes_leaves_one_out() -> None:
    made = stream(classes=5, pairs="fresh")
    for sweep in range(6):
        pair = [made.pair(2 * sweep), made.pair(2 * sweep + 1)]
        assert len({c for two in pair for c in two}) == 4


def test_an_epoch_shows_every_image_of_both_classes_once() -> None:
    made = stream()
    first, second = made.pair(1)
    x, y = made.batches(12, 12)  # task 1: 4 steps per epoch
    assert x.shape == (12, 6, 192) and x.dtype == np.float32 and y.shape == (12, 6) and y.dtype == np.int64
    whole = Counter((label, row) for label in (first, second) for row in range(12))
    orders = []
    for epoch in range(3):
        steps = slice(4 * epoch, 4 * epoch + 4)
        seen = marks(x[steps].reshape(24, -1))
        assert Counter(seen) == whole
        assert [label == second for label, _ in seen] == y[steps].ravel().tolist()
        orders.append(tuple(seen))
    assert len(set(orders)) == 3


def test_pixels_are_the_images(marked: MarkedImages) -> None:
    x, _ = stream().batches(0, 1)
    label, row = marks(x[0])[0]
    np.testing.assert_array_equal(x[0, 0], marked.train(label)[row] / np.float32(255))
    standard, _ = stream(scale="standard").batches(0, 1)
    np.testing.assert_allclose(standard, (x - 0.5) / 0.25, atol=1e-6)


def test_only_the_first_images_of_a_class() -> None:
    x, _ = stream(train_per_class=3).batches(0, 1)
    assert Counter(row for _, row in marks(x[0])) == {0: 2, 1: 2, 2: 2}


def test_the_test_images_are_others(marked: MarkedImages) -> None:
    made = stream(scale="standard")
    x, y = made.test(6)
    first, second = made.pair(6)
    assert marks(x, "standard") == [(c, 100 + row) for c in (first, second) for row in range(4)]
    assert y.tolist() == [0, 0, 0, 0, 1, 1, 1, 1] and y.dtype == np.int64


def test_same_values_however_asked() -> None:
    made = stream(pairs="fresh")
    x, y = made.batches(0, 144)
    for start, count in ((100, 44), (0, 1), (11, 2), (3, 100), (143, 1)):
        for asked in (made, stream(pairs="fresh")):
            part = asked.batches(start, count)
            np.testing.assert_array_equal(part[0], x[start : start + count])
            np.testing.assert_array_equal(part[1], y[start : start + count])
    longer = stream(pairs="fresh", epochs=5, tasks=50).batches(20, 12)  # task 1 begins at 20, not at 12
    np.testing.assert_array_equal(longer[0], x[12:24])


def test_seeds_differ() -> None:
    assert not np.array_equal(stream(seed=1).batches(0, 4)[0], stream(seed=2).batches(0, 4)[0])


def test_when_it_is_tested() -> None:
    assert stream().evaluations(2) == (36,)
    assert stream(test_every=1).evaluations(2) == (28, 32, 36)
    assert stream(test_every=2).evaluations(0) == (8, 12)
    assert not stream().reloads and stream().step_sizes(2) == ((24, 1.0),)
    assert stream().tested and ContinualImageNet.headline == "test_accuracy"


def test_the_probe_is_the_beginning_of_the_task() -> None:
    made = stream()
    x, y = made.probe(2, 24)
    seen = made.batches(24, 4)
    np.testing.assert_array_equal(x, seen[0].reshape(24, -1))
    np.testing.assert_array_equal(y, seen[1].ravel())


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"batch": 7}, "batch 7 must divide the training images of two classes, which are 24"),
        ({"train_per_class": 13}, r"train_per_class 13: at most 12 \(glyphs\)"),
        ({"classes": 11}, "classes 11: glyphs has 10"),
    ],
)
def test_mistakes(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stream(**settings)
