"""Packs: what shares a program, how it is cut, and that nothing but the trials decides it."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path

import pytest

from sweep import packing
from sweep.packing import MEMORY, MOST, pack_id, path_of, plan_packs, shape_of
from sweep.spec.reading import parse
from sweep.trials import Trial, expand
from workloads.engine.parts import parts_of
from workloads.errors import InputError
from workloads.learner import Learner
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.networks.config import NETWORKS, MLPConfig, NetworkSpec
from workloads.paths import LARGEST_BATCH, Paths, refusal
from workloads.training.assembled import network_of, stream_of, ways_of_learning
from workloads.training.loop import Training
from workloads.training.pack import Pack

HEAD = "workload: {name: slowly_changing_regression, tasks: 3, period: 50}\nnetwork: {width: 5}\n"


def trials(arms: str, *, seeds: int = 2, head: str = HEAD) -> list[Trial]:
    return expand(parse(f"{head}seeds: {seeds}\narms:\n{arms}", Path("packs.yaml")))


def test_a_shape_is_counted_by_hand() -> None:
    [trial] = trials("  a: {optimizer: sgd}", seeds=1)
    shape = shape_of(trial.config)
    assert (shape.inputs, shape.outputs, shape.batch, shape.steps) == (20, 1, 1, 150)
    assert shape.parameters == 20 * 5 + 5 + 5 + 1
    assert not shape.boundaries_shown


def test_of_each_workload_with_each_network_one_shape_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    found = trials("  a: {optimizer: sgd, step_size: [0.1, 0.01, 0.001], network: {width: [5, 6]}}")
    shapes, made = packing.Shapes(), []
    monkeypatch.setattr(packing, "shape_of", lambda config: made.append(config) or shape_of(config))
    assert [shapes.of(trial.config) for trial in found] == [shape_of(trial.config) for trial in found]
    assert [config["network"]["width"] for config in made] == [5, 6]


def test_what_varies_shares_a_pack_and_what_does_not_splits() -> None:
    varying = """\
  sgd: {optimizer: sgd, step_size: [0.1, 0.01], weight_decay: [0, 0.1]}
  l2: {optimizer: sgd, l2: {strength: [0.1, 0.01]}}
"""
    packs = plan_packs(trials(varying), workers=1)
    assert sorted(len(pack.trials) for pack in packs) == [4, 8]
    assert {trial.arms for trial in packs[0].trials} == {("sgd",)}

    split = """\
  relu: {optimizer: sgd, network: {activation: [relu, tanh]}}
  wide: {optimizer: sgd, network: {width: [5, 6]}}
  presets: {optimizer: sgd, continual_backprop: {maturity_threshold: [10, 20], utility: [contribution, weight]}}
