"""How many steps a second agents make and learn from, in a pack, beside one agent in a plain loop.

The loop is PPO as anybody writes it (`plain_ppo.py`: torch.nn, torch.optim, one agent), once in the same worlds, its
environments as one array, and once the way of single-file implementations, on Gymnasium's own environments stepped one
after the other (`stock_worlds.py`; the ant is Ant-v5 there, whose contact forces are shown and cost, where the pack's
is Ant-v3). Such implementations have a process for every run; here both loops and the pack are in one, whole iterations
by turns, so that starting processes and what they take from each other count nowhere. All by the same settings, on one
core, learning included, by the processor's time, since none waits for anything; the best counts. What compiles is
outside, and told apart. Beside the ratio stand the shares of a pack's time: the worlds' own and of that MuJoCo's, that
of asking networks, that of learning.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sweep.benchmarks.plain_ppo import PlainPPO
from sweep.benchmarks.rows import AgentsRow, versions
from sweep.benchmarks.stock_worlds import StockWorlds
from sweep.benchmarks.turns import busy, by_turns
from sweep.benchmarks.world_cases import Agents
from sweep.packing import path_of
from workloads import kinds
from workloads.networks.config import MLPConfig
from workloads.reinforcement.simulations import Simulations
from workloads.reinforcement.training import ActingTraining
from workloads.reinforcement.worlds import World
from workloads.training.pack import Pack, PackMember

STEP_SIZE = 3e-4


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


def trial(case: Agents, seed: int) -> dict[str, Any]:
    """A trial's config: one task, of as many iterations as its longest episode takes."""
    kind: Any = kinds.WORKLOADS[case.stream]
    alone = kind(kind.Config(**case.settings, tasks=1), seed)
    iterations = -(-alone.envs * alone.longest // alone.iteration)
    steps = {"tasks": 1, "steps_per_task": iterations * alone.iteration}
    return {
        "workload": {"name": case.stream, **case.settings, **steps},
        "network": {"name": "mlp", "width": case.width, "depth": case.depth, "initialisation": "lecun"},
        "optimizer": {"name": "adam", "step_size": STEP_SIZE},
        "methods": {},
        **{"seed": seed, "metrics": [], "every": 1, "probe": 1, "dtype": "float32", "keep": "none"},
    }


def measured(case: Agents) -> AgentsRow:
    """One row, in this process."""
    training, first = new_pack(case)
    clocks = watched(training)
    plain, stock = loop(case, stock=False), loop(case, stock=True)
    plain.iterate()
    stock.iterate()
    sides = (plain.iterate, stock.iterate, lambda: training.train_chunk(0))
    times = by_turns([partial(busy, side) for side in sides])
    alone, single, together = map(min, times)
    steps = plain.world.iteration
    shares = {name: round(clock.seconds / sum(times[-1]), 3) for name, clock in clocks.items()}
    return AgentsRow(
        stream=case.stream,
        network=case.subject,
        arm=case.arm,
        members=case.members,
        envs=plain.world.envs,
        path=training.path,
        pack=round(case.members * steps / together, 1),
        plain=round(steps / alone, 1),
        gymnasium=round(steps / single, 1),
        ratio=round(case.members * alone / together, 3),
        target=case.target,
        physics=shares.get("physics"),
        worlds=shares["worlds"],
        asking=shares["asking"],
        learning=shares["learning"],
        first_call_s=round(first, 2),
        versions=versions("gymnasium", "mujoco"),
    )


def new_pack(case: Agents) -> tuple[ActingTraining, float]:
    """(the case's agents after an iteration, seconds from their description to there)."""
    members = [PackMember(str(seed), trial(case, seed)) for seed in range(case.members)]
    began = time.perf_counter()
    training = ActingTraining(Pack(id="", members=members, path=path_of(members[0].config, "cpu")[0]))
    training.begin()
    training.train_chunk(0)
    return training, time.perf_counter() - began


def loop(case: Agents, *, stock: bool) -> PlainPPO:
    """One agent, in the worlds that the pack's are in or in Gymnasium's."""
    shown = case.stock_settings if stock else {}
    world = kinds.made({**trial(case, 0)["workload"], **shown}, 0)
    assert isinstance(world, World)
    network = MLPConfig(width=case.width, depth=case.depth, initialisation="lecun")
    return PlainPPO(world, network, StockWorlds(world, case.stock) if stock else None, lr=STEP_SIZE)


def watched(training: ActingTraining) -> dict[str, Clock]:
    """Clocks around what a pack's time goes to: its worlds, asking networks, learning; where MuJoCo steps, physics."""
    agents: Any = training.engine
    parts = ("worlds", "asking", "learning", *(["physics"] if isinstance(agents.worlds, Simulations) else []))
    clocks = {part: Clock() for part in parts}
    for part, name in (("worlds", "step"), ("worlds", "observe"), ("physics", "integrate")):
        if part in clocks:
            setattr(agents.worlds, name, clocks[part].around(getattr(agents.worlds, name)))
    for forward in agents.forwards:
        of = forward.of
        forward.of = lambda *given, of=of: clocks["asking"].around(of(*given))
    for engine in agents.engines:
        engine.advance = clocks["learning"].around(engine.advance)
    return clocks
