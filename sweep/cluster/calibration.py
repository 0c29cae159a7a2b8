"""How long packs like this one took on this machine: learned from every pack that ran, asked by `sweep plan`. And how
long whole sweeps took, for `sweep studies`.

A small JSON file in the cache folder, keyed by what a pack's trials share, the path and the number of members (rounded
up to a power of two, since calls cost the same for few members as for many). A missing entry is "not measured".
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from sweep.packing import PlannedPack, looks_at
from workloads import machine

STRETCHES = 5  # that a measurement is the median of


def cache_file() -> Path:
    """Where the measurements are kept."""
    return machine.kept("calibration.json")


def key_of(pack: PlannedPack) -> str:
    """What makes two packs comparable."""
    return f"{pack.structure}:{pack.path}:{pack.device}:{1 << (len(pack.trials) - 1).bit_length()}"


def looks_key(pack: PlannedPack) -> str:
    """Under what name the seconds per step are kept that looking at the networks takes, spread over all steps."""
    return f"looks:{key_of(pack)}"


def run_key(name: str, scale: str, text: str) -> str:
    """What names a sweep's run from beginning to end: the sweep, and its file as it was."""
    return f"run:{name}@{scale}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def read() -> dict[str, float]:
    """Seconds per step of a whole pack, by key; empty where nothing was measured or the file is damaged."""
    try:
        content = json.loads(cache_file().read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: float(value) for key, value in content.items() if isinstance(value, int | float)}


def record(measured: dict[str, float]) -> None:
    """Add measurements. A cache that cannot be written is no error: plans then say "not measured"."""
    with contextlib.suppress(OSError):
        file = cache_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps({**read(), **measured}, indent=0, sort_keys=True))
        os.replace(beside, file)


def measure(pack: PlannedPack, *, steps: int = 400) -> dict[str, float]:
    """Seconds per step of a pack, by training it for a few steps here (its first call, compilation included, apart).

    To be recorded: of all, and under another name of what it takes to look at the networks.

    The median of several stretches: the program that replaces units is compiled when the first is old enough, which
    may be in any of them. What it takes to look at the networks is spread over all steps.
    """
    import time
    from statistics import median

    from workloads.training.loop import training_of
    from workloads.training.pack import Pack

    training = training_of(Pack(id=pack.id, members=pack.trials, path=pack.path, device=pack.device))
    training.begin()
    end = training.stream.task_start(1)
    training.train(min(end, steps // 4))
    stretches: list[float] = []  # seconds per step
    while training.step < end and len(stretches) < STRETCHES:
        began, first = time.perf_counter(), training.step
        training.train(min(end, first + steps // STRETCHES))
        stretches.append((time.perf_counter() - began) / (training.step - first))
    each = median(stretches or [0.0])
    began = time.perf_counter()
    training.diagnose(0)
    looks = looks_at(pack.trials[0].config, pack.shape)
    looking = (time.perf_counter() - began) * looks / pack.shape.steps
    return {key_of(pack): each + looking, looks_key(pack): looking}
