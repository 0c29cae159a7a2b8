"""Pictures made where they are used: their bytes lie on the device, and only numbers of images cross to it.

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
from workloads.data.entries import Bytes
from workloads.streams.base import Pictures, Stream, pictures_of


class OnDevice:
    """What streams show, made on a device; a task's own images lie there for as long as they are shown."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.held: dict[int, tuple[Bytes, Tensor]] = {}  # by id of an array, which is held so that no other gets it

    def batches(self, streams: Sequence[Stream], start: int, count: int) -> tuple[Tensor, Tensor] | None:
        """x (count, S, B, inputs) float32, y (count, S, B) of all streams, on the device; None where one cannot."""
        offers = [pictures_of(stream, start, count) for stream in streams]
        shown = [pictures for pictures in offers if pictures is not None]
        if len(shown) < len(offers):
            return None
        self.held = {
            id(own): self.held.get(id(own)) or (own, sent(own, self.device))
            for pictures in shown
            if (own := pictures.images) is not None
        }
        x, y = (torch.stack(parts, 1) for parts in zip(*map(self.drawn, shown), strict=True))
        return x, y

    def drawn(self, pictures: Pictures) -> tuple[Tensor, Tensor]:
        """x (count, B, inputs) float32, y (count, B) of one stream."""
        numbers = sent(pictures.shown, self.device)
        if pictures.images is None or pictures.labels is None:
            images, labels = resident(pictures.dataset, self.device)
            y = labels[numbers.long()]
        else:
            images, y = self.held[id(pictures.images)][1], sent(pictures.labels, self.device)
        chosen = images.index_select(0, numbers.flatten())
        if pictures.pixels is not None:
            chosen = chosen.index_select(1, sent(pictures.pixels, self.device))
        # From a table, whose bits are the stream's: a GPU divides by multiplying with a rounded reciprocal.
        x = torch.tensor(pictures.shades, device=self.device)[chosen.int()]
        return x.view(*numbers.shape, -1), y


@functools.lru_cache(maxsize=4)
def resident(name: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """A data set's images (n, pixels) uint8 and labels (n,), once per process on a device."""
    dataset = front.load(name)
    images, labels = (torch.tensor(values, device=device) for values in (dataset.images, dataset.labels))
    return images, labels


def sent(values: NDArray[np.integer[Any]], device: torch.device) -> Tensor:
    """A copy of numbers on the device; towards a GPU the host does not wait for them to arrive."""
    tensor = torch.tensor(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
