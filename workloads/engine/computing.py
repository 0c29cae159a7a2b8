"""How the processor is set while a pack computes: on every path alike, and put back as it was afterwards.

Numbers below the normal range count as zero, read or written (x86: FTZ and DAZ in MXCSR; ARM: FZ in FPCR). Adam's
moments of silent units decay into that range and stay there, since 0.9 x rounds back to the smallest number of all, and
many processors need some 150 cycles for every operation on one: aged networks then train ten times slower than newborn
ones. Ways of computing agree on what such a number is only where all of them flush.

These settings belong to a thread. Torch's helper threads have their own, which nothing here can reach, so a pack is one
thread's work; that is also why its bits do not depend on how many cores there are. Packs train beside each other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

FLUSHED = True  # False measures what subnormal numbers cost: results then are other ones


def flushes() -> bool:
    """Whether this thread takes subnormal numbers for zero."""
    return sys.float_info.min / 2 == 0


@contextmanager
def computing() -> Iterator[None]:
    """Within: subnormal numbers are zero, torch keeps to this thread and records no gradients. May be nested."""
    before, threads = flushes(), torch.get_num_threads()
    if threads > 1:
        torch.set_num_threads(1)
    torch.set_flush_denormal(FLUSHED)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_flush_denormal(before)
        if threads > 1:
            torch.set_num_threads(threads)


@contextmanager
def subnormal() -> Iterator[None]:
    """Within: numbers below the normal range count, as in anybody's programs, in this thread and those it starts."""
    before = flushes()
    torch.set_flush_denormal(False)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
