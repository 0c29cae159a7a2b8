"""How both online loops keep numbers: weights as [in][padded out], pictures as the C++ lays them out itself.

And when they make up for what they put off: decay that rows owe, sums of weights that are kept by what changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workloads.data.entries import Bytes
from workloads.random import Int64

Shades = NDArray[np.float32]  # (256,): what each value of a pixel is as an input

LEAST = 0.5  # of a weight that may be left, or its inverse, before what is owed is paid
LONGEST = 256  # steps that a row which is read may owe
REFRESH = 1000  # steps after which sums of weights that were kept by their changes are taken anew


def padded(size: int) -> int:
    """`size` up to a whole number of vectors."""
    return -(-size // 16) * 16


def inside(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """(P, out, in) -> (P, in, padded out), zero in the padding."""
    wide = weight.new_zeros(len(weight), weight.shape[2], padded(weight.shape[1]), dtype=dtype)
    wide[:, :, : weight.shape[1]] = weight.transpose(1, 2)
    return wide


def bits(value: Tensor) -> Tensor:
    """The tensor's bits as integers, so that NaN equals itself."""
    return value.contiguous().view(torch.int32 if value.dtype == torch.float32 else torch.int64)


@dataclass(frozen=True, slots=True)
class Pictures:
    """What `advance_pictures` is given, contiguous, and kept for as long as its addresses are used."""

    images: Bytes  # (n, inputs)
    labels: Int64  # (n,)
    shades: Tensor  # (256,), what each pixel value is as an input
    shown: Tensor  # (S, count, B) int32, numbers of images
    places: Tensor  # (S, inputs) int32: pixel i of an image is input places[s, i]

    def seen(self, stream: int, first: int = 0) -> tuple[int, ...]:
        """The addresses that the C++ takes, for a stream from step `first` on."""
        own = (self.shades.data_ptr(), self.shown[stream, first:].data_ptr(), self.places[stream].data_ptr())
        return (self.images.ctypes.data, self.labels.ctypes.data, *own)


def pictures(
    images: Bytes, labels: Int64, shades: Shades, shown: Tensor, pixels: Tensor, dtype: torch.dtype
) -> Pictures:
    """`pixels` (S, inputs): input i of stream s is pixel pixels[s, i]; `shades` (256,): pixel values as inputs."""
    laid = np.ascontiguousarray(images), np.ascontiguousarray(labels)
    return Pictures(*laid, torch.tensor(shades, dtype=dtype), shown.contiguous(), pixels.argsort(1).int())
