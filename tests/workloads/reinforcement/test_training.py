"""Packs that act: PPO against a plain loop, resumed, thinned out and among any neighbours."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from bandit import Bandit
from torch.utils import _pytree as pytree

from sweep.benchmarks.plain_ppo import PlainPPO
from workloads import kinds
from workloads.engine import build
from workloads.engine.lifted import Lifted
from workloads.errors import CheckpointError, InputError
from workloads.networks.config import MLPConfig
from workloads.reinforcement import CONTROLS
from workloads.reinforcement.locomotion import Hopper, SlipperyAnt
from workloads.reinforcement.minatar import library
from workloads.reinforcement.worlds import World
from workloads.training.loop import run_pack, training_of
from workloads.training.pack import Pack, PackMember, Snapshot

Config = dict[str, Any]
BANDIT = {"name": "bandit", "tasks": 2, "steps_per_task": 32}
PENDULUM = {
    **{"name": "continual_control", "environment": "pendulum", "tasks": 1, "steps_per_task": 400, "envs": 2},
    **{"ppo": "modern", "rollout": 100, "epochs": 2, "minibatches": 4},
}
HOPPER = {"name": "hopper", "tasks": 2, "steps_per_task": 80, "envs": 2, "rollout": 20, "epochs": 1, "minibatches": 2}
POLES = {"name": "continual_control", "tasks": 2, "steps_per_task": 512, "rollout": 64, "minibatches": 2}
CBP = {"continual_backprop": {"replacement_rate": 0.05, "maturity_threshold": 2}}


@pytest.fixture(autouse=True)
def _bandit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONTROLS, Bandit.name, Bandit)


def config(seed: int = 0, **changes: Any) -> Config:
    return {
        "workload": BANDIT,
        "network": {"name": "mlp", "width": 8, "depth": 1},
        "optimizer": {"name": "adam", "step_size": 0.01},
        "methods": {},
        "seed": seed,
        "metrics": ["average_return", "dormant_fraction", "episodes", "explained_variance", "policy_churn"],
        "every": 1,
        "probe": 16,
        "dtype": "float64",
        "keep": "final",
        **changes,
    }


def pack(*configs: Config, path: str = "looped", device: str = "cpu") -> Pack:
    members = [PackMember(f"t{i}", each) for i, each in enumerate(configs)]
    return Pack(id="p", members=members, path=path, device=device)


def run(what: Pack, resume: bytes | None = None, stops: Any = None) -> list[Snapshot]:
    """All snapshots, one every iteration; `stops`: step -> trials to stop there."""
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


def ended_tasks(training: Any) -> dict[tuple[str, int, int], float]:
    """What a pack's tasks tell, trained to its end."""
    training.begin()
    for task in range(training.stream.tasks):
        training.train(training.stream.task_start(task + 1))
        training.end_task(task)
    return table([training.snapshot(training.stream.tasks)])


