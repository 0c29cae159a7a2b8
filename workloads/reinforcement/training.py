"""The loop of a trial whose learner makes its own data by acting: tasks of a changing world, looked at by returns.

A task's `average_return` is over the episodes that ended in it. Diagnostics look at the policy's network, on what its
member saw last; before the first step, on the world's probe.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workloads.diagnostics import BINS, DIAGNOSTICS, by_probe
from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import measure
from workloads.engine import Engine, build
from workloads.engine.computing import computing
from workloads.engine.layout import Tree, mapped
from workloads.engine.tasks import task_begun
from workloads.learner import Learner
from workloads.methods.base import Params
from workloads.reinforcement.agents import OF_A_STRETCH, Agents, critic_seed, critic_seeds, sums_of
from workloads.reinforcement.deviation import WithDeviation
from workloads.reinforcement.ppo import ValueLoss
from workloads.reinforcement.worlds import World
from workloads.training.assembled import MakeParams, network_of, ways_of_learning, workload_of
from workloads.training.held_out import evaluated
from workloads.training.members import Members, shown_within
from workloads.training.pack import Pack


class ActingTraining(Members[World, Agents]):
    """A pack of trials that act. The members' network is the policy's; the value's is its like, with one output."""

    @computing()
    def __init__(
        self,
        pack: Pack,
        *,
        initial: MakeParams | None = None,
        dtype: torch.dtype | None = None,
        path: str | None = None,
    ) -> None:
        """`initial`: seed -> the policy's parameters."""
        config = pack.members[0].config

        def make(seed: int) -> World:
            world = workload_of(config, seed)
            assert isinstance(world, World)
            return world

        world = make(0)
        value = network_of(config, world, world.heads[1])
        self.critic = Learner(value, ValueLoss(world.ppo.value_weight), *ways_of_learning(config))
        super().__init__(pack, make, initial=initial, dtype=dtype, path=path)

    def new_engine(self) -> Agents:
        """See Members."""

        def engine(learner: Learner, hyper: Tree, seeds: Tensor) -> Engine:
            return build(self.path, learner, hyper, seeds, tf32=self.config["dtype"] == "tf32")

        return Agents(
            self.learner,
            self.critic,
            self.stream_of_seed,
            engine,
            self.hyper,
            self.seeds,
            self.dtype,
            alone=self.path in ("plain", "looped"),
            churn="policy_churn" in self.config["metrics"],
        )

    def newborn(self, make_params: MakeParams) -> Tree:
        """See Members."""
        members = [self.stream_of_seed[seed] for seed in self.seeds.tolist()]
        worlds = members[0].worlds(members)
        worlds.start()
        zero = torch.zeros(len(members), dtype=torch.float64, device=self.device)
        probe = torch.from_numpy(self.stream.probe(0, self.seen)).to(self.device, self.dtype)
        return {
            **self.untrained(self.learner, self.beginning(make_params)),
            "critic": self.untrained(self.critic, self.beginning(self.first_values)),
            "world": {name: torch.from_numpy(value) for name, value in worlds.state().items()},
            "sums": {name: zero.clone() for name in sums_of(self.config["metrics"])},
            "seen": probe.expand(len(members), *probe.shape).clone(),
        }

    def first_values(self, seed: int) -> Params:
        """The parameters that a critic begins with."""
        return self.critic.network.init(critic_seed(seed))

    @property
    def seen(self) -> int:
        """How many of a member's last observations are kept: what the diagnostics that are asked for look at."""
        names = [name for name in self.config["metrics"] if name in DIAGNOSTICS]
        return max(by_probe(names, self.config["probe"]), default=0)

    @computing()
    def begin_task(self, task: int) -> None:
        """The diagnostics of the network as the tasks before left it, then what methods do as a task begins."""
        if self.due(task):
            self.diagnose(task)
        if task > 0 and self.stream.boundaries_shown and self.learner.acts_at_tasks:
            tree = self.engine.state()
            update = self.step // self.stream.iteration * self.stream.ppo.epochs * self.stream.ppo.minibatches
            tree |= task_begun(self.learner, tree, self.hyper, self.seeds, update)
            critic = task_begun(self.critic, tree["critic"], self.hyper, critic_seeds(self.seeds), update)
            self.engine.load({**tree, "critic": critic})

    def diagnosed(self, names: Sequence[str], task: int) -> dict[str, Tensor]:
        """See Members; of the policy's network, on what each member saw last."""
        tree = self.engine.state()
        network = self.network.mean if isinstance(self.network, WithDeviation) else self.network
        values: dict[str, Tensor] = {}
        for count, alike in by_probe(names, self.config["probe"]).items():
            seen = tree["seen"][:, -count:]
            x = self.shown(seen, {name: tree["state"][name] for name in self.learner.smoothing})
            before = initial = None
            if self.before:
                before = Look(network, self.before["params"], self.shown(seen, self.before["inputs"]))
            if self.initial:
                initial = Look(network, self.initial, x)
            ages = self.learner.ages(tree["state"])
            values |= measure(alike, Look(network, evaluated(tree), x, before=before, initial=initial, ages=ages))
        return values

    def shown(self, seen: Tensor, inputs: Tree) -> Tensor:
        """What members' policies are shown of observations (P, N, ...), by what their methods know of inputs."""
        if not self.learner.smoothing:
            return seen
        shown: Tensor = torch.func.vmap(self.learner.shown)(seen, inputs, self.hyper)
        return shown

    @computing()
    def train_chunk(self, until: int) -> None:
        """One iteration, which goes beyond `until` where that lies within."""
        task = self.stream.task_of(self.step)
        self.engine.iterate(self.step // self.stream.iteration)
        self.step += self.stream.iteration
        if self.step in (stops := self.stretches(task)):
            self.end_stretch(task, stops.index(self.step))

    def stretches(self, task: int) -> list[int]:
        """The ends of a task's stretches, in whole iterations, where the curve within it is asked for."""
        if "within_task" not in self.config["metrics"] or not shown_within(task, self.stream.tasks):
            return []
        start, iteration = self.stream.task_start(task), self.stream.iteration
        iterations = (self.stream.task_start(task + 1) - start) // iteration
        return [start + iterations * (k + 1) // BINS * iteration for k in range(BINS)]

    def end_stretch(self, task: int, place: int) -> None:
        """The mean return of the episodes that ended in a stretch; no row for a member of which none did."""
        returned, episodes = (self.engine.sums[name] for name in OF_A_STRETCH)
        told = (episodes.cpu() > 0) & self.alive[self.held]
        means = (returned / episodes)[told.to(episodes.device)]
        self.table.add(f"within_task/{place + 1}", task, self.step, means, self.held[told])
        for name in OF_A_STRETCH:
            self.engine.sums[name] = torch.zeros_like(self.engine.sums[name])

    @computing()
    def end_task(self, task: int) -> None:
        """See Members."""
        tree = self.engine.state()
        critic, sums = tree["critic"], tree["sums"]
        values = {"policy_churn": sums["policy_churn"] / sums["iterations"]}
        # Of sums, as one iteration without rewards has no variance to be explained.
        values["explained_variance"] = 1 - sums["unexplained"] / sums["variance"]
        if "squared_error" in sums:
            values["value_error"] = torch.sqrt(sums["squared_error"] / sums["iterations"])
        self.mark({**tree["params"], **{f"critic.{n}": v for n, v in critic["params"].items()}}, task, tree["loss"])
        values["episodes"] = sums["episodes"]
        values["average_return"] = sums["returned"] / sums["episodes"]
        values |= {name: tree["world"][name].double().sum(1) for name in self.engine.worlds.counts}
        if self.learner.replaces:
            values["units_replaced"] = tree["state"]["replaced"] + critic["state"]["replaced"]
        self.add_asked(task, values)
        self.keep_weights(task + 1, tree)
        self.engine.load(self.zeroed(tree))
        self.leave()

    def zeroed(self, tree: Tree) -> Tree:
        """The state with all sums of a task at zero."""
        counts = {name: torch.zeros_like(tree["world"][name]) for name in self.engine.worlds.counts}
        tree = {
            **tree,
            "sums": mapped(torch.zeros_like, tree["sums"]),
            "world": {**tree["world"], **counts},
            "critic": without_sums(tree["critic"], replaces=self.learner.replaces),
        }
        return without_sums(tree, replaces=self.learner.replaces)


def without_sums(tree: Tree, *, replaces: bool) -> Tree:
    """An engine's state whose sums are zero, and the number of replaced units."""
    tree = {**tree, "loss": torch.zeros_like(tree["loss"]), "correct": torch.zeros_like(tree["correct"])}
    if replaces:
        tree["state"] = {**tree["state"], "replaced": torch.zeros_like(tree["state"]["replaced"])}
    return tree
