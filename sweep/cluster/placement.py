"""Where a run trains, in this process or on a Ray of this machine, and how long that takes as far as it is known.

Ray trains a pack per core and outlives a pack that takes its worker down; it also takes seconds to start. A sweep that
would be done in that time trains here.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

from sweep.cluster import calibration
from sweep.packing import PlannedPack, looks_at, multiplied, sizes_of, step_cost
from workloads.diagnostics.costs import look_cost
from workloads.machine import cpus
from workloads.paths import LANES

HERE, RAY = "here", "ray"
TO_START = {HERE: 3.0, RAY: 12.0}  # seconds until a pack begins, on a machine where that was not measured
MOST_HERE = 60.0  # seconds of training that Ray's start may be saved for

# For packs that were not measured, what a step costs: calls, seconds per weight and example beside plain SGD's, and per
# multiply-add of products; what a look costs: calls, and seconds per multiply-add of what `look_cost` counts.
COMPILING = {"lanes": 2.0, "online": 2.0, "lifted": 30.0}  # seconds per pack
PER_CALL = {"lanes": 3e-7, "online": 1e-6, "lifted": 5e-5}  # elsewhere UNCOMPILED
UNCOMPILED = 4e-4
PER_WEIGHT = {"lanes": 1.5e-10, "online": 1e-10}  # elsewhere 1e-9
PER_PRODUCT = 3e-11
PER_EXAMPLE = 5e-8  # to make it
PER_LOOK, PER_MULTIPLY_ADD = 5e-3, 1e-10


def on_ray_already() -> bool:
    """Whether this process is connected to a Ray, perhaps of other machines; without importing it to find out."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def start_key(where: str) -> str:
    """Under what name the calibration keeps how long a start takes."""
    return f"start:{where}"


def to_start(where: str, measured: Mapping[str, float]) -> float:
    """Seconds until the first pack begins."""
    return measured.get(start_key(where), TO_START[where])


def together(seconds: Sequence[float], at_once: int) -> float:
    """How long packs take of which `at_once` train beside each other: the longest is a bound, however many do."""
    return max(sum(seconds) / at_once, *seconds) if seconds else 0.0


def measured_seconds(pack: PlannedPack, measured: Mapping[str, float]) -> float | None:
    """How long a pack takes, or None where none like it was measured."""
    per_step = measured.get(calibration.key_of(pack))
    return None if per_step is None else per_step * pack.shape.steps


def guessed_seconds(pack: PlannedPack) -> float:
    """How long a pack may take, within a factor of some five: enough to tell small from large."""
    return COMPILING.get(pack.path, 0.0) + guessed_training(pack) + guessed_looks(pack)


def guessed_training(pack: PlannedPack) -> float:
    """Of that all steps."""
    members, shape = len(pack.trials), pack.shape
    lanes = math.ceil(members / LANES) * LANES if pack.path == "lanes" else members
    examples = max(1, shape.batch / 2)  # of several, weights are read and written once
    config = pack.trials[0].config
    weights = shape.parameters * lanes * examples * step_cost(config)
    products = PER_PRODUCT * shape.parameters * lanes * multiplied(config, shape)
    calls = members if pack.path in ("plain", "looped", "online") else 1
    step = PER_CALL.get(pack.path, UNCOMPILED) * calls + PER_WEIGHT.get(pack.path, 1e-9) * weights + products
    return (step + PER_EXAMPLE * members * shape.batch) * shape.updates


def guessed_looks(pack: PlannedPack) -> float:
    """Of that all looks at the networks: the same program on every path, whose small ones are calls alone."""
    config, shape = pack.trials[0].config, pack.shape
    if not (passes := look_cost(config["metrics"], sizes_of(config, shape))):
        return 0.0
    each = PER_LOOK + PER_MULTIPLY_ADD * passes * shape.parameters * len(pack.trials)
    return looks_at(config, shape) * each


def at_once(packs: Sequence[PlannedPack], workers: int | None) -> int:
    """How many packs train beside each other on Ray."""
    return max(1, min(workers or cpus(), len(packs)))


def sooner_here(packs: Sequence[PlannedPack], *, times: float, workers: int | None) -> bool:
    """Whether packs are done sooner one after the other in this process than on a Ray that must start first.

    `times`: how many times these packs' work there is, with that of rounds that are not known yet.
    """
    measured = calibration.read()
    seconds = []
    for pack in packs:
        taken = measured_seconds(pack, measured)
        seconds.append(guessed_seconds(pack) if taken is None else taken)
    here = times * sum(seconds)
    on_ray = times * together(seconds, at_once(packs, workers))
    return here <= MOST_HERE and to_start(HERE, measured) + here <= to_start(RAY, measured) + on_ray


def trains_here(
    packs: Sequence[PlannedPack],
    *,
    times: float = 1.0,
    asked: bool | None = None,
    address: str | None = None,
    workers: int | None = None,
) -> bool:
    """Where a run trains: as it was asked to, on the cluster or the GPUs that were named, else where it is sooner."""
    if asked is not None:
        return asked
    return (
        address is None
        and all(pack.device == "cpu" for pack in packs)
        and sooner_here(packs, times=times, workers=workers)
    )
