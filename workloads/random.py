"""Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011), keyed by (seed, what), counted by (step, index).

A draw is a pure function of who asks (the trial's seed), what for (a name such as "init/layers.0.weight"), when (the
step) and which (the index). So it is the same alone or in a pack, before or after a resume, on a CPU or a GPU;
nothing is ever advanced. One implementation serves numpy arrays (streams, initial weights) and torch tensors (inside
a traced step).

Integers are bit-equal everywhere. Uniforms are 24-bit multiples of 2^-24, so they are exact in float32 and float64
alike. Normals go through log, cos and sin of the platform and agree to about 2 ulp.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MASK = 0xFFFFFFFF
ROUND_A, ROUND_B = 0xD2511F53, 0xCD9E8D57  # multipliers
WEYL_A, WEYL_B = 0x9E3779B9, 0xBB67AE85  # key increments
ROUNDS = 10

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]


def what_code(what: str) -> int:
    """The 32-bit key word of a purpose; CRC-32, so it is the same in every process and version."""
    return zlib.crc32(what.encode())


def philox(counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> tuple[Any, Any, Any, Any]:
    """Four 32-bit words per counter; int64 arrays or tensors (or ints below 2^32) that broadcast together."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        # By the multipliers less 2^32, whose products fit an int64: where torch compiles this to C++, an overflow may
        # give anything.
        a, b = c0 * (ROUND_A - (1 << 32)), c2 * (ROUND_B - (1 << 32))
        c0, c1, c2, c3 = ((b >> 32) + c2) ^ c1 ^ k0, b & MASK, ((a >> 32) + c0) ^ c3 ^ k1, a & MASK
        k0, k1 = (k0 + WEYL_A) & MASK, (k1 + WEYL_B) & MASK
    return c0, c1, c2, c3


def words(seed: Int64 | int, what: str, step: Int64 | int, count: int) -> Int64:
    """Random 32-bit integers, shape (*step.shape, count), in [0, 2^32).

    Seeds may be many, of a shape that broadcasts to the result's with a last axis of 1, as those of several trials.
    Element i of a step is word i // blocks of counter block i % blocks, with blocks = ceil(count / 4).
    """
    blocks = -(-count // 4)
    at = np.asarray(step, dtype=np.int64)[..., None]
    index = np.arange(blocks, dtype=np.int64)
    zero = np.zeros_like(at + index)
    drawn = philox((index + zero, (at & MASK) + zero, (at >> 32) + zero, zero), (seed & MASK, what_code(what)))
    return np.concatenate(drawn, axis=-1)[..., :count]


def uniform(seed: Int64 | int, what: str, step: Int64 | int, count: int) -> Float64:
    """Uniform in [0, 1), shape (*step.shape, count), multiples of 2^-24."""
    drawn: Float64 = (words(seed, what, step, count) >> 8) * np.float64(2.0**-24)
    return drawn


def normal(seed: Int64 | int, what: str, step: Int64 | int, count: int) -> Float64:
    """Standard normal by Box-Muller, shape (*step.shape, count)."""
    half = -(-count // 2)
    drawn = words(seed, what, step, 2 * half) >> 8
    radius = np.sqrt(-2.0 * np.log((drawn[..., :half] + 1) * 2.0**-24))
    angle = (2.0 * math.pi * 2.0**-24) * drawn[..., half:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)[..., :count]


def integers(seed: Int64 | int, what: str, step: Int64 | int, count: int, below: int) -> Int64:
    """Integers in [0, below), below < 2^31; the bias of the multiply-and-shift is under below / 2^32."""
    return (words(seed, what, step, count) * below) >> 32


def permutation(seed: int, what: str, step: int, count: int) -> Int64:
    """A permutation of range(count): the order of `count` random words (equal words keep their order)."""
    return np.argsort(words(seed, what, step, count), kind="stable").astype(np.int64)


class Draw:
    """Random tensors for one network at one step, traceable by torch.

    `seed` and `step` are int64 scalars (tensors, so that a pack can batch over the seed).
    """

    def __init__(self, seed: Tensor, step: Tensor, dtype: torch.dtype) -> None:
        self.seed = seed
        self.step = step
        self.dtype = dtype

    def _words(self, what: str, count: int, offset: Tensor | int) -> Tensor:
        import torch

        blocks = -(-count // 4)
        index = torch.arange(blocks, dtype=torch.int64, device=self.seed.device)
        zero = torch.zeros_like(index)
        # The exclusive or hides from torch's compiler that these are a loop's indices: an index times a constant it
        # would write to C++ as a range whose steps are 32 bits wide, and they overflow.
        index = (index ^ zero) + offset * blocks
        counter = (index, zero + (self.step & MASK), zero + (self.step >> 32), zero)
        drawn: Tensor = torch.cat(philox(counter, (self.seed & MASK, what_code(what))))
        return drawn[:count]

    def uniform(self, what: str, count: int, *, offset: Tensor | int = 0) -> Tensor:
        """(count,) uniform in [0, 1); `offset` tells apart several draws of one purpose in one step."""
        return (self._words(what, count, offset) >> 8).to(self.dtype) * 2.0**-24

    def normal(self, what: str, count: int, *, offset: Tensor | int = 0) -> Tensor:
        """(count,) standard normal."""
        import torch

        half = -(-count // 2)
        drawn = (self._words(what, 2 * half, offset) >> 8).to(self.dtype)
        radius = torch.sqrt(-2.0 * torch.log((drawn[:half] + 1) * 2.0**-24))
        angle = (2.0 * math.pi * 2.0**-24) * drawn[half:]
        return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)])[:count]
