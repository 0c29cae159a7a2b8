"""How much of a robot's step is physics: worlds beside `mj_step` alone, and beside Gymnasium's vector of environments.

Of every step the same simulations are taken from the same states by a plain loop over `mj_step`, by turns before and
after the worlds, actions drawn at random; Gymnasium's vector steps its own, each in its turn. In processor time, so
that neighbours count for less. How many times as fast the worlds step on all processors is told by the clock on the
wall.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import mujoco
import numpy as np

from sweep.benchmarks.rows import RobotsRow, versions
from sweep.benchmarks.turns import REPEATS, busy
from sweep.benchmarks.world_cases import Robots
from workloads import kinds
from workloads.machine import cpus
from workloads.reinforcement.locomotion import Locomotion
from workloads.reinforcement.simulations import Simulations, quiet


def measured(case: Robots) -> RobotsRow:
    """One row, in this process."""
    kind = kinds.WORKLOADS[case.stream]
    assert issubclass(kind, Locomotion)
    own = [kind(kind.Config(envs=1, **case.settings), seed) for seed in range(case.members)]
    worlds, threads = kind.simulations(own), cpus()
    worlds.start()
    actions = np.random.default_rng(0).uniform(-1, 1, (case.steps, case.members, 1, worlds.body.actions))
    with quiet():  # of the cheetah's model
        vector = gymnasium.make_vec(case.stock, num_envs=case.members)
    vector.reset(seed=0)
    physics, ours, theirs = interleaved(worlds, vector, actions)
    several = kind.simulations(own, threads)
    several.start()
    alone, together = (min(walls(each, actions) for _ in range(REPEATS)) for each in (worlds, several))
    us = 1e6 / (case.steps * case.members)
    return RobotsRow(
        stream=case.stream,
        environment=case.subject,
        arm=case.arm,
        members=case.members,
        physics_us=round(us * physics, 2),
        worlds_us=round(us * ours, 2),
        gymnasium_us=round(us * theirs, 2),
        ratio=round(physics / ours, 3),
        target=case.target,
        cores=threads,
        times=round(alone / together, 2),
        versions=versions("gymnasium", "mujoco"),
    )


def interleaved(worlds: Simulations, vector: gymnasium.vector.VectorEnv[Any, Any, Any], actions: Any) -> list[float]:
    """Seconds of processor time of all steps: of physics alone, of the worlds, of Gymnasium's vector."""
    count = len(actions[0])
    data = [mujoco.MjData(worlds.model) for _ in range(count)]
    whole = mujoco.mjtState.mjSTATE_INTEGRATION.value

    def physics() -> None:
        for model, each in zip(models, data, strict=True):
            mujoco.mj_step(model, each, worlds.body.substeps)

    taken = [0.0, 0.0, 0.0]
    for step, chosen in enumerate(actions):
        models = [worlds.batch.get_model(i) for i in range(count)]
        for model, each, state, control in zip(models, data, worlds.batch.state, chosen[:, 0], strict=True):
            mujoco.mj_setState(model, each, state, whole)
            each.ctrl[:] = control
        runs: list[Callable[[], Any]] = [
            physics,
            partial(worlds.step, chosen),
            partial(vector.step, chosen[:, 0].astype(np.float32)),
        ]
        for side in (0, 1, 2) if step % 2 else (2, 1, 0):
            taken[side] += busy(runs[side])
    return taken


def walls(worlds: Simulations, actions: Any) -> float:
    """Seconds on the wall of all steps."""
    began = time.perf_counter()
    for chosen in actions:
        worlds.step(chosen)
    return time.perf_counter() - began
