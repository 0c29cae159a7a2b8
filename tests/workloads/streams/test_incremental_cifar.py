"""Classes that arrive and stay: who is seen when, who is held out, what is augmented, and the schedule."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from marked_images import SHAPE, MarkedImages, marks

from workloads.errors import InputError
from workloads.losses.implementations import IMPLEMENTATIONS as LOSSES
from workloads.random import permutation
from workloads.streams.augmentation import moved, moves
from workloads.streams.incremental_cifar import IncrementalCIFAR, IncrementalCIFARConfig

pytestmark = pytest.mark.usefixtures("marked")


def stream(seed: int = 3, **settings: object) -> IncrementalCIFAR:
    """Five stages of two classes with 9 of 12 images for training; 3 steps per epoch more in each stage."""
    small = {"dataset": "glyphs", "classes": 10, "classes_per_stage": 2, "epochs": 2, "batch": 6, "augment": False}
    return IncrementalCIFAR(IncrementalCIFARConfig(**{**small, "validation_per_class": 3, **settings}), seed)


def test_the_defaults_are_the_papers_and_need_no_images(marked: MarkedImages) -> None:
    made = IncrementalCIFAR(IncrementalCIFARConfig(), 0)
    assert made.tasks == 20 and made.task_start(20) == 1_050_000
    assert [made.task_start(t) for t in range(3)] == [0, 5000, 15_000]
    assert made.shape == (3, 32, 32) and (made.inputs, made.outputs, made.batch) == (3072, 100, 90)
    assert made.config.train_per_class == 450 and made.reloads and made.boundaries_shown
    assert len(made.evaluations(19)) == 200 and made.evaluations(0)[:2] == (25, 50)
    assert made.evaluations(1)[-1] == 15_000
    assert marked.asked == []


def test_the_published_schedule() -> None:
    made = IncrementalCIFAR(IncrementalCIFARConfig(), 0)
    assert made.step_sizes(0) == ((0, 1.0), (60 * 25, 0.2), (120 * 25, 0.04), (160 * 25, 0.008))
    assert made.step_sizes(1) == ((5000, 1.0), (5000 + 60 * 50, 0.2), (5000 + 120 * 50, 0.04), (5000 + 160 * 50, 0.008))


def test_the_schedule_is_scaled_with_the_epochs_and_can_be_off() -> None:
    made = stream(epochs=10)
    assert made.step_sizes(1) == ((30, 1.0), (30 + 18, 0.2), (30 + 36, 0.04), (30 + 48, 0.008))
    # Stage 0 of one epoch has 3 steps: the second is past 30 %, the third past 60 %, none past 80 %.
    assert stream(epochs=1).step_sizes(0) == ((0, 1.0), (1, 0.2), (2, 0.04))
    assert stream(schedule=False).step_sizes(1) == ((6, 1.0),)


def test_classes_arrive_in_an_order_of_the_seeds_and_stay() -> None:
    made = stream()
    order = permutation(3, "stream/class_order", 0, 10).tolist()
    assert made.order.tolist() == order and stream(seed=4).order.tolist() != order
    for task in range(5):
        start, end = made.task_start(task), made.task_start(task + 1)
        assert end - start == 2 * 3 * (task + 1)
        x, y = made.batches(start, end - start)
        assert y.shape == (end - start, 6, 2) and y.dtype == np.int64 and x.dtype == np.float32
        assert (y[..., 1] == 2 * task + 2).all()
        seen = marks(x.reshape(-1, 192), "standard")
        assert [label for label, _ in seen] == [order[place] for place in y[..., 0].ravel()]
        whole = Counter((label, row) for label in order[: 2 * task + 2] for row in range(3, 12))
        half = len(seen) // 2
        assert Counter(seen[:half]) == Counter(seen[half:]) == whole
        assert seen[:half] != seen[half:]


def test_validation_is_the_first_images_and_no_set_shares_any() -> None:
    made = stream()
    for task in (0, 4):
        x, y = made.validation(task)
        held = marks(x, "standard")
        assert held == [(c, row) for c in made.order[: 2 * task + 2].tolist() for row in range(3)]
        assert y.tolist() == [[place, 2 * task + 2] for place in range(2 * task + 2) for _ in range(3)]
        x, y = made.test(task)
        tested = marks(x, "standard")
        assert sorted(tested) == sorted((c, 100 + row) for c in made.order[: 2 * task + 2].tolist() for row in range(4))
        assert [made.order[place] for place in y[:, 0]] == [c for c, _ in tested]
        assert (y[:, 1] == 2 * task + 2).all()
        start, end = made.task_start(task), made.task_start(task + 1)
        shown = set(marks(made.batches(start, end - start)[0].reshape(-1, 192), "standard"))
        assert not shown & set(held) and not shown & set(tested)


def test_fewer_training_images_are_the_next_ones() -> None:
    made = stream(train_per_class=3)
    assert {row for _, row in marks(made.batches(0, 1)[0][0], "standard")} == {3, 4, 5}


def test_targets_are_those_of_the_loss_of_seen_classes() -> None:
    _, y = stream().batches(0, 1)
    losses = LOSSES["cross_entropy_of_seen"].example_losses(torch.zeros(6, 10), torch.from_numpy(y[0]))
    assert losses.tolist() == pytest.approx([np.log(2)] * 6)


def test_augmented_pictures_are_the_moved_ones(marked: MarkedImages) -> None:
    plain, made = stream(), stream(augment=True)
    task, steps = 1, 4
    start = made.task_start(task)
    (raw, y), (x, same_y) = plain.batches(start, steps), made.batches(start, steps)
    np.testing.assert_array_equal(y, same_y)
    images = np.stack([marked.train(label)[row] for label, row in marks(raw.reshape(-1, 192), "standard")])
    pixels, inside = moved(images, moves(3, (task << 32) + np.arange(24)), SHAPE)
    expected = (pixels.reshape(24, 3, 64) / 255 - 0.5) / 0.25 * inside[:, None]
    np.testing.assert_allclose(x.reshape(24, 3, 64), expected, atol=1e-6)
    assert not inside.all() and not np.array_equal(x, raw)
    # In the next epoch the same pictures move differently.
    other = made.batches(start + 6, 4)[0]
    assert {row.tobytes() for row in x.reshape(24, -1)}.isdisjoint(row.tobytes() for row in other.reshape(24, -1))


def test_same_values_however_asked() -> None:
    made = stream(augment=True)
    length = made.task_start(5)
    x, y = made.batches(0, length)
    for start, count in ((length - 1, 1), (0, 1), (5, 2), (4, 60), (40, 33), (17, 1)):
        for asked in (made, stream(augment=True)):
            part = asked.batches(start, count)
            np.testing.assert_array_equal(part[0], x[start : start + count])
            np.testing.assert_array_equal(part[1], y[start : start + count])
    assert not np.array_equal(stream(seed=4, augment=True).batches(0, 2)[0], x[:2])


def test_the_probe_is_training_images_of_the_classes_that_a_stage_adds() -> None:
    made = stream(augment=True)
    for task in (0, 3):
        x, y = made.probe(task, 18)
        new = made.order[2 * task : 2 * task + 2].tolist()
        seen = marks(x, "standard")
        assert Counter(seen) == Counter((label, row) for label in new for row in range(3, 12))
        assert seen != sorted(seen)
        assert [made.order[place] for place in y[:, 0]] == [label for label, _ in seen]
        assert (y[:, 1] == 2 * task + 2).all()
    again, targets = made.probe(3, 25)
    np.testing.assert_array_equal(again, np.concatenate([x, x[:7]]))
    np.testing.assert_array_equal(targets, np.concatenate([y, y[:7]]))
    with pytest.raises(InputError, match="tasks 0 to 4"):
        made.probe(5, 1)


def test_when_it_is_tested_and_what_a_stage_ends_with() -> None:
    assert stream().evaluations(1) == (12, 18)
    assert stream(test_every=2).evaluations(1) == (18,)
    assert stream(epochs=5, test_every=2).evaluations(0) == (6, 12, 15)
    assert stream().reloads and not stream(reload="none").reloads
    assert stream().tested and IncrementalCIFAR.headline == "test_accuracy_max"


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"classes": 12}, "classes 12: glyphs has 10"),
        ({"classes_per_stage": 3}, "classes_per_stage 3 must divide classes 10"),
        ({"batch": 5}, "batch 5 must divide the training images that a stage adds, which are 18"),
        ({"validation_per_class": 12}, r"validation_per_class 12: at most 11 \(glyphs\)"),
        ({"validation_per_class": 0}, "validation_per_class 0 needs reload: none"),
        ({"train_per_class": 10}, "train_per_class 10: at most 9 beside those for validation"),
    ],
)
def test_mistakes(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stream(**settings)


def test_without_validation() -> None:
    made = stream(validation_per_class=0, reload="none")
    assert made.config.train_per_class == 12 and made.task_start(1) == 8