class WatchedPPO(PlainPPO):
    """Measures, of every iteration, how much its updates change the policy on what was seen in it.

    And the mean square by which the critic missed the returns that it then learned.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.churn: list[float] = []
        self.missed: list[float] = []

    def iterate(self) -> None:
        self.minibatches: list[tuple[torch.Tensor, torch.Tensor]] = []
        old = copy.copy(self)
        old.actor, old.log_std, old.critic = (copy.deepcopy(part) for part in (self.actor, self.log_std, self.critic))
        super().iterate()
        epoch = self.minibatches[: self.settings.minibatches]  # every observation once
        x, returns = (torch.cat(parts) for parts in zip(*epoch, strict=True))
        with torch.no_grad():
            change = torch.distributions.kl_divergence(old.policy(x), self.policy(x))
            missed = (returns - old.critic(x)[:, 0]).square()
        self.churn.append(float(change.mean()))
        self.missed.append(float(missed.mean()))

    def descend(self, x: torch.Tensor, *targets: torch.Tensor) -> None:
        self.minibatches.append((x, targets[-1]))
        super().descend(x, *targets)


# A workload, how the trial learns of it, and the arguments of torch.optim.Adam that come to the same.
BETAS_AND_DECAY = {
    "optimizer": {"name": "adam", "step_size": 0.01, "beta1": 0.99, "beta2": 0.99, "weight_decay": 0.04},
    "methods": {"l2": {"strength": 0.06}},
}
PLAIN: dict[str, tuple[Config, Config, dict[str, Any]]] = {
    "bandit": (BANDIT, {}, {}),
    "modern": ({**BANDIT, "ppo": "modern"}, {}, {}),
    "pendulum": (PENDULUM, {}, {}),
    "equal_betas_and_decay": (PENDULUM, BETAS_AND_DECAY, {"betas": (0.99, 0.99), "weight_decay": 0.1}),
}


@pytest.mark.parametrize("case", PLAIN)
def test_it_is_the_plain_loop(case: str) -> None:
    workload, learning, adam = PLAIN[case]
    world = kinds.made(workload, 5)
    assert isinstance(world, World)
    plain = WatchedPPO(world, MLPConfig(width=8, depth=1), dtype=torch.float64, lr=0.01, **adam)
    for _ in range(world.task_start(world.tasks) // world.iteration):
        plain.iterate()
    metrics = ["average_return", "episodes", "policy_churn", "value_error"]
    training: Any = training_of(pack(config(5, workload=workload, metrics=metrics, **learning)))
    found = ended_tasks(training)
    returned = sum(found["average_return", 0, task] * found["episodes", 0, task] for task in range(world.tasks))
    assert returned == pytest.approx(sum(plain.ended))
    churn, missed = (np.reshape(each, (world.tasks, -1)).mean(1) for each in (plain.churn, plain.missed))
    assert [found["policy_churn", 0, task] for task in range(world.tasks)] == pytest.approx(churn, rel=1e-6)
    assert [found["value_error", 0, task] for task in range(world.tasks)] == pytest.approx(np.sqrt(missed), rel=1e-6)
    tree = training.engine.state()
    actor = [*plain.actor.parameters(), *([] if plain.discrete else [plain.log_std])]
    for own, theirs in ((tree["params"], actor), (tree["critic"]["params"], plain.critic.parameters())):
        for one, other in zip(own.values(), theirs, strict=True):
            assert torch.allclose(one[0], other, rtol=1e-9, atol=1e-11)


# Tasks of three iterations; where the second has begun, an ant stands on the first one's ground until its episode ends.
ROLLED = {"envs": 2, "rollout": 16, "steps_per_task": 96}
WORLDS: dict[str, Config] = {
    "bandit": {**BANDIT, "steps_per_task": 24},
    "slippery_ant": {"name": "slippery_ant", **ROLLED},
    "continual_minatar": {"name": "continual_minatar", "longest_episode": 40, **ROLLED},
}


@pytest.mark.parametrize("world", WORLDS)
def test_a_checkpoint_holds_the_worlds_too_and_those_who_leave_change_no_bit(
    world: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SlipperyAnt, "longest", 40)
    if world == "continual_minatar":
        try:
            library()
        except InputError as error:
            pytest.skip(str(error))
    workload = {**WORLDS[world], "tasks": 2, "epochs": 2, "minibatches": 2}
    methods = {**CBP, "input_normaliser": {}}
    what = pack(*(config(s, workload=workload, methods=methods, dtype="float32") for s in (1, 2, 2)))

    def trained(training: Any, *stops: int) -> Any:
        for stop in stops:
            training.train(stop)
        return training

    one = training_of(what)
    one.begin()
    four, five, six = (k * one.stream.iteration for k in (4, 5, 6))
    saved = trained(one, four).save()
    trained(one, six)
    other = training_of(what)
    other.restore(saved)
    trained(other, five, six)
    thinned = training_of(what)
    thinned.restore(saved)
    thinned.stop(["t0"], 0)
    trained(thinned, six)
    leaves = pytree.tree_flatten_with_path(one.engine.state())[0]
    for (path, value), same, alone in zip(
        leaves, pytree.tree_leaves(other.engine.state()), pytree.tree_leaves(thinned.engine.state()), strict=True
    ):
        assert torch.equal(value, same) and torch.equal(value[1:], alone), path


def test_resuming_and_leaving_in_the_middle_are_as_going_straight() -> None:
    shown = {**BANDIT, "task_boundaries": "shown"}
    trials = [config(s, workload=shown, methods={**CBP, "reset": {"what": "head"}}) for s in (1, 2, 2)]
    whole = run(pack(*trials))
    stopped = run(pack(*trials), stops={16: ["t1"]})
    assert stopped[-1].statuses == ["done", "censored", "done"] and stopped[-1].ended == [2, 0, 2]
    assert {key: value for key, value in table(whole).items() if key[1] != 1}.items() <= table(stopped).items()
    assert all(whole[-1].weights[name] == value for name, value in stopped[-1].weights.items())
    steps = [snapshot.step for snapshot in stopped]
    for step in (24, 32):  # after the member has left, and between two tasks
        position = steps.index(step)
        again = run(pack(*trials), stopped[position].checkpoint)
        assert table(stopped[: position + 1]) | table(again) == table(stopped)
        assert again[-1].weights == stopped[-1].weights and again[-1].statuses == stopped[-1].statuses


def test_a_member_is_what_it_is_alone_and_one_that_diverges_leaves() -> None:
    wild = config(3, optimizer={"name": "sgd", "step_size": 1e300})
    together = run(pack(config(2, optimizer={"name": "sgd", "step_size": 0.1}), wild))
    assert together[-1].statuses == ["done", "diverged"] and together[-1].ended == [2, 0]
    alone = run(pack(config(2, optimizer={"name": "sgd", "step_size": 0.1})))
    assert {key: value for key, value in table(together).items() if key[1] == 0} == table(alone)


def test_units_are_replaced_in_both_networks_and_counted() -> None:
    trial = config(1, methods=CBP, metrics=["average_return", "units_replaced"])
    training = training_of(pack(trial))
    training.begin()
    training.train(32)
    tree = training.engine.state()
    actor, critic = int(tree["state"]["replaced"][0]), int(tree["critic"]["state"]["replaced"][0])
    # Of 8 units, 0.05 of the mature ones go in each of 16 updates: at most 6, and most are mature.
    assert 4 <= actor <= 6 and 4 <= critic <= 6
    training.end_task(0)
    assert table([training.snapshot(1)])["units_replaced", 0, 0] == actor + critic


def test_the_optimizers_of_both_networks_begin_anew_with_a_task_that_is_shown() -> None:
    shown = {**BANDIT, "task_boundaries": "shown"}
    training = training_of(pack(config(1, workload=shown, methods={"reset": {"what": "optimizer"}})))
    training.begin()
    training.train(32)
    training.end_task(0)
    before = training.engine.state()
    training.begin_task(1)
    after = training.engine.state()
    for old, new in ((before, after), (before["critic"], after["critic"])):
        assert all(torch.equal(old["params"][name], new["params"][name]) for name in old["params"])
        assert all(leaf.any() for leaf in pytree.tree_leaves(old["state"]["optimizer"]))
        assert not any(leaf.any() for leaf in pytree.tree_leaves(new["state"]["optimizer"]))


def test_diagnostics_look_at_what_was_seen_last() -> None:
    training = training_of(pack(config(1), config(2)))
    training.begin()
    first = training.engine.state()["seen"]
    assert first.shape == (2, 16, 3) and torch.equal(first[0], first[1])
    training.train(16)
    later = training.engine.state()["seen"]
    assert not torch.equal(later[0], later[1])
    training.train(24)
    assert torch.equal(training.engine.state()["seen"][:, :8], later[:, 8:])


def test_sizes_are_checked_where_a_trials_world_is_made() -> None:
    with pytest.raises(InputError, match="steps_per_task 8 must be at least 16"):
        kinds.made({**BANDIT, "steps_per_task": 8}, 0)


ARMS: dict[str, Config] = {
    "adam": {},
    "equal_betas_and_l2": {
        "optimizer": {"name": "adam", "step_size": 0.01, "beta1": 0.99, "beta2": 0.99},
        "methods": {"l2": {"strength": 0.01}},
    },
    "shrink_and_perturb": {"methods": {"shrink_and_perturb": {"strength": 0.01, "perturb_scale": 0.01}}},
    "continual_backprop": {"methods": CBP},
    "redo": {"methods": {"redo": {"threshold": 0.4, "period": 3}}},
    "l2_init": {"methods": {"l2_init": {"strength": 0.01}}},
    "input_normaliser": {"methods": {"input_normaliser": {}}},
    "adamo": {
        "optimizer": {"name": "adamo", "step_size": 0.01, "isometry_strength": 0.1},
        "network": {"name": "mlp", "width": 8, "depth": 2, "activation": "groupsort_2", "initialisation": "orthogonal"},
    },
    "layer_norm": {"network": {"name": "mlp", "width": 8, "depth": 1, "normalisation": "layer"}},
    "muon": {"optimizer": {"name": "muon"}},
}


@pytest.mark.parametrize("arm", ARMS)
def test_a_pack_is_its_members_one_by_one_but_for_rounding(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "workloads.reinforcement.training.build",
        lambda path, learner, hyper, seeds, **_: Lifted(learner, hyper, seeds, compiled=False),
    )
    together = trained(pack(*members_of(arm), path="lifted"))
    monkeypatch.setattr("workloads.reinforcement.training.build", build)
    for i, own in enumerate(members_of(arm)):
        alone = trained(pack(own))
        for (path, value), one in zip(
            pytree.tree_flatten_with_path(together)[0], pytree.tree_leaves(alone), strict=True
        ):
            assert torch.allclose(value[i].double(), one[0].double(), rtol=1e-6, atol=1e-9), (i, path)


def members_of(arm: str) -> list[Config]:
    """Three trials of an arm, that differ in seed and in step size."""
    of_arm = {"optimizer": {"name": "adam", "step_size": 0.01}, **ARMS[arm]}
    sizes = [{**of_arm["optimizer"], "step_size": size} for size in (0.01, 0.003, 0.003)]
    workload = {**PENDULUM, "rollout": 20, "minibatches": 4}
    return [config(s, **{**of_arm, "optimizer": o}, workload=workload) for s, o in zip((1, 1, 2), sizes, strict=True)]


def trained(what: Pack) -> Any:
    """The members' state after three iterations."""
    training = training_of(what)
    training.begin()
    training.train(120)
    return training.engine.state()


