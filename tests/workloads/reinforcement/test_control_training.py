"""Packs that act: one-step actor-critic against a plain loop, resumed and thinned out to the same bits."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from workloads.errors import InputError
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.reinforcement.acting import critic_seed
from workloads.reinforcement.actor_critic import PolicyGradient
from workloads.reinforcement.changing_control import LONGEST, ChangingControl, ChangingControlConfig
from workloads.training.loop import run_pack, training_of
from workloads.training.pack import Pack, PackMember, Snapshot

Config = dict[str, Any]
CBP = {"continual_backprop": {"replacement_rate": 0.02, "maturity_threshold": 20}}
STEPS = 500  # of a task, the fewest


def config(seed: int = 0, **changes: Any) -> Config:
    return {
        "workload": {"name": "changing_control", "tasks": 2, "steps_per_task": STEPS},
        "network": {"name": "mlp", "width": 8, "depth": 1},
        "optimizer": {"name": "sgd", "step_size": 0.003},
        "methods": {},
        "seed": seed,
        "metrics": ["average_return", "dormant_fraction"],
        "every": 1,
        "probe": 16,
        "dtype": "float64",
        "keep": "final",
        **changes,
    }


def pack(*configs: Config, path: str = "looped") -> Pack:
    return Pack(id="p", members=[PackMember(f"t{i}", each) for i, each in enumerate(configs)], path=path)


def run(what: Pack, resume: bytes | None = None, stops: Any = None) -> list[Snapshot]:
    """All snapshots, one every 100 steps; `stops`: step -> trials to stop there."""
    seen: list[Snapshot] = []

    def report(snapshot: Snapshot) -> Any:
        seen.append(snapshot)
        return (stops or {}).get(snapshot.step)

    run_pack(what, report, resume, commit_seconds=0)
    return seen


def table(snapshots: list[Snapshot]) -> dict[tuple[str, int, int], float]:
    """(metric, member, task) -> value."""
    return {
        (r.names[r.metric[i]], int(r.member[i]), int(r.task[i])): float(r.value[i])
        for r in (snapshot.rows for snapshot in snapshots)
        for i in range(len(r.value))
    }


class Plain:
    """The algorithm as anybody would write it with torch.nn and torch.optim."""

    def __init__(self, seed: int, step_size: float) -> None:
        self.world = ChangingControl(ChangingControlConfig(tasks=2, steps_per_task=STEPS), seed)
        self.actor, self.critic = self.network(2, seed), self.network(1, critic_seed(seed))
        parameters = [*self.actor.parameters(), *self.critic.parameters()]
        self.optimizer = torch.optim.SGD(parameters, lr=step_size)
        self.returns: list[float] = []

    @staticmethod
    def network(outputs: int, seed: int) -> nn.Sequential:
        made = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs)).double()
        initial = MLP(MLPConfig(width=8, depth=1), 4, outputs).init(seed)
        with torch.no_grad():
            for own, given in zip(made.parameters(), initial.values(), strict=True):
                own.copy_(given)
        return made

    def run(self, tasks: int) -> None:
        episode = -1
        for task in range(tasks):
            env, ended = self.world.environment(task), []
            episode, length = episode + 1, 0
            state = self.world.first_state(episode)
            for step in range(task * STEPS, (task + 1) * STEPS):
                env.state, env.steps_beyond_terminated = state, None
                x = self.seen(state)
                chances = torch.softmax(self.actor(x), 0)
                action = 0 if self.world.chances(step, 1)[0] < chances[0].item() else 1
                seen, reward, fallen, _, _ = env.step(action)  # type: ignore[no-untyped-call]
                with torch.no_grad():
                    target = reward + 0.99 * self.critic(torch.from_numpy(seen).double())[0] * (not fallen)
                value = self.critic(x)[0]
                logs = torch.log_softmax(self.actor(x), 0)
                entropy = -(logs.exp() * logs).sum()
                loss = (target - value) ** 2 - (target - value).detach() * logs[action] - 0.01 * entropy
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                state, length = env.state, length + 1
                if fallen or length == LONGEST:
                    ended.append(length)
                    episode, length = episode + 1, 0
                    state = self.world.first_state(episode)
            self.returns.append(float(np.mean(ended)))

    @staticmethod
    def seen(state: Any) -> Tensor:
        return torch.from_numpy(np.asarray(state, dtype=np.float32)).double()


def test_it_is_the_plain_loop() -> None:
    plain = Plain(5, 0.003)
    plain.run(2)
    [*_, last] = whole = run(pack(config(5)))
    found = table(whole)
    assert [found["average_return", 0, task] for task in range(2)] == plain.returns
    kept = torch.load(io.BytesIO(last.weights["t0-final.pt"]), weights_only=True)["params"]
    for own, theirs in zip(kept.values(), plain.actor.parameters(), strict=True):
        assert torch.allclose(own, theirs, rtol=1e-8, atol=1e-10)


def test_the_policys_loss_has_the_gradient_of_the_papers_rule() -> None:
    """∇ of −(δ log π(a) + β H) by preferences: −(δ (1[a] − π) − β π (log π + H))."""
    preferences = torch.tensor([[0.3, -0.4, 1.1]], dtype=torch.float64, requires_grad=True)
    loss = PolicyGradient(0.2).example_losses(preferences, torch.tensor([[1.0, -1.7]], dtype=torch.float64))
    loss.sum().backward()
    policy = torch.softmax(preferences.detach()[0], 0)
    entropy = -(policy * policy.log()).sum()
    taken = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    expected = -(-1.7 * (taken - policy) - 0.2 * policy * (policy.log() + entropy))
    assert preferences.grad is not None
    assert torch.allclose(preferences.grad[0], expected, rtol=1e-12)


def test_a_checkpoint_holds_the_world_too() -> None:
    what = pack(*(config(s, methods=CBP, optimizer={"name": "adam"}) for s in (1, 2)))

    def trained(training: Any, *stops: int) -> Any:
        for stop in stops:
            training.train(stop)
        return training

    one = training_of(what)
    one.begin()
    trained(one, 33)
    saved = one.save()
    trained(one, 60)
    other = training_of(what)
    other.restore(saved)
    trained(other, 40, 41, 60)
    thinned = training_of(what)
    thinned.restore(saved)
    thinned.stop(["t0"], 0)
    trained(thinned, 60)
    leaves = pytree.tree_flatten_with_path(one.engine.state())[0]
    assert {"world", "critic"} <= set(one.engine.state())
    for (path, value), same, alone in zip(
        leaves, pytree.tree_leaves(other.engine.state()), pytree.tree_leaves(thinned.engine.state()), strict=True
    ):
        assert torch.equal(value, same) and torch.equal(value[1:], alone), path


@pytest.mark.slow
def test_resuming_and_leaving_change_no_bit_of_the_others() -> None:
    shown = {"name": "changing_control", "tasks": 2, "steps_per_task": STEPS, "task_boundaries": "shown"}
    methods = {**CBP, "reset": {"what": "head"}}
    trials = [config(s, workload=shown, methods=methods, optimizer={"name": "adam"}) for s in (1, 2, 2)]
    whole = run(pack(*trials))
    stopped = run(pack(*trials), stops={200: ["t1"]})
    assert stopped[-1].statuses == ["done", "censored", "done"] and stopped[-1].ended == [2, 0, 2]
    assert {k: v for k, v in table(whole).items() if k[1] != 1 or k[2] == 0 and k[0] != "average_return"} | {
        k: v for k, v in table(stopped).items() if k[1] == 1
    } == table(stopped)
    assert all(whole[-1].weights[name] == value for name, value in stopped[-1].weights.items())
    steps = [snapshot.step for snapshot in stopped]
    for step in (300, 500):  # after the member has left, and between two tasks
        position = steps.index(step)
        again = run(pack(*trials), stopped[position].checkpoint)
        assert table(stopped[: position + 1]) | table(again) == table(stopped)
        assert again[-1].weights == stopped[-1].weights and again[-1].statuses == stopped[-1].statuses
    assert any(key[0] == "dormant_fraction" for key in table(whole))


def test_a_member_is_what_it_is_alone_and_one_that_diverges_leaves() -> None:
    wild = config(3, optimizer={"name": "sgd", "step_size": 1e9})
    together = run(pack(config(2), wild))
    assert together[-1].statuses == ["done", "diverged"] and together[-1].ended == [2, 0]
    alone = run(pack(config(2)))
    assert {key: value for key, value in table(together).items() if key[1] == 0} == table(alone)


def test_a_diagnostic_looks_at_as_many_states_as_it_asks_for() -> None:
    def looked_at(probe: int) -> dict[tuple[str, int, int], float]:
        metrics = ["layer_jacobian_mean", "effective_rank"]
        network = {"name": "mlp", "width": 8, "depth": 2}
        training = training_of(pack(config(probe=probe, metrics=metrics, network=network)))
        training.begin()
        training.begin_task(0)
        return table([training.snapshot(0)])

    few, many = looked_at(16), looked_at(64)
    assert few.keys() == many.keys() and len(few) == 6
    for name, value in few.items():
        assert (many[name] == value) == name[0].startswith("layer_jacobian_mean"), name


def test_a_path_that_needs_examples_is_refused() -> None:
    with pytest.raises(InputError, match="changing_control trains one member after the other: its paths are plain"):
        training_of(pack(config(), path="lanes"))


def test_units_are_replaced_in_both_networks() -> None:
    trial = config(1, methods=CBP, metrics=["average_return", "units_replaced"])
    found = table(run(pack(trial)))
    # Of 8 units those are mature that were not replaced within 20 steps: m = 8 - 20 x 0.02 m, and 0.02 m go a step.
    expected = 2 * 0.02 * 8 / 1.4 * STEPS
    assert found["units_replaced", 0, 1] == pytest.approx(expected, rel=0.05)
