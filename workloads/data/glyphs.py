"""Glyphs: a stand-in for ImageNet 32x32 that needs no download. A class is a character of matplotlib's fonts.

Every image shows its character turned, scaled, sheared and shifted at random, light on dark or dark on light in
random colours, under a slanted light, before strokes of clutter, and with noise. An image is a function of (class,
number) alone: its draws are the words of Philox4x64-10 keyed by (SEED, class), and all arithmetic on them is
elementwise, in a fixed order. What may differ between machines is the character's shape, since versions of FreeType
render outlines a little differently; `checksum` covers the shapes.

On tasks of two classes, a linear classifier of the pixels is right in about 75 % of the test images, a small
convolutional network in about 96 %: the contrast, the clutter and the noise are chosen for that.

The characters are letters and digits that really look different: in the order of the fonts below and of the code
points, one is taken where its outline, scaled to one size, correlates by less than 0.8 with those taken before; blank
and very thin ones are left out. Of these, scripts in turn give a character each until there are 1,000. Their order as
classes is a fixed shuffle, so that every stretch of classes mixes the scripts.
"""

from __future__ import annotations

import functools
import hashlib
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workloads.data.entries import Bytes
from workloads.errors import DataError
from workloads.random import permutation

SEED = 0x676C7970  # of all draws; a change to any drawing raises the version in `datasets`
IMAGES = 700  # per class
SIDE = 32  # of an image
SHAPE = 64  # side of the picture that a character is drawn from
INK = 48  # the longer side of the character in it
CHUNK = 100  # images made at once, so that they stay in the processor's cache

LIGHT_ON_DARK = 0.85  # how often the ink is the lighter; at a half, no straight boundary would find anything
CONTRAST = (0.15, 0.45)  # of ink and paper, where the whole range is 1
TINT = 0.12  # the most that a channel of either departs from grey
SLANT = 0.2  # the most that the light differs from the middle to an edge
STROKES = 3  # of clutter
CLUTTER = (-0.35, 0.35)  # what they add to the paper
NOISE = 0.14  # standard deviation
TURN = math.radians(20)
SIZES = (14.0, 26.0)  # pixels of the character's longer side
STRETCH = 0.15
SHEAR = 0.2
SHIFT = 3.0  # pixels

