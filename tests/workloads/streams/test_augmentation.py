"""Moves of pictures against hand-worked ones, numpy's own, and a loop over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workloads.streams.augmentation import Moves, moved, moves, padding

IMAGES = np.random.default_rng(0).integers(1, 256, (5, 3 * 8 * 10)).astype(np.uint8)
SHAPE = (3, 8, 10)


def of(count: int = 5, *, flip: bool = False, down: int = 0, right: int = 0, angle: float = 0.0) -> Moves:
    """The same moves for every picture."""
    return Moves(np.full(count, flip), np.full(count, down), np.full(count, right), np.full(count, angle))


def apply(images: np.ndarray, made: Moves, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Pictures after their moves, (n, C, H, W), outside pixels 0."""
    pixels, inside = moved(images, made, shape)
    return pixels.reshape(-1, *shape) * inside.reshape(-1, 1, *shape[1:])


def test_no_move_gives_the_picture() -> None:
    pixels, inside = moved(IMAGES, of(), SHAPE)
    np.testing.assert_array_equal(pixels, IMAGES)
    assert inside.all()


def test_a_flip_swaps_left_and_right_and_two_give_the_picture() -> None:
    flipped = apply(IMAGES, of(flip=True))
    np.testing.assert_array_equal(flipped, IMAGES.reshape(-1, *SHAPE)[..., ::-1])
    np.testing.assert_array_equal(moved(flipped.reshape(5, -1), of(flip=True), SHAPE)[0], IMAGES)


@pytest.mark.parametrize("down, right", [(4, -4), (-4, 0), (1, 3), (0, 2)])
def test_a_crop_of_the_reflected_picture(down: int, right: int) -> None:
    for flip in (False, True):
        pictures = IMAGES.reshape(-1, *SHAPE)[..., :: -1 if flip else 1]
        padded = np.pad(pictures, ((0, 0), (0, 0), (4, 4), (4, 4)), mode="reflect")
        cropped = padded[..., 4 + down : 12 + down, 4 + right : 14 + right]
        np.testing.assert_array_equal(apply(IMAGES, of(flip=flip, down=down, right=right)), cropped)


def test_padding_by_hand() -> None:
    assert padding(1 + 4, 5).reshape(13, 13)[4].tolist() == [4, 3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1, 0]
    assert padding(6, 5).reshape(14, 13)[:, 4].tolist() == [20, 15, 10, 5, 0, 5, 10, 15, 20, 25, 20, 15, 10, 5]


def test_quarter_turns_are_anticlockwise() -> None:
    square, shape = IMAGES[:, :192], (3, 8, 8)
    for quarters in (1, 2, 3):
        turned = apply(square, of(angle=quarters * math.pi / 2), shape)
        np.testing.assert_array_equal(turned, np.rot90(square.reshape(-1, *shape), quarters, axes=(2, 3)))


def test_a_small_turn_takes_the_nearest_pixel_and_leaves_the_corners_empty() -> None:
    angle = math.radians(15)
    turned = apply(IMAGES, of(angle=angle))
    picture = IMAGES[0].reshape(SHAPE)
    for row in range(8):
        for column in range(10):
            # Seen from the centre, with y upwards, the pixel was 15 degrees further clockwise before the turn.
            away = complex(column - 4.5, 3.5 - row) * complex(math.cos(angle), -math.sin(angle))
            y, x = round(3.5 - away.imag), round(4.5 + away.real)
            inside = 0 <= y < 8 and 0 <= x < 10
            assert turned[0, :, row, column].tolist() == (picture[:, y, x].tolist() if inside else [0, 0, 0])
    assert (turned[:, :, 0, 0] == 0).all() and (turned[:, :, 4, 5] > 0).all()


def test_the_turn_comes_last() -> None:
    made = of(flip=True, down=2, right=-3, angle=0.2)
    first = apply(IMAGES, of(flip=True, down=2, right=-3)).reshape(5, -1)
    np.testing.assert_array_equal(apply(IMAGES, made), apply(first, of(angle=0.2)))


def test_every_picture_has_moves_of_its_own() -> None:
    many = np.tile(IMAGES, (30, 1))
    together = apply(many, moves(3, np.arange(150)))
    for k in (0, 1, 63, 64, 149):
        np.testing.assert_array_equal(apply(many[k : k + 1], moves(3, np.array([k])))[0], together[k])


def test_moves_are_spread_as_they_should_be() -> None:
    made = moves(1, np.arange(30_000))
    assert abs(made.flip.mean() - 0.5) < 0.012  # four standard errors
    for shift in (made.down, made.right):
        counts = np.bincount(shift + 4, minlength=9)
        assert len(counts) == 9 and np.abs(counts - 30_000 / 9).max() < 220
    assert made.angle.min() >= 0 and made.angle.max() < math.radians(15)
    assert abs(made.angle.mean() - math.radians(7.5)) < 0.002
    together = np.corrcoef([made.flip, made.down, made.right, made.angle]) - np.eye(4)
    assert np.abs(together).max() < 0.025
    other = moves(2, np.arange(100))
    assert not np.array_equal(other.angle, made.angle[:100])
