"""The loop of a trial whose learner makes its own data: tasks of a changing world, looked at by returns.

A task's `average_return` is over the episodes that ended in it. Diagnostics look at the policy's network, on states
that are the same for all tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workloads.diagnostics import by_probe
from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import measure
from workloads.engine.computing import computing
from workloads.engine.layout import Tree, mapped, member, stacked
from workloads.errors import InputError
from workloads.learner import Learner
from workloads.methods.base import Params
from workloads.random import Draw
from workloads.reinforcement.acting import Acting, at_beginning, critic_seed
from workloads.reinforcement.changing_control import ChangingControl
from workloads.training.assembled import MakeParams, network_of, ways_of_learning, workload_of
from workloads.training.held_out import evaluated
from workloads.training.members import Members
from workloads.training.pack import Pack

CHUNK = 100  # steps between two looks at the clock
PATHS = ("plain", "looped")


class ControlTraining(Members[ChangingControl, Acting]):
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
        """`initial`: seed -> the policy's parameters. Raises InputError for a path that such packs do not have."""
        config = pack.members[0].config
        if (path or pack.path) not in PATHS:
            name = config["workload"]["name"]
            raise InputError(f"{name} trains one member after the other: its paths are {' and '.join(PATHS)}")

        def make(seed: int) -> ChangingControl:
            world = workload_of(config, seed)
            assert isinstance(world, ChangingControl)
            return world

        world = make(0)
        self.critic = Learner(network_of(config, world, world.heads[1]), "squared_error", *ways_of_learning(config))
        super().__init__(pack, make, initial=initial, dtype=dtype, path=path)

    def new_engine(self) -> Acting:
        """See Members."""
        return Acting(self.learner, self.critic, self.stream_of_seed, self.hyper, self.seeds, self.dtype)

    def newborn(self, make_params: MakeParams) -> Tree:
        """See Members."""
        zero = torch.zeros((), dtype=torch.float64)
        members = []
        for seed in self.seeds.tolist():
            actor = self.typed(make_params(seed))
            critic = self.typed(self.critic.network.init(critic_seed(seed)))
            members.append(
                {
                    "params": actor,
                    "state": self.learner.init(actor),
                    "critic": {"params": critic, "state": self.critic.init(critic)},
                    "world": at_beginning(self.stream_of_seed[seed], 0),
                    "returns": zero,
                    "episodes": zero.clone(),
                }
            )
        return stacked(members)

    def typed(self, params: Params) -> Params:
        """Parameters in the trial's type."""
        return mapped(lambda v: v.to(self.dtype), dict(params))

    @computing()
    def begin_task(self, task: int) -> None:
        """The diagnostics of the network as the tasks before left it, then task-wise methods, and another pole."""
        if self.due(task):
            self.diagnose(task)
        if task == 0:
            return
        tree = self.engine.state()
        if self.stream.boundaries_shown and self.learner.acts_at_tasks:
            tree = stacked([self.told(self.engine.members[i], i) for i in range(len(self.seeds))])
        worlds = zip(tree["world"]["episode"].tolist(), self.seeds.tolist(), strict=True)
        begun = [at_beginning(self.stream_of_seed[seed], episode + 1) for episode, seed in worlds]
        self.engine.load({**tree, "world": stacked(begun)})

    def told(self, own: Tree, place: int) -> Tree:
        """A member whose methods were told that a task begins."""
        at, seed = torch.tensor(self.step), int(self.seeds[place])
        hyper = member(self.hyper, place)
        draws = [Draw(torch.tensor(s), at, self.dtype) for s in (seed, critic_seed(seed))]
        params, state = self.learner.at_task(own["params"], own["state"], hyper, draws[0])
        critic = self.critic.at_task(own["critic"]["params"], own["critic"]["state"], hyper, draws[1])
        return {**own, "params": params, "state": state, "critic": dict(zip(("params", "state"), critic, strict=True))}

    def diagnosed(self, names: Sequence[str], task: int) -> dict[str, Tensor]:
        """See Members; of the policy's network."""
        tree = self.engine.state()
        values: dict[str, Tensor] = {}
        for count, alike in by_probe(names, self.config["probe"]).items():
            probe = torch.from_numpy(self.stream.probe(task, count)).to(self.dtype)
            x = self.shown(probe, tree["state"])
            before = initial = None
            if self.before:
                before = Look(self.network, self.before["params"], self.shown(probe, self.before["inputs"]))
            if self.initial:
                initial = Look(self.network, self.initial, x)
            ages = self.learner.ages(tree["state"])
            look = Look(self.network, evaluated(tree), x, before=before, initial=initial, ages=ages)
            values |= measure(alike, look)
        return values

    def shown(self, probe: Tensor, state: Tree) -> Tensor:
        """What the members' policies are shown of a probe (N, 4), by what their methods know of inputs: (P, N, 4)."""
        places = range(len(self.seeds))
        return torch.stack([self.learner.shown(probe, member(state, i), member(self.hyper, i)) for i in places])

    @computing()
    def train_chunk(self, until: int) -> None:
        """See Members."""
        count = min(CHUNK, until - self.step)
        self.engine.advance(self.step, count)
        self.step += count

    @computing()
    def end_task(self, task: int) -> None:
        """See Members."""
        tree = self.engine.state()
        self.mark({**tree["params"], **{f"critic.{name}": v for name, v in tree["critic"]["params"].items()}}, task)
        values = {"average_return": tree["returns"] / tree["episodes"]}
        if self.learner.replaces:
            values["units_replaced"] = tree["state"]["replaced"] + tree["critic"]["state"]["replaced"]
        self.add_asked(task, values)
        self.keep_weights(task + 1, tree)
        self.engine.load(self.zeroed(tree))
        self.leave()

    def zeroed(self, tree: Tree) -> Tree:
        """The state with all sums of a task at zero."""
        tree = {**tree, "returns": torch.zeros_like(tree["returns"]), "episodes": torch.zeros_like(tree["episodes"])}
        if self.learner.replaces:
            none = torch.zeros_like(tree["state"]["replaced"])
            critic = {**tree["critic"], "state": {**tree["critic"]["state"], "replaced": none.clone()}}
            tree |= {"state": {**tree["state"], "replaced": none}, "critic": critic}
        return tree