def test_the_curve_within_a_task_is_the_mean_return_of_its_stretches() -> None:
    """40 iterations of 8 steps: 20 stretches of two. Their returns, by their episodes, are the task's."""
    workload = {**BANDIT, "tasks": 1, "steps_per_task": 320, "epochs": 1, "minibatches": 1}
    training = training_of(pack(config(1, workload=workload, metrics=["average_return", "within_task", "episodes"])))
    training.begin()
    returned: list[float] = []
    worlds: Any = training.engine.worlds
    step = worlds.step

    def watched(actions: Any) -> Any:
        stepped = step(actions)
        returned.extend(stepped.returned[~np.isnan(stepped.returned)])
        return stepped

    worlds.step = watched
    expected = {}
    for place in range(1, 21):
        before = len(returned)
        training.train(16 * place)
        if len(returned) > before:
            expected[f"within_task/{place}", 0, 0] = float(np.mean(returned[before:]))
    training.end_task(0)
    found = table([training.snapshot(1)])
    assert len(expected) > 15
    assert {key: value for key, value in found.items() if key[0].startswith("within")} == pytest.approx(expected)
    assert found["average_return", 0, 0] == pytest.approx(np.mean(returned))
    assert found["episodes", 0, 0] == len(returned)


@pytest.mark.parametrize(
    ("foreseen", "share"), [([8.0, 9.0, 10.0, 13.0], 1), ([0.0] * 4, 0), ([-1.0, -2.0, -3.0, -6.0], -3)]
)
def test_variance_is_explained_over_a_task_whatever_has_none(foreseen: list[float], share: float) -> None:
    training = training_of(pack(config(1, metrics=["explained_variance"])))
    training.begin()
    nobody_ended = np.full((2, 1, 2), np.nan)
    agents: Any = training.engine
    agents.count(nobody_ended, torch.tensor([[1.0, 2.0, 3.0, 6.0]]), torch.tensor([foreseen]))
    agents.count(nobody_ended, torch.full((1, 4), 5.0), torch.zeros(1, 4))  # as of a world without rewards
    training.end_task(0)
    assert table([training.snapshot(1)])["explained_variance", 0, 0] == pytest.approx(share)


