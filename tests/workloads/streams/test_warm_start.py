"""Half of the data, then all of it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from marked_images import MarkedImages, marks

from workloads.streams.warm_start import WarmStart, WarmStartConfig

pytestmark = pytest.mark.usefixtures("marked")


def stream(seed: int = 3, **settings: object) -> WarmStart:
    small = {"dataset": "glyphs", "epochs": 2, "batch": 6, "scale": "unit"}
    return WarmStart(WarmStartConfig(**{**small, **settings}), seed)


def test_sizes_need_no_images(marked: MarkedImages) -> None:
    made = WarmStart(WarmStartConfig(), 0)
    assert made.tasks == 2 and [made.task_start(t) for t in range(3)] == [0, 25_000, 75_000]
    assert made.shape == (3, 32, 32) and (made.inputs, made.outputs, made.batch) == (3072, 10, 100)
    assert made.boundaries_shown and made.tested and made.headline == "test_accuracy"
    assert marked.asked == []


def test_the_half_is_part_of_the_whole_and_each_epoch_shows_everything_once() -> None:
    made = stream()
    assert [made.task_start(t) for t in range(3)] == [0, 20, 60]
    x, y = made.batches(0, 60)
    seen = marks(x.reshape(360, -1))
    assert [label for label, _ in seen] == y.ravel().tolist()
    half, whole = Counter(seen[:60]), Counter(seen[120:240])
    assert half == Counter(seen[60:120]) and set(half.values()) == {1} and len(half) == 60
    assert whole == Counter(seen[240:]) == Counter((label, row) for label in range(10) for row in range(12))
    assert seen[:60] != seen[60:120] and seen[120:240] != seen[240:]
    other = set(marks(stream(seed=4).batches(0, 10)[0].reshape(60, -1)))
    assert len(other) == 60 and other != set(half)


def test_other_shares_and_fewer_images() -> None:
    made = stream(share=0.25, examples=60, classes=5, batch=5)
    assert [made.task_start(t) for t in range(3)] == [0, 6, 30] and made.outputs == 5
    whole = set(marks(made.batches(6, 12)[0].reshape(60, -1)))
    assert whole == {(label, row) for label in range(5) for row in range(12)}
    assert len(set(marks(made.batches(0, 3)[0].reshape(15, -1)))) == 15
    assert stream(share=1.0).task_start(1) == 40


def test_the_test_images_are_others_and_the_same_in_both_tasks() -> None:
    made = stream()
    for task in (0, 1):
        x, y = made.test(task)
        assert marks(x) == [(label, 100 + row) for label in range(10) for row in range(4)]
        assert y.tolist() == [label for label in range(10) for _ in range(4)]
    few = stream(test_examples=20).test(0)[0]
    assert marks(few) == [(label, 100 + row) for label in range(10) for row in range(2)]


def test_when_it_is_tested() -> None:
    assert stream().evaluations(0) == (10, 20) and stream().evaluations(1) == (40, 60)
    assert stream(test_every=None).evaluations(1) == (60,)
    assert stream(epochs=5, test_every=2).evaluations(0) == (20, 40, 50)


def test_pixels_are_the_images(marked: MarkedImages) -> None:
    x, _ = stream().batches(0, 1)
    label, row = marks(x[0])[2]
    np.testing.assert_array_equal(x[0, 2], marked.train(label)[row] / np.float32(255))
    np.testing.assert_allclose(stream(scale="standard").batches(0, 1)[0], (x - 0.5) / 0.25, atol=1e-6)


def test_same_values_however_asked() -> None:
    made = stream()
    x, y = made.batches(0, 60)
    for start, count in ((59, 1), (0, 1), (19, 2), (9, 40), (30, 30)):
        for asked in (made, stream()):
            part = asked.batches(start, count)
            np.testing.assert_array_equal(part[0], x[start : start + count])
            np.testing.assert_array_equal(part[1], y[start : start + count])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"batch": 7}, "batch 7 must divide examples, which are 120"),
        ({"batch": 40}, "batch 40 must divide share 0.5 of the examples, which are 60"),
        ({"share": 0.001}, "share 0.001 of 120 examples is none"),
        ({"examples": 61}, "examples 61: must be a multiple of the 10 classes and at most 120"),
        ({"test_examples": 50}, "test_examples 50: must be a multiple of the 10 classes and at most 40"),
        ({"classes": 11}, "classes 11: glyphs has 10"),
    ],
)
def test_mistakes(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stream(**settings)