FONTS = {  # font -> its characters, as hexadecimal code points and ranges
    "DejaVuSans": (
        "30-35 37 41-44 46-48 4b-4e 50-52 54-5a 61-62 64-66 6b 6d-6e 71 aa b5 c0 c6-c8 d0-d2 d8 dd df-e0 e6 e8 ee "
        "f1 f9 fe 104-107 10f 118-119 11d 125 132 136-137 139 13b 13e 145-146 149 152 154 156 15a 15e 163 167 172 "
        "174 179-17a 181 184 186-187 18a 195-196 19b-19d 1a2-1a4 1a7 1a9 1af 1b1 1b3 1b8 1ba 1be 1c4 1c6 1c8 1ca "
        "1cc 1e2 370 372-373 376 388-389 38e-38f 393-394 39e 3a6 3a8-3a9 3ac 3b0-3b1 3b6 3c0 3ce 3d4 3d6-3d7 "
        "3de-3e2 3e6 3f0 3fa-3fc 402 409 40b 40d 414 416 41b 426-427 429 42b 42e-42f 444 44a 452 45b 463-464 466 "
        "468 46a 46c 46e 470 474 476 478-47a 47c 481 48a 490 496 49a 4a0 4a2 4a4 4a6 4a8 4b2 4b4 4bc 4be 4c1 4c3 "
        "4c6-4c7 4cd 4da 4ed 4f7-4f8 4fb 502-506 50e 514 516-518 51f-520 532 534 537-539 53b 53e-541 543 546-547 "
        "54a-54b 54e 552 556 564 567 569 56d 574 576 57c 57e 587 5d0-5d1 5d3 5dc 5de 5e2-5e3 5e5-5e9 621 626 628 "
        "62a 62f-631 633-634 637 63a 641-649 660 662 669 66f 679 67b 687 689 693 695 6a2 6a4-6a5 6a9-6aa 6ae 6b0 "
        "6b2-6b3 6b9 6be 6c6 6d0 6f6 7c2-7c3 7c6-7c7 7ce-7d2 7d4 7d6 7d8 7dc-7dd 7df 7e4-7e5 e81-e82 e84 e8a e8d "
        "e95-e97 e99 e9b-e9e ea1 ea3 ea5 eaa-eab eae-eb0 eb3 ebd ec1 ec4 ed1-ed2 ed6 ed8 edc 10a1-10a2 10a5 10a7 "
        "10aa-10ab 10ae 10b0 10b5 10b8 10bd-10bf 10c1 10c3-10c5 10d0 10d3 10da 10dd 10e0-10e1 10e3-10e5 10ed 10ef "
        "10f4 10f8-10f9 1404-1406 140a-140c 140f 1412-1415 1417-1418 141a 141f-1420 1423 1425 142b 142e 1437 143c "
        "143e-1440 1446 1451 1457 1459-145a 145c-145d 1460-1464 1469 1470 1474 1477-147d 147f 1481 148a 148c "
        "1493-1494 14a0 14af-14b3 14b7 14c0-14c5 14c7-14cb 14cd 14d3-14d6 14d9-14db 14de 14e0 14e2-14e5 14e7 14ec "
        "14ee-14ef 14f2 14f5-14fa 14ff 1502-1504 1510 1512 1681-1682 1684 1686-1688 168b-168d 1690-1692 1f0a 1f0c "
        "1f0f 1f12 1f1a 1f26 1f2a 1f2e 1f3f 1f4a 1f5b 1f69 1f6d 1f6f 1f86 1f8a 1f98 1f9a 1fa0 1fa9-1faa 1fae 1fb3 "
        "1fca 210b-210d 2110 2112 2115 2119 211b-211d 2124 212c-212d 2131 2133 2135-2138 213c 213e 2145 2147 2d00 "
        "2d03 2d06 2d08 2d0f 2d13 2d15 2d18 2d1c-2d1d 2d1f-2d22 2d32 2d3b-2d3f 2d44 2d46-2d47 2d4b-2d4c 2d52 2d56 "
        "2d58 2d5b 2d5f 2d63-2d64 a4d8 a4e4 a64c a650 a654 a657 a662 a665 a667 a694 fb13-fb17 fb20-fb21 fb23 fb25 "
        "fb2a fb39 fb4a fb4f fb53-fb54 fb5d fb61 fb67-fb68 fb6b fb6d fb74-fb75 fb78-fb79 fb83 fb85 fb89 fb8b fb90 "
        "fb93 fb95 fb98 fb9f fba1 fbab fbd4 fbdc fbe5 fbfe-fbff fe70-fe71 fe73 fe76 fe78 fe7b-fe7c fe8a fe94 fe96 "
        "fea3-fea4 fea6-fea8 feaa feae feb3-feb4 feb7 febf fec4 feca fecf-fed0 fed6 fee2 fee4 feee fef5 fef8-fef9 "
        "fefb 10302 1030c-1030e 10314-10315 1d538-1d539 1d53b-1d53c 1d542 1d544 1d54b-1d54d 1d54f-1d550 1d552 1d559 "
        "1d55f-1d560 1d563 1d7dc 1d7de-1d7df 1d7e1 1ee21"
    ),
    "DejaVuSerif": (
        "b5 ba 388 3bd 3c8 3cb 3d1-3d2 3e0 3fa-3fb 40b 426 42b 42e 437-438 464 46a 46c 475 494 498 49b 4a4 4b7 4f7 "
        "539 53d 54c 54e 550 554 579 587 10a0-10a1 10a6 10ab 10af 10ba 10bc 10bf 10c2 10c4-10c5 10d6 10e3 10e6 10ef "
        "10f3 10f5 1f0e 1f2b 1f3a 1f5f 1f66 1f9b 1f9e 1fa6 1fbe 1fec 213c 2145-2146 2d00 2d02 2d04-2d05 2d09 2d0e "
        "2d11 2d1a-2d1b 2d1f 2d25 a650 a654 a656 1d434-1d437 1d43f 1d443 1d446-1d449 1d44b-1d44c 1d457 1d45c "
        "1d466-1d467 1d539 1d53b 1d53d 1d552 1d554 1d55c 1d562 1d564 1d567 1d569"
    ),
    "STIXGeneral": (
        "36 388 38e-38f 3ad 3c0 3c2-3c4 3c7 3d0 3d6 3db 41b 434 210a-210b 2110-2113 211b-211c 2128 212f-2131 "
        "2133-2134 2137-2138 213c-213d 1d411 1d439 1d43d-1d43e 1d440-1d441 1d445 1d449 1d450 1d458 1d45f 1d464 "
        "1d467 1d46e 1d47e 1d482 1d491 1d497 1d49a 1d49c 1d49f 1d4a2 1d4a6 1d4a9-1d4aa 1d4ae 1d4b0-1d4b1 "
        "1d4b3-1d4b4 1d4b6-1d4b7 1d4bb 1d4be-1d4c0 1d4c2-1d4c3 1d4c5 1d4c7 1d4cb 1d4cf 1d4d2 1d4d9 1d4df 1d4e6 "
        "1d4ec-1d4ed 1d501 1d505 1d507-1d50a 1d50e-1d50f"
    ),
    "STIXNonUniIta": (
        "e09c e0b3 e155 e157-e158 e15a-e15b e15d e161-e163 e165-e167 e169 e16c e16f e173 e176 e17b e1b4 e1b6 "
        "e1b9-e1ba e1bd e1c1 e1c6 e1cb e1da e1ef e231 e234 e236-e23b e23d e241-e244 e26e e27e e298 e29a e2a2 e2a6 "
        "e2aa e2b2 e2ba e2e2 e2f4 e32e e34e e35a e362 e372"
    ),
    "cmmi10": "32 47 5a 76-79 aa ba c3",
    "cmsy10": "31-33 35 39 46-49 4b 61 70 74-77 aa b3 b9-ba c0-c3",
    "cmti10": "31 34 38 61 71 b2 ba c0-c1",
    "DejaVuSansMono": (
        "3c9 3ce 3e0 409-40a 416 429 42e 44e 536 54a 587 e88 eab eb2 10e6 1f2e 1f49-1f4a 1f6c 1f6e 1f98 1faa 1faf "
        "1fec 1ff3 2148"
    ),
}

