"""How much of a robot's step is physics: worlds beside `mj_step` alone, and beside Gymnasium's vector of environments.

Of every step the same simulations are taken from the same states by a plain loop over `mj_step`, by turns before and
after the worlds, actions drawn at random; Gymnasium's vector steps its own, each in its turn. In processor time, so
that neighbours count for less. How many times as fast the worlds step on all processors is told by the clock on the
wall.

    python -m sweep.benchmarks.stepping
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import gymnasium
import mujoco
import numpy as np

from sweep.benchmarks.bench import REPEATS
from workloads.machine import cpus
from workloads.reinforcement.locomotion import Ant, HalfCheetah, Hopper, Locomotion, SlipperyAnt, Walker
from workloads.reinforcement.simulations import Simulations, quiet

ROBOTS: dict[str, tuple[type[Locomotion], dict[str, Any], str]] = {
    "slippery_ant": (SlipperyAnt, {}, "workloads.reinforcement.slippery_ant:pliant/SlipperyAnt-v0"),
    "ant": (Ant, {"version": "v5"}, "Ant-v5"),  # which sees contact forces
    "hopper": (Hopper, {}, "Hopper-v5"),
    "walker": (Walker, {}, "Walker2d-v5"),
    "half_cheetah": (HalfCheetah, {}, "HalfCheetah-v5"),
}
MEMBERS = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Stepping:
    """One row: a robot, members of one environment each, and microseconds per environment's step."""

    robot: str
    members: int
    physics_us: float
    worlds_us: float
    gymnasium_us: float
    threads: int
    times: float  # as fast on so many threads as on one

    @property
    def share(self) -> float:
        """Of the worlds' time that is physics."""
        return self.physics_us / self.worlds_us


def measured(robot: str, members: int, steps: int) -> Stepping:
    """One row, of so many steps of every environment."""
    kind, settings, name = ROBOTS[robot]
    own = [kind(kind.Config(envs=1, **settings), seed) for seed in range(members)]
    worlds = kind.simulations(own)
    worlds.start()
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, members, 1, worlds.body.actions))
    with quiet():  # of the cheetah's model
        vector = gymnasium.make_vec(name, num_envs=members)
    vector.reset(seed=0)
    sides = interleaved(worlds, vector, actions)
    threads = cpus()
    several = kind.simulations(own, threads)
    several.start()
    alone, together = (min(walls(each, actions) for _ in range(REPEATS)) for each in (worlds, several))
    physics, ours, theirs = (side / (steps * members) * 1e6 for side in sides)
    return Stepping(robot, members, physics, ours, theirs, threads, alone / together)


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
            began = time.process_time()
            runs[side]()
            taken[side] += time.process_time() - began
    return taken


def walls(worlds: Simulations, actions: Any) -> float:
    """Seconds on the wall of all steps."""
    began = time.perf_counter()
    for chosen in actions:
        worlds.step(chosen)
    return time.perf_counter() - began


def told(row: Stepping) -> str:
    """A row as the table of the README beside this file has it."""
    numbers = f"{row.physics_us:.1f} | {row.worlds_us:.1f} | {row.share:.0%} | {row.gymnasium_us:.1f}"
    return f"| {row.robot} | {row.members} | {numbers} | {row.times:.1f} of {row.threads} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """How much of a robot's step is physics."""
    parser = argparse.ArgumentParser(prog="python -m sweep.benchmarks.stepping", description=main.__doc__)
    parser.add_argument("--robot", choices=ROBOTS, help="only this one")
    parser.add_argument("--members", type=int, help="only so many")
    parser.add_argument("--steps", type=int, default=300, help="of every environment")
    parser.add_argument("--json", action="store_true", help="one line of JSON per row")
    options = parser.parse_args(arguments)
    for robot in [options.robot] if options.robot else ROBOTS:
        for members in [options.members] if options.members else MEMBERS:
            row = measured(robot, members, options.steps)
            print(json.dumps(asdict(row)) if options.json else told(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