def test_events_are_those_of_a_task_over_all_environments_of_a_member() -> None:
    training = training_of(pack(*(config(seed, metrics=["ended_early"]) for seed in (1, 2))))
    worlds, ended = training.engine.worlds, np.zeros((2, 2))  # by member and task
    step = worlds.step

    def watched(actions: Any) -> Any:
        task = worlds.task
        stepped = step(actions)
        ended[:, task] += stepped.terminated.sum(1)
        return stepped

    worlds.step = watched
    found = ended_tasks(training)
    assert len(np.unique(ended)) > 2 and ended.all()
    assert found == {("ended_early", member, task): ended[member, task] for member in (0, 1) for task in (0, 1)}


def test_simulations_that_blow_up_are_counted_in_the_task_in_which_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of 40 steps of two hoppers each."""
    monkeypatch.setattr(Hopper, "longest", 20)
    trials = [config(seed, workload=HOPPER, metrics=["blown_up"]) for seed in (1, 2)]
    training = training_of(pack(*trials))
    worlds = training.engine.worlds
    step = worlds.step
    thrown = {3: (0, 0), 5: (0, 1), 22: (0, 1), 39: (1, 0), 40: (1, 0), 50: (1, 1), 70: (0, 0)}  # member, environment

    def disturbed(actions: Any) -> Any:
        if (place := thrown.get(int(worlds.steps[0]) // 2)) is not None:
            worlds.velocity[2 * place[0] + place[1]] = 1e12
        return step(actions)

    worlds.step = disturbed
    expected = {(0, 0): 3, (1, 0): 1, (0, 1): 1, (1, 1): 2}  # by member and task
    assert ended_tasks(training) == {("blown_up", *place): count for place, count in expected.items()}


def test_answers_are_learned() -> None:
    """Of three answers one is right: 8/3 an episode by chance, 8 at best."""
    workload = {**BANDIT, "tasks": 1, "steps_per_task": 2560, "envs": 8, "rollout": 16, "ending": 0.0, "epochs": 4}
    found = table(run(pack(config(4, workload=workload, metrics=["average_return", "within_task"]))))
    assert found["within_task/1", 0, 0] < 4 and found["within_task/20", 0, 0] > 7.5


def test_the_error_of_values_is_over_a_task_and_sees_a_constant() -> None:
    """By hand: squares of 2 and of 0, 0, 3, 1 have means 4 and 2.5, and those of 1 in the next task 1."""
    training: Any = training_of(pack(config(1, metrics=["explained_variance", "value_error"])))
    training.begin()
    nobody_ended = np.full((2, 1, 2), np.nan)
    returns = torch.tensor([[1.0, 2.0, 3.0, 6.0]])
    training.engine.count(nobody_ended, returns, returns - 2)
    training.engine.count(nobody_ended, returns, torch.tensor([[1.0, 2.0, 6.0, 5.0]]))
    training.end_task(0)
    training.engine.count(nobody_ended, returns, returns + 1)
    training.end_task(1)
    found = table([training.snapshot(2)])
    assert found["value_error", 0, 0] == pytest.approx(3.25**0.5)
    assert (found["value_error", 0, 1], found["explained_variance", 0, 1]) == (1, 1)


def test_who_does_not_ask_for_the_error_of_values_keeps_the_state_it_had() -> None:
    """Checkpoints of one version are taken up by another that has the same parts."""
    asked, other = (training_of(pack(config(1, metrics=names))) for names in (["value_error"], ["episodes"]))
    asked.begin()
    other.begin()
    assert asked.engine.state()["sums"].keys() - other.engine.state()["sums"].keys() == {"squared_error"}
    with pytest.raises(CheckpointError, match="of another version, whose state differs in .*squared_error"):
        asked.restore(other.save())


@pytest.mark.slow
def test_a_pendulum_is_swung_up() -> None:
    """Gymnasium's. At random a return is about −1,200; one that is up after the first swing has between −400 and 0."""
    workload = {
        **{"name": "continual_control", "environment": "pendulum", "spread": 1.0, "tasks": 5, "envs": 8},
        **{"steps_per_task": 40_960, "ppo": "modern", "discount": 0.9, "epochs": 10, "minibatches": 16, "entropy": 0.0},
    }
    network = {"name": "mlp", "width": 32, "depth": 1, "activation": "tanh"}
    optimizer = {"name": "adam", "step_size": 0.001}
    each = {"workload": workload, "network": network, "optimizer": optimizer, "dtype": "float32"}
    found = table(run(pack(*(config(seed, **each) for seed in range(4)), path="lanes")))
    for member in range(4):
        assert found["average_return", member, 0] < -900 and found["average_return", member, 4] > -550
        assert found["explained_variance", member, 4] > 0.6