"""
    found = plan_packs(trials(split), workers=1)
    # width 5 with relu is one trial under two names; the maturity varies inside a pack, the utility cannot.
    assert sorted(len(pack.trials) for pack in found) == [2, 2, 2, 4, 4]


def test_every_trial_is_in_one_pack_and_the_order_given_does_not_matter() -> None:
    given = trials("  a: {optimizer: sgd, step_size: [0.1, 0.01, 0.001]}\n  b: {optimizer: adam}", seeds=300)
    packs = plan_packs(given, workers=3)
    members = [trial.id for pack in packs for trial in pack.trials]
    assert sorted(members) == sorted(trial.id for trial in given)
    shuffled = random.Random(0).sample(given, len(given))
    assert [p.id for p in plan_packs(shuffled, workers=3)] == [p.id for p in packs]
    assert [p.id for p in plan_packs(given, workers=3)] == [p.id for p in packs]


def test_work_is_split_for_workers_but_not_into_crumbs() -> None:
    many = trials("  a: {optimizer: sgd, step_size: [0.1, 0.01]}", seeds=512)
    assert [len(pack.trials) for pack in plan_packs(many, workers=1)] == [1024]
    assert [len(pack.trials) for pack in plan_packs(many, workers=2)] == [128] * 8
    # 64 small members are worth keeping together, however many workers wait.
    assert {len(pack.trials) for pack in plan_packs(many, workers=100)} == {64}
    few = trials("  a: {optimizer: sgd}", seeds=30)
    assert [len(pack.trials) for pack in plan_packs(few, workers=16)] == [30]
    # Sixteen members cost as much as one: no pack but the last has a part of sixteen.
    odd = trials("  a: {optimizer: sgd}", seeds=250)
    assert [len(pack.trials) for pack in plan_packs(odd, workers=2)] == [96, 96, 58]
    # Members that run one after the other are worth a pack each.
    large = trials("  a: {optimizer: sgd, network: {width: 200}}", seeds=4)
    assert [len(pack.trials) for pack in plan_packs(large, workers=2)] == [1] * 4


def test_work_is_shared_by_what_it_costs() -> None:
    mixed = trials("  a: {optimizer: sgd}\n  b: {optimizer: adamo}\n  c: {optimizer: adam}", seeds=64)
    assert [pack.trials[0].arms for pack in plan_packs(mixed, workers=1)] == [("b",), ("c",), ("a",)]


def test_packs_are_capped_by_number_and_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    many = trials("  a: {optimizer: sgd}", seeds=MOST + 1)
    assert sorted(len(pack.trials) for pack in plan_packs(many, workers=1)) == [MOST + 1 - 1552, 1552]  # whole lanes

    # 20-5-1 has 111 weights of 4 bytes; SGD holds three copies: 1332 bytes a member, 3 of them in 4096.
    monkeypatch.setattr(packing, "MEMORY", 4096)
    some = plan_packs(trials("  a: {optimizer: sgd}", seeds=9), workers=1)
    assert [(len(pack.trials), pack.memory) for pack in some] == [(3, 3996)] * 3
    wide = plan_packs(trials("  a: {optimizer: adam, network: {width: 100}}", seeds=4), workers=1)
    assert [len(pack.trials) for pack in wide] == [1] * 4, "a member larger than the cap is a pack by itself"
    assert MEMORY >= 1 << 30


def test_the_longest_pack_comes_first() -> None:
    arms = "  small: {optimizer: sgd}\n  big: {optimizer: sgd, network: {width: 50}}"
    assert [pack.trials[0].arms for pack in plan_packs(trials(arms), workers=1)] == [("big",), ("small",)]


def test_neighbours_share_a_seed() -> None:
    [pack] = plan_packs(trials("  a: {optimizer: sgd, step_size: [0.1, 0.01, 0.001]}", seeds=3), workers=1)
    seeds = [trial.config["seed"] for trial in pack.trials]
    assert [seed for seed, _ in itertools.groupby(seeds)] == [0, 1, 2]


def test_paths_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    [trial] = trials("  a: {optimizer: sgd}", seeds=1)
    assert path_of(trial.config, "cpu")[0] == "lanes"
    [large] = trials("  a: {optimizer: sgd, network: {width: 200}}", seeds=1)
    assert path_of(large.config, "cpu")[0] == "online"
    [wide] = trials("  a: {optimizer: sgd}", seeds=1, head=HEAD.replace("period: 50", "period: 50, batch: 1000"))
    assert path_of(wide.config, "cpu")[1].endswith("no lanes, since batches are large")
    [heavy] = trials("  a: {optimizer: sgd, momentum: 0.9, network: {width: 200}}", seeds=1)
    assert path_of(heavy.config, "cpu")[0] == "online"
    [iterates] = trials("  a: {optimizer: muon, network: {width: 200}}", seeds=1)
    path, reason = path_of(iterates.config, "cpu")
    assert path == "lifted" and reason.endswith("online does not take muon")
    both = "  a: {optimizer: %s, continual_backprop: {}, l2_init: {}, network: {width: 200}}"
    assert path_of(trials(both % "sgd", seeds=1)[0].config, "cpu")[0] == "online"
    assert path_of(trials(both % "adamo", seeds=1)[0].config, "cpu")[0] == "online"
    path, reason = path_of(trials(both % "adamo, every: 4", seeds=1)[0].config, "cpu")
    assert path == "lifted" and reason.endswith("online does not take adamo with every 4 together with l2_init")
    assert path_of(trial.config, "cuda")[0] == "lifted" and "GPU" in path_of(trial.config, "cuda")[1]
    monkeypatch.setitem(NETWORKS, "mlp", NetworkSpec(config=MLPConfig, semantics=1, paths=Paths(lifted=False)))
    path, reason = path_of(trial.config, "cpu")
    assert path == "looped" and "lifted does not take mlp" in reason
    [pack] = plan_packs([trial], workers=1)
    assert (pack.path, pack.reason) == (path, reason)


def test_a_packs_name_depends_on_members_path_and_kind_of_device() -> None:
    name = pack_id(["a", "b"], "lifted", "cpu")
    assert len(name) == 16 and int(name, 16) >= 0
    assert pack_id(["a", "b"], "lifted", "cuda:0") == pack_id(["a", "b"], "lifted", "cuda:1")
    others = {pack_id(["b", "a"], "lifted", "cpu"), pack_id(["a", "b"], "looped", "cpu")}
    assert name not in others | {pack_id(["a", "b"], "lifted", "cuda")} and len(others) == 2


def test_growing_a_sweep_leaves_the_ids_of_trials_alone() -> None:
    before = trials("  a: {optimizer: sgd, step_size: [0.1]}", seeds=2)
    after = trials("  b: {optimizer: adam}\n  a: {optimizer: sgd, step_size: [0.01, 0.1]}", seeds=3)
    assert {trial.id for trial in before} < {trial.id for trial in after}


def test_no_trials_no_packs() -> None:
    assert plan_packs([], workers=4) == []


@pytest.mark.parametrize("batch", [1, 33])
@pytest.mark.parametrize("methods", [[], *([name] for name in METHODS), list(METHODS)], ids=str)
@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, "sgd, momentum: 0.9"])
def test_the_rule_for_online_is_what_online_refuses(optimizer: str, methods: list[str], batch: int) -> None:
    arm = f"  a: {{optimizer: {optimizer}, {''.join(f'{name}: {{}}, ' for name in methods)}network: {{width: 200}}}}"
    head = HEAD.replace("period: 50", f"period: 50, task_boundaries: shown, batch: {batch}")
    [trial] = trials(arm, seeds=1, head=head)
    chosen, how = ways_of_learning(trial.config)
    stream = stream_of(trial.config, 0)
    learner = Learner(network_of(trial.config, stream), stream.loss, chosen, how)
    refused = refusal("online", parts_of(learner)) is not None or batch > LARGEST_BATCH
    assert (path_of(trial.config, "cpu")[0] != "online") == refused


def test_what_nobody_declared_is_refused_by_planning_and_by_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    [large] = trials("  a: {optimizer: sgd, network: {width: 200, activation: selu}}", seeds=1)
    taken = NETWORKS["mlp"].paths.online
    assert isinstance(taken, dict)
    known = {**taken, "activation": ("relu",)}
    monkeypatch.setitem(NETWORKS, "mlp", replace(NETWORKS["mlp"], paths=Paths(lanes=True, online=known, written=known)))
    assert path_of(large.config, "cpu")[1].endswith("online does not take mlp with activation selu")
    with pytest.raises(InputError, match="online does not take mlp with activation selu"):
        Training(Pack(id="p", members=[large], path="online"))
    # A setting that is not even named is refused whatever it is.
    del known["biases"]
    monkeypatch.setitem(NETWORKS, "mlp", replace(NETWORKS["mlp"], paths=Paths(lanes=True, online=known, written=known)))
    [usual] = trials("  a: {optimizer: sgd, network: {width: 200}}", seeds=1)
    assert path_of(usual.config, "cpu")[1].endswith("online does not take mlp with biases True")


def test_a_method_that_ships_without_lanes_goes_to_lifted_untried(monkeypatch: pytest.MonkeyPatch) -> None:
    [trial] = trials("  a: {optimizer: sgd, l2: {strength: 0.1}}", seeds=1)
    monkeypatch.setitem(METHODS, "l2", replace(METHODS["l2"], paths=Paths(lanes=False)))
    monkeypatch.setattr(packing, "not_lowered", lambda config, path: pytest.fail("it was traced"))
    path, why = path_of(trial.config, "cpu")
    assert path == "lifted" and why.endswith("lanes does not take l2")
    with pytest.raises(InputError, match="lanes does not take l2"):
        Training(Pack(id="p", members=[trial], path="lanes"))


def test_memory_counts_what_methods_keep() -> None:
    [plain] = trials("  a: {optimizer: sgd}", seeds=1)
    [pulled] = trials("  a: {optimizer: sgd, momentum: 0.9, coupled_isometry: {}}", seeds=1)
    each = 4 * 111  # bytes of one copy of 20-5-1's weights
    assert packing.member_bytes(plain.config, shape_of(plain.config)) == 3 * each
    assert packing.member_bytes(pulled.config, shape_of(pulled.config)) == 5 * each


def test_memory_counts_what_networks_are_compared_with() -> None:
    head = HEAD + "metrics: [weight_change, function_change, distance_from_initialisation]\n"
    [compared] = trials("  a: {optimizer: sgd}", seeds=1, head=head)
    assert packing.member_bytes(compared.config, shape_of(compared.config)) == 5 * 4 * 111
