"""Pictures made where they are used: a data set's bytes lie on the device, and only numbers of images cross to it.

A stream says by `pictures` which images it shows and in which order their pixels are. What is made of it has the bits
of the stream's own `batches`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workloads.data import front
from workloads.streams.base import Pictures, Stream, pictures_of


def batches_on(device: torch.device, streams: Sequence[Stream], start: int, count: int) -> tuple[Tensor, Tensor] | None:
    """x (count, S, B, inputs) float32, y (count, S, B) of all streams, on the device; None where one cannot."""
    offers = [pictures_of(stream, start, count) for stream in streams]
    batches = [drawn(pictures, device) for pictures in offers if pictures is not None]
    if len(batches) < len(offers):
        return None
    x, y = (torch.stack(parts, 1) for parts in zip(*batches, strict=True))
    return x, y


def drawn(pictures: Pictures, device: torch.device) -> tuple[Tensor, Tensor]:
    """x (count, B, inputs) float32, y (count, B) of one stream."""
    images, labels = resident(pictures.dataset, device)
    shown = sent(pictures.shown, device)
    chosen = images.index_select(0, shown.flatten())
    if pictures.pixels is not None:
        chosen = chosen.index_select(1, sent(pictures.pixels, device))
    # From a table, whose bits are the stream's: a GPU divides by multiplying with a rounded reciprocal.
    x = torch.tensor(pictures.shades, device=device)[chosen.int()]
    y = labels[shown.long()] if pictures.labels is None else sent(pictures.labels, device)
    return x.view(*shown.shape, -1), y


@functools.lru_cache(maxsize=4)
def resident(name: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """A data set's images (n, pixels) uint8 and labels (n,), once per process on a device."""
    dataset = front.load(name)
    images, labels = (torch.tensor(values, device=device) for values in (dataset.images, dataset.labels))
    return images, labels


def sent(values: NDArray[np.integer[Any]], device: torch.device) -> Tensor:
    """Numbers on the device; towards a GPU the host does not wait for them to arrive."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
