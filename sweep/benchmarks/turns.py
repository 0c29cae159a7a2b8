"""Sides measured by turns in one process: what a machine's moods do to one of them, they do to all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

REPEATS = 3  # of every side; the best counts, since noise only ever adds


def by_turns(sides: Sequence[Callable[[], float]], repeats: int = REPEATS) -> list[tuple[float, ...]]:
    """What each side returned, repeat after repeat."""
    return list(zip(*([side() for side in sides] for _ in range(repeats)), strict=True))


def busy(run: Callable[[], object]) -> float:
    """Seconds of processor time that a call takes: for what waits for nothing, so that neighbours count for less."""
    began = time.process_time()
    run()
    return time.process_time() - began


def on_one_core(core: int | None = None) -> None:
    """Pin this process, to the first core that it may use unless told, and keep torch to one thread."""
    import torch

    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0)) if core is None else core})