Float = NDArray[np.float32]
Float64 = NDArray[np.float64]


@functools.cache
def characters() -> list[tuple[str, int]]:
    """Font and code point of every class."""
    pairs: list[tuple[str, int]] = []
    for font, listed in FONTS.items():
        for item in listed.split():
            first, _, last = item.partition("-")
            pairs += [(font, point) for point in range(int(first, 16), int(last or first, 16) + 1)]
    return [pairs[place] for place in permutation(SEED, "glyphs/order", 0, len(pairs))]


def names() -> list[str]:
    """What every class is, such as "DejaVuSans U+0041"."""
    return [f"{font} U+{point:04X}" for font, point in characters()]


def checksum() -> str:
    """SHA-256 over the shapes of all classes, from which their images follow."""
    shapes = hashlib.sha256()
    for label in range(len(characters())):
        shapes.update(shape_of(label).data)
    return shapes.hexdigest()


def shape_of(label: int) -> Bytes:
    """A class's character (SHAPE, SHAPE), ink 255, its longer side INK, in the middle. Raises DataError."""
    import matplotlib
    from PIL import Image, ImageFont

    font, point = characters()[label]
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
    try:
        with path.open("rb") as file:  # by its name alone, Pillow would take the system's where this one is missing
            held = ImageFont.truetype(file, size=2 * INK, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise DataError(f"{path}: the font that glyphs are drawn from is not readable ({error})") from error
    ink = held.getmask(chr(point), mode="L")
    pixels = np.frombuffer(bytes(ink), dtype=np.uint8).reshape(ink.size[::-1])
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not len(rows):
        raise DataError(f"{path}: has no picture of U+{point:04X}, which glyphs are drawn from")
    pixels = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = INK / max(pixels.shape)
    height, width = (max(1, round(length * scale)) for length in pixels.shape)
    fitted = Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX)
    shape = np.zeros((SHAPE, SHAPE), dtype=np.uint8)
    top, left = (SHAPE - height) // 2, (SHAPE - width) // 2
    shape[top : top + height, left : left + width] = np.asarray(fitted)
    return shape


def draw(label: int) -> Bytes:
    """All images of a class, (IMAGES, 3 x SIDE x SIDE), red, green and blue planes. Raises DataError."""
    shape = softened(shape_of(label))
    random = np.random.Philox(key=np.array([SEED, label], dtype=np.uint64))
    images = np.empty((IMAGES, 3 * SIDE * SIDE), dtype=np.uint8)
    for start in range(0, IMAGES, CHUNK):
        images[start : start + CHUNK] = drawn(shape, random)
    return images


def drawn(shape: Float, random: np.random.Philox) -> Bytes:
    """The next CHUNK images (CHUNK, 3 x SIDE x SIDE) of a character."""
    u = uniform(random, 24)
    cover = placed(shape, u[:7])[:, None]  # (CHUNK, 1, SIDE, SIDE): ink from 0 to 1
    sign = np.where(u[7] < LIGHT_ON_DARK, 1.0, -1.0)
    contrast = between(u[8], *CONTRAST) * sign
    middle = np.abs(contrast) / 2 + u[9] * (1 - np.abs(contrast))
    tint = (u[10:16] - 0.5) * (2 * TINT)
    paper = ((middle - contrast / 2) + tint[:3]).T.astype(np.float32)[:, :, None, None]
    ink = ((middle + contrast / 2) + tint[3:]).T.astype(np.float32)[:, :, None, None]
    light = slant(u[16], u[17])[:, None]
    strokes = clutter(random)[:, None] * between(u[18], *CLUTTER).astype(np.float32)[:, None, None, None]
    image = paper + strokes + cover * (ink - paper - strokes) + light + noise(random)
    pixels: Bytes = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8).reshape(CHUNK, -1)
    return pixels