def test_a_diagnostic_looks_at_as_many_observations_as_it_asks_for() -> None:
    def looked_at(probe: int) -> dict[tuple[str, int, int], float]:
        network = {"name": "mlp", "width": 8, "depth": 2}
        metrics = ["layer_jacobian_mean", "effective_rank"]
        training = training_of(pack(config(workload=POLES, probe=probe, metrics=metrics, network=network)))
        training.begin()
        training.train(64)
        training.diagnose(0)
        return table([training.snapshot(0)])

    few, many = looked_at(16), looked_at(64)
    assert few.keys() == many.keys() and len(few) == 6
    for name, value in few.items():
        assert (many[name] == value) == name[0].startswith("layer_jacobian_mean"), name


@pytest.mark.slow
def test_a_compiled_pack_resumes_and_loses_members_to_the_same_bits() -> None:
    trials = [config(s, workload=PENDULUM, methods=CBP, dtype="float32") for s in (1, 2, 2, 3)]
    whole = run(pack(*trials, path="lanes"))
    again = run(pack(*trials, path="lanes"), whole[0].checkpoint)
    assert table(whole[:1]) | table(again) == table(whole) and again[-1].weights == whole[-1].weights
    stopped = run(pack(*trials, path="lanes"), stops={200: ["t1"]})
    for name in ("t0-final.pt", "t2-final.pt", "t3-final.pt"):
        assert stopped[-1].weights[name] == whole[-1].weights[name]


