"""Pictures flipped, shifted and turned, as class-incremental CIFAR-100 shows them (Dohare et al. 2024).

In this order: left and right swapped with probability 1/2; a random crop of the picture padded by 4 pixels of its own
reflection; a turn by 0 to 15 degrees, anticlockwise, about the centre. Pixels that come from outside are 0, and a
turned pixel is the nearest one: both are torchvision's defaults, which the released code leaves as they are. With the
nearest pixel all three together are one choice of a source for every pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from workloads.data.entries import Bytes
from workloads.random import Int64, words

PADDING = 4  # pixels on each side
MOST_DEGREES = 15
BLOCK = 64  # pictures at once: what is computed on the way then stays in the cache


@dataclass(frozen=True, slots=True)
class Moves:
    """What happens to each of n pictures."""

    flip: NDArray[np.bool_]  # (n,)
    down: Int64  # (n,) pixels by which the crop lies below the picture's own place
    right: Int64  # (n,)
    angle: NDArray[np.float64]  # (n,) radians, anticlockwise


def moves(seed: int, examples: Int64) -> Moves:
    """Those of the examples with these numbers, (n,); each has one counter of its own."""
    drawn = words(seed, "stream/augmentation", examples, 4)
    down, right = ((drawn[:, k] * (2 * PADDING + 1) >> 32) - PADDING for k in (1, 2))
    turn = (drawn[:, 3] >> 8) * 2.0**-24
    return Moves(drawn[:, 0] >> 31 == 1, down, right, np.radians(MOST_DEGREES * turn))


def moved(images: Bytes, made: Moves, shape: tuple[int, int, int]) -> tuple[Bytes, NDArray[np.bool_]]:
    """Images (n, pixels) after their moves, and (n, height x width) which pixels are from inside the picture."""
    channels, height, width = shape
    result = np.empty_like(images).reshape(-1, channels, height * width)
    inside = np.empty((len(images), height * width), dtype=np.bool_)
    planes = images.reshape(-1, channels, height * width)
    for start in range(0, len(images), BLOCK):
        block = slice(start, start + BLOCK)
        padded = np.take(planes[block], padding(height, width), axis=2)
        place, inside[block] = sources(made, block, height, width)
        first = np.arange(padded.size // padded.shape[2]).reshape(-1, channels, 1) * padded.shape[2]
        np.take(padded.reshape(-1), place[:, None] + first, out=result[block], mode="clip")
    return result.reshape(images.shape), inside


@lru_cache(maxsize=4)
def padding(height: int, width: int) -> NDArray[np.intp]:
    """Where each pixel of the padded picture is in the picture."""
    rows, columns = (np.pad(np.arange(length), PADDING, mode="reflect") for length in (height, width))
    return (rows[:, None] * width + columns).reshape(-1)


def sources(made: Moves, block: slice, height: int, width: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Where each pixel comes from: (n, height x width) places in the padded picture, and whether it is from inside."""
    cos, sin = (of(made.angle[block]).astype(np.float32)[:, None, None] for of in (np.cos, np.sin))
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(middle_y)
    x = np.arange(width, dtype=np.float32) - np.float32(middle_x)
    row = np.rint((y * cos + np.float32(middle_y)) + x * sin).astype(np.int32)
    column = np.rint((x * cos + np.float32(middle_x)) - y * sin).astype(np.int32)
    # Seen as unsigned, what lies before the first is far beyond the last.
    inside = (row.view(np.uint32) < height) & (column.view(np.uint32) < width)
    down, right = made.down[block] + PADDING, made.right[block] + PADDING
    flip, stride = made.flip[block], width + 2 * PADDING
    first = down * stride + np.where(flip, stride - 1 - right, right)
    row *= np.int32(stride)
    column *= np.where(flip, -1, 1).astype(np.int32)[:, None, None]
    row += column
    row += first.astype(np.int32)[:, None, None]
    return row.reshape(len(row), -1), inside.reshape(len(row), -1)