def uniform(random: np.random.Philox, count: int) -> Float64:
    """(count, CHUNK) in [0, 1)."""
    words = random.random_raw(count * CHUNK) >> np.uint64(11)
    return words.astype(np.float64).reshape(count, CHUNK) * 2.0**-53


def between(share: Float64, low: float, high: float) -> Float64:
    """From [0, 1) to [low, high)."""
    return low + share * (high - low)


def softened(shape: Bytes) -> Float:
    """The shape from 0 to 1, each pixel mixed with its neighbours: images take about every second pixel of it."""
    framed = np.pad(shape.astype(np.float32) / np.float32(255), 1)
    rows = (framed[:-2] + 2 * framed[1:-1] + framed[2:]) / 4
    soft: Float = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4
    return soft


def placed(shape: Float, u: Float64) -> Float:
    """The shape (SHAPE, SHAPE) under a random affine map for each column of u (7, CHUNK): (CHUNK, SIDE, SIDE)."""
    turn = between(u[0], -TURN, TURN)
    size = INK / (SIZES[0] * (SIZES[1] / SIZES[0]) ** u[1])  # pixels of the shape for one of the image
    stretch, shear = between(u[2], -STRETCH, STRETCH), between(u[3], -SHEAR, SHEAR)
    right, down = between(u[4], -SHIFT, SHIFT), between(u[5], -SHIFT, SHIFT)
    cosine, sine = np.cos(turn), np.sin(turn)
    # From the image's pixel to the shape's: back by the shift, then turned, sheared and scaled.
    a, b = size * (1 + stretch) * cosine, size * (1 + stretch) * sine
    c, d = size * (shear * cosine - sine), size * (shear * sine + cosine)
    at = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    x = at[None, None, :] - right.astype(np.float32)[:, None, None]
    y = at[None, :, None] - down.astype(np.float32)[:, None, None]
    middle = np.float32((SHAPE - 1) / 2)
    column, row = (np.clip(_of(p) * x + _of(q) * y + middle, 0, SHAPE - 1.001) for p, q in ((a, b), (c, d)))
    left, top = column.astype(np.int32), row.astype(np.int32)
    across, along = column - left, row - top
    place = top * SHAPE + left
    flat = shape.ravel()
    upper = flat[place] * (1 - across) + flat[place + 1] * across
    lower = flat[place + SHAPE] * (1 - across) + flat[place + SHAPE + 1] * across
    pixels: Float = upper * (1 - along) + lower * along
    return pixels


def _of(values: Float64) -> Float:
    """(CHUNK,) as (CHUNK, 1, 1) float32."""
    return values.astype(np.float32)[:, None, None]


def slant(direction: Float64, strength: Float64) -> Float:
    """Light that grows along a direction, (CHUNK, SIDE, SIDE), 0 in the middle."""
    angle, most = 2 * math.pi * direction, SLANT * strength
    at = np.linspace(-1, 1, SIDE, dtype=np.float32)
    return _of(most * np.cos(angle)) * at[None, None, :] + _of(most * np.sin(angle)) * at[None, :, None]


def clutter(random: np.random.Philox) -> Float:
    """STROKES straight strokes behind the character, (CHUNK, SIDE, SIDE) from 0 to 1."""
    at = np.arange(SIDE, dtype=np.float32)
    ink = np.zeros((CHUNK, SIDE, SIDE), dtype=np.float32)
    for _ in range(STROKES):
        u = uniform(random, 4)
        angle = 2 * math.pi * u[0]
        x, y = at[None, None, :] - _of(u[1] * SIDE), at[None, :, None] - _of(u[2] * SIDE)
        along = np.abs(_of(np.cos(angle)) * x + _of(np.sin(angle)) * y) - _of(between(u[3], 3, 9))
        beside = np.abs(_of(np.cos(angle)) * y - _of(np.sin(angle)) * x) - np.float32(1)
        ink = np.maximum(ink, np.clip(1 - np.maximum(along, beside), 0, 1))
    return ink


def noise(random: np.random.Philox) -> Float:
    """(CHUNK, 3, SIDE, SIDE) of standard deviation NOISE: the sum of two bytes, near enough to a normal."""
    count = CHUNK * 3 * SIDE * SIDE
    numbers = random.random_raw(count // 4).astype("<u8").view(np.uint8).reshape(2, CHUNK, 3, SIDE, SIDE)
    centred: Float = numbers[0].astype(np.float32) - numbers[1].astype(np.float32)
    return centred * np.float32(NOISE * math.sqrt(6) / 256)