on_a_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")]
GPU_WORLDS: dict[str, Config] = {
    "bandit": BANDIT,
    "pendulum": PENDULUM,
    "ant": {"name": "slippery_ant", "epochs": 2, "minibatches": 2, **ROLLED, "tasks": 2},
}


@pytest.mark.parametrize("world", [pytest.param(world, marks=on_a_gpu) for world in GPU_WORLDS])
def test_agents_on_a_gpu_are_those_on_a_cpu(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics of all kinds, and the weights that both networks end with."""
    monkeypatch.setattr(SlipperyAnt, "longest", 40)
    metrics = ["average_return", "explained_variance", "policy_churn", "units_replaced", "value_error", "within_task"]
    trials = [config(s, workload=GPU_WORLDS[world], methods=CBP, metrics=metrics) for s in (1, 2, 2)]
    here, there = run(pack(*trials)), run(pack(*trials, path="lifted", device="cuda"))
    assert table(here) == pytest.approx(table(there), rel=1e-6, nan_ok=True)
    for name, weights in here[-1].weights.items():
        one, other = (torch.load(io.BytesIO(each), weights_only=True) for each in (weights, there[-1].weights[name]))
        assert one.pop("config") == other.pop("config")
        torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("world", [pytest.param(world, marks=on_a_gpu) for world in GPU_WORLDS])
def test_agents_on_a_gpu_resume_to_the_same_bits_and_are_not_moved_by_those_who_leave(
    world: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SlipperyAnt, "longest", 40)
    trials = [config(s, workload=GPU_WORLDS[world], methods=CBP, dtype="float32") for s in (1, 2, 2, 3)]
    whole = run(pack(*trials, path="lifted", device="cuda"))
    again = run(pack(*trials, path="lifted", device="cuda"), whole[0].checkpoint)
    assert table(whole[:1]) | table(again) == table(whole) and again[-1].weights == whole[-1].weights
    stopped = run(pack(*trials, path="lifted", device="cuda"), stops={whole[0].step: ["t1"]})
    for name in ("t0-final.pt", "t2-final.pt", "t3-final.pt"):
        assert stopped[-1].weights[name] == whole[-1].weights[name]
