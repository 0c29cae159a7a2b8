"""What the streams of pictures share, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from marked_images import MarkedImages, marks

from workloads.data import front
from workloads.data.catalogue import DATASETS
from workloads.random import permutation
from workloads.streams import image_sets
from workloads.streams.image_sets import Epochs, epoch_ends


def test_every_dataset_has_its_constants() -> None:
    assert list(get_args(image_sets.Name)) == list(DATASETS) == list(image_sets.STANDARD)
    for name, known in DATASETS.items():
        assert [len(values) for values in image_sets.STANDARD[name]] == [known.shape[0]] * 2
        assert (known.per_class is None) == (name in image_sets.UNEVEN)


def test_the_smallest_class_of_the_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLIANT_DATA", str(tmp_path))
    digits = front.load("digits")
    counts = [np.bincount(labels).min() for labels in (digits.labels, digits.test_labels)]
    assert [image_sets.fewest("digits"), image_sets.fewest("digits", "test")] == counts


def test_scales_by_hand(marked: MarkedImages) -> None:
    image = np.zeros((1, 192), dtype=np.uint8)
    image[0, [0, 64, 191]] = 255, 51, 102
    unit = image_sets.scaled(image, "glyphs", "unit")
    assert unit.dtype == np.float32 and unit[0, [0, 64, 191, 1]].tolist() == pytest.approx([1, 0.2, 0.4, 0])
    symmetric = image_sets.scaled(image, "glyphs", "symmetric")
    assert symmetric[0, [0, 64, 191, 1]].tolist() == pytest.approx([1, -0.6, -0.2, -1])
    standard = image_sets.scaled(image, "cifar10", "standard")
    assert standard.dtype == np.float32
    by_hand = [(1 - 0.4914) / 0.2470, (0.2 - 0.4822) / 0.2435, (0.4 - 0.4465) / 0.2616, -0.4914 / 0.2470]
    assert standard[0, [0, 64, 191, 1]].tolist() == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("scale", get_args(image_sets.Scale))
def test_a_bytes_shade_is_the_scaled_byte(scale: image_sets.Scale) -> None:
    images = np.arange(256, dtype=np.uint8).reshape(4, 64)
    assert np.array_equal(image_sets.shades("mnist", scale)[images], image_sets.scaled(images, "mnist", scale))
    assert not image_sets.shades("mnist", scale).flags.writeable


def test_images_come_class_by_class(marked: MarkedImages) -> None:
    images, place = image_sets.images_of("glyphs", "train", [7, 2], slice(1, 3))
    assert images[:, :2].tolist() == [[7, 1], [7, 2], [2, 1], [2, 2]]
    assert place.tolist() == [0, 0, 1, 1]


def test_shared_images_are_read_once_and_cannot_be_written(marked: MarkedImages) -> None:
    images, labels = image_sets.first_images("glyphs", "train", 3, 6)
    assert marks(images / 255) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert image_sets.first_images("glyphs", "train", 3, 6)[0] is images and marked.asked == [0, 1, 2]
    assert not images.flags.writeable and not labels.flags.writeable


def test_epochs_show_everything_once_in_orders_of_their_own() -> None:
    epochs = Epochs(5)
    shown = epochs.shown(2, 0, 30, 10).reshape(3, 10)
    assert (np.sort(shown) == np.arange(10)).all()
    assert len({tuple(order) for order in shown.tolist()}) == 3
    assert shown[1].tolist() == permutation(5, "stream/epoch_order", (2 << 32) + 1, 10).tolist()
    assert shown[0].tolist() != epochs.shown(3, 0, 10, 10).tolist() != Epochs(6).shown(3, 0, 10, 10).tolist()
    for first, count in ((0, 1), (9, 2), (5, 25), (29, 1)):
        assert epochs.shown(2, first, count, 10).tolist() == shown.ravel()[first : first + count].tolist()


@pytest.mark.parametrize(
    "every, ends", [(1, (107, 114, 121, 128)), (2, (114, 128)), (3, (121, 128)), (9, (128,)), (None, (128,))]
)
def test_tests_come_after_epochs_and_always_at_the_end(every: int | None, ends: tuple[int, ...]) -> None:
    assert epoch_ends(100, 7, 4, every) == ends


def test_what_there_is_not(marked: MarkedImages) -> None:
    assert image_sets.classes_of("glyphs", None) == 10 and image_sets.classes_of("glyphs", 3) == 3
    with pytest.raises(ValueError, match="classes 11: glyphs has 10"):
        image_sets.classes_of("glyphs", 11)
    assert image_sets.examples_of("glyphs", 3, None) == 36 and image_sets.examples_of("glyphs", 3, 6) == 6
    for asked in (5, 39):
        with pytest.raises(ValueError, match=f"examples {asked}: must be a multiple of the 3 classes and at most 36"):
            image_sets.examples_of("glyphs", 3, asked)
    with pytest.raises(ValueError, match="test_examples 15: .* at most 12"):
        image_sets.examples_of("glyphs", 3, 15, "test")
