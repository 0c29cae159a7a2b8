"""Examples for an engine: the coming steps of a pack's streams, in the shortest form that the engine takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workloads.data import front
from workloads.engine import Engine
from workloads.streams.base import Stream, pictures_of, rows_of
from workloads.streams.on_device import OnDevice

CHUNK_STEPS = 2000  # most steps of a stream held in memory at once
CHUNK_BYTES = 64 << 20  # most bytes of it
# On a GPU, where steps are replayed several together and what is left of a chunk one by one: sent there, or made there.
SENT_BYTES, MADE_BYTES = 256 << 20, 1 << 30


class Feed:
    """The streams of a pack, one per seed, and how their examples come to its device."""

    def __init__(self, streams: Sequence[Stream], device: torch.device, dtype: torch.dtype) -> None:
        """Floating-point examples come in `dtype`."""
        self.streams = streams
        self.device = device
        self.dtype = dtype
        self.on_device = OnDevice(device)
        per_step = sum(v[:1].nbytes for v in streams[0].batches(0, 1)) * len(streams)
        most = CHUNK_BYTES
        if device.type == "cuda":
            most = SENT_BYTES if pictures_of(streams[0], 0, 1) is None else MADE_BYTES
        self.chunk = max(1, min(CHUNK_STEPS, most // per_step))  # steps asked for at once

    def examples(self, engine: Engine, start: int, count: int) -> tuple[str, tuple[Any, ...]]:
        """Some steps in the first form that the engine takes and the streams have: its method, and what that takes."""
        if "rows" in engine.takes and (tables := self.tables(start, count)) is not None:
            return "advance_rows", tables
        if "pictures" in engine.takes and (pictures := self.pictures(start, count)) is not None:
            return "advance_pictures", pictures
        return "advance", self.batches(start, count)

    def batches(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        """x (count, S, B, ...), y (count, S, B, ...) of all distinct streams."""
        if self.device.type == "cuda":
            made = self.on_device.batches(self.streams, start, count)
            if made is not None:
                return made[0].to(self.dtype), made[1]
        drawn = [stream.batches(start, count) for stream in self.streams]
        return tuple(self.placed(np.stack([d[i] for d in drawn], axis=1)) for i in (0, 1))  # type: ignore[return-value]

    def tables(self, start: int, count: int) -> tuple[Tensor, Tensor, Tensor] | None:
        """The same as rows of small tables: x (S, K, ...), y (S, K, ...), index (S, count, B); None where it cannot."""
        offers = [rows_of(stream, start, count) for stream in self.streams]
        tables = [rows for rows in offers if rows is not None]
        if len(tables) < len(offers) or len({len(rows.x) for rows in tables}) > 1:
            return None
        x, y, index = (np.stack([getattr(rows, name) for rows in tables]) for name in ("x", "y", "index"))
        return self.placed(x), self.placed(y), self.placed(index)

    def pictures(self, start: int, count: int) -> tuple[Any, ...] | None:
        """Some steps as pictures of one data set, all their pixels in some order, or None.

        None where a stream does not know them so, where they are of several data sets or scales, where a task
        has images of its own, or where their pixels are not all of an image's, in some order.
        """
        offers = [pictures_of(stream, start, count) for stream in self.streams]
        pictures = [each for each in offers if each is not None and each.pixels is not None and each.images is None]
        if len(pictures) < len(offers) or len({(each.dataset, each.shades.tobytes()) for each in pictures}) > 1:
            return None
        dataset = front.load(pictures[0].dataset)
        shown, pixels = (
            np.stack([getattr(each, name) for each in pictures]).astype(np.int32) for name in ("shown", "pixels")
        )
        every = np.arange(dataset.images.shape[1])
        whole = pixels.shape[1] == len(every) and bool((np.sort(pixels) == every).all())
        if not whole or self.streams[0].loss != "cross_entropy":
            return None
        numbers = torch.from_numpy(shown), torch.from_numpy(pixels)
        return dataset.images, dataset.labels, pictures[0].shades, *numbers

    def placed(self, values: NDArray[Any]) -> Tensor:
        """An array on the device, floating-point values in the trial's type."""
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        if self.device.type == "cuda":  # the host does not wait for it to arrive
            tensor = tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor
