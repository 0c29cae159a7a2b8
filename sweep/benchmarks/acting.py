"""How many steps a second agents make and learn from, in packs of 8 and 16, beside one agent in a plain loop.

The loop is PPO as anybody writes it (`plain_ppo.py`: torch.nn, torch.optim, one agent, its environments as one array).
Both sides act in the same worlds by the same settings, on one core, learning included: whole iterations by turns, by
the processor's time, since neither waits for anything; the best counts. What compiles is outside, and told apart.
Beside the ratio stand the shares of a pack's time: the worlds' own, that of asking networks, that of learning.

    python -m sweep.benchmarks.acting
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sweep.benchmarks.bench import on_one_core
from sweep.benchmarks.plain_ppo import PlainPPO
from sweep.packing import path_of
from workloads import kinds
from workloads.networks.config import MLPConfig
from workloads.reinforcement.training import ActingTraining
from workloads.reinforcement.worlds import World
from workloads.training.pack import Pack, PackMember

MEMBERS = (8, 16)
TARGET = 1.4  # times as many steps as the plain loop
STRETCHES = 3  # of either side; the best counts


@dataclass(frozen=True, slots=True)
class Setting:
    """Agents of one kind in one world."""

    world: dict[str, Any]
    width: int
    depth: int


SETTINGS: dict[str, Setting] = {
    "cart_pole": Setting({"name": "continual_control", "envs": 8, "ppo": "modern"}, 64, 2),
    "cart_pole_small": Setting({"name": "continual_control", "envs": 8, "ppo": "modern"}, 32, 1),
    "ant": Setting({"name": "ant"}, 256, 2),
}


@dataclass(frozen=True, slots=True)
class Speed:
    """Steps a second of one core, of one agent's environments in the loop, and of all agents' in the pack."""

    setting: str
    members: int
    path: str
    plain: float
    pack: float
    first_s: float  # from the pack's description to the end of its first iteration, programs compiled or from the cache
    worlds: float  # shares of the pack's time: its worlds',
    asking: float  # that of asking networks for actions and values,
    learning: float  # and that of the engines

    @property
    def times(self) -> float:
        """As fast as the plain loop."""
        return self.pack / self.plain


class Clock:
    """The processor's time within some functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time counts."""

        def timed(*given: Any) -> Any:
            began = time.process_time()
            try:
                return function(*given)
            finally:
                self.seconds += time.process_time() - began

        return timed


def trial(setting: Setting, seed: int) -> dict[str, Any]:
    """A trial's config: one task, of as many iterations as its longest episode takes."""
    fields = {name: value for name, value in setting.world.items() if name != "name"}
    world: Any = kinds.WORKLOADS[setting.world["name"]]
    alone = world(world.Config(**fields, tasks=1), seed)
    iterations = -(-alone.envs * alone.longest // alone.iteration)
    return {
        "workload": {**setting.world, "tasks": 1, "steps_per_task": iterations * alone.iteration},
        "network": {"name": "mlp", "width": setting.width, "depth": setting.depth, "initialisation": "lecun"},
        "optimizer": {"name": "adam", "step_size": 3e-4},
        "methods": {},
        **{"seed": seed, "metrics": [], "every": 1, "probe": 1, "dtype": "float32", "keep": "none"},
    }


def measured(name: str, members: int) -> Speed:
    """One row, in this process."""
    setting = SETTINGS[name]
    configs = [trial(setting, seed) for seed in range(members)]
    began = time.perf_counter()
    pack = Pack(
        id="", members=[PackMember(str(i), own) for i, own in enumerate(configs)], path=path_of(configs[0], "cpu")[0]
    )
    training = ActingTraining(pack)
    training.begin()
    training.train_chunk(0)
    first = time.perf_counter() - began
    clocks = watched(training)
    world = kinds.made(configs[0]["workload"], 0)
    assert isinstance(world, World)
    network = MLPConfig(width=setting.width, depth=setting.depth, initialisation="lecun")
    plain = PlainPPO(world, network, lr=3e-4)
    plain.iterate()
    times = [[timed(side) for side in (plain.iterate, lambda: training.train_chunk(0))] for _ in range(STRETCHES)]
    alone, together = (min(side) for side in zip(*times, strict=True))
    whole = sum(pack for _, pack in times)
    shares = [clock.seconds / whole for clock in clocks]
    speeds = world.iteration / alone, members * world.iteration / together
    return Speed(name, members, training.path, *speeds, first, *shares)


def watched(training: ActingTraining) -> list[Clock]:
    """Clocks around what a pack's time goes to: its worlds, asking networks, learning."""
    worlds, asking, learning = Clock(), Clock(), Clock()
    agents: Any = training.engine
    for name in ("step", "observe"):
        setattr(agents.worlds, name, worlds.around(getattr(agents.worlds, name)))
    for forward in agents.forwards:
        of = forward.of
        forward.of = lambda *given, of=of: asking.around(of(*given))
    for engine in agents.engines:
        engine.advance = learning.around(engine.advance)
    return [worlds, asking, learning]


def timed(stretch: Callable[[], None]) -> float:
    """Seconds of the processor."""
    began = time.process_time()
    stretch()
    return time.process_time() - began


def main(arguments: Sequence[str] | None = None) -> int:
    """Packs of agents beside the plain loop."""
    parser = argparse.ArgumentParser(prog="python -m sweep.benchmarks.acting", description=main.__doc__)
    parser.add_argument("settings", nargs="*", choices=[*SETTINGS, []], help="all unless given")
    parser.add_argument("--json", action="store_true", help="one line of JSON per row")
    options = parser.parse_args(arguments)
    on_one_core()
    for name in options.settings or SETTINGS:
        for members in MEMBERS:
            row = measured(name, members)
            print(json.dumps(asdict(row)) if options.json else told(row), flush=True)
    return 0


def told(row: Speed) -> str:
    """A row in words."""
    return (
        f"{row.setting:15} {row.members:2} agents, {row.path}: loop {row.plain:,.0f} steps/s, pack {row.pack:,.0f}, "
        f"{row.times:.1f} times (at least {TARGET:g}); worlds {row.worlds:.0%}, asking {row.asking:.0%}, learning "
        f"{row.learning:.0%}; first iteration {row.first_s:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
