"""Packs: what shares a program, how it is cut, and that nothing but the trials decides it."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from sweep import packing
from sweep.packing import MEMORY, MOST, pack_id, path_of, plan_packs, shape_of
from sweep.spec import parse
from sweep.trials import Trial, expand
from workloads.networks.config import NETWORKS, MLPConfig, NetworkSpec

HEAD = "workload: {name: slowly_changing_regression, tasks: 3, period: 50}\nnetwork: {width: 5}\n"


def trials(arms: str, *, seeds: int = 2, head: str = HEAD) -> list[Trial]:
    return expand(parse(f"{head}seeds: {seeds}\narms:\n{arms}", Path("packs.yaml")))


def test_a_shape_is_counted_by_hand() -> None:
    [trial] = trials("  a: {optimizer: sgd}", seeds=1)
    shape = shape_of(trial.config)
    assert (shape.inputs, shape.outputs, shape.batch, shape.steps) == (20, 1, 1, 150)
    assert shape.parameters == 20 * 5 + 5 + 5 + 1
    assert not shape.boundaries_shown


def test_what_varies_shares_a_pack_and_what_does_not_splits() -> None:
    varying = """\
  sgd: {optimizer: sgd, step_size: [0.1, 0.01], weight_decay: [0, 0.1]}
  l2: {optimizer: sgd, l2: {strength: [0.1, 0.01]}}
"""
    packs = plan_packs(trials(varying), workers=1)
    assert sorted(len(pack.trials) for pack in packs) == [4, 8]
    assert {trial.arm for trial in packs[0].trials} == {"sgd"}

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
    assert [len(pack.trials) for pack in plan_packs(many, workers=2)] == [256] * 4
    # 128 small members are worth keeping together, however many workers wait.
    assert {len(pack.trials) for pack in plan_packs(many, workers=100)} == {128}
    few = trials("  a: {optimizer: sgd}", seeds=30)
    assert [len(pack.trials) for pack in plan_packs(few, workers=16)] == [30]


def test_packs_are_capped_by_number_and_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    many = trials("  a: {optimizer: sgd}", seeds=MOST + 1)
    assert sorted(len(pack.trials) for pack in plan_packs(many, workers=1)) == [MOST // 2, MOST // 2 + 1]

    # 20-5-1 has 111 weights of 4 bytes; SGD holds three copies: 1332 bytes a member, 3 of them in 4096.
    monkeypatch.setattr(packing, "MEMORY", 4096)
    some = plan_packs(trials("  a: {optimizer: sgd}", seeds=9), workers=1)
    assert [(len(pack.trials), pack.memory) for pack in some] == [(3, 3996)] * 3
    wide = plan_packs(trials("  a: {optimizer: adam, network: {width: 100}}", seeds=4), workers=1)
    assert [len(pack.trials) for pack in wide] == [1] * 4, "a member larger than the cap is a pack by itself"
    assert MEMORY >= 1 << 30


def test_the_longest_pack_comes_first() -> None:
    arms = "  small: {optimizer: sgd}\n  big: {optimizer: sgd, network: {width: 50}}"
    assert [pack.trials[0].arm for pack in plan_packs(trials(arms), workers=1)] == ["big", "small"]


def test_neighbours_share_a_seed() -> None:
    [pack] = plan_packs(trials("  a: {optimizer: sgd, step_size: [0.1, 0.01, 0.001]}", seeds=3), workers=1)
    seeds = [trial.config["seed"] for trial in pack.trials]
    assert [seed for seed, _ in itertools.groupby(seeds)] == [0, 1, 2]


def test_paths_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    [trial] = trials("  a: {optimizer: sgd}", seeds=1)
    assert path_of(trial.config, "cpu")[0] == "lanes"
    [large] = trials("  a: {optimizer: sgd, network: {width: 200}}", seeds=1)
    assert path_of(large.config, "cpu") == ("lifted", "one vmapped, compiled program for all members")
    assert path_of(trial.config, "cuda")[0] == "lifted" and "GPU" in path_of(trial.config, "cuda")[1]
    monkeypatch.setitem(NETWORKS, "mlp", NetworkSpec(config=MLPConfig, semantics=1, liftable=False))
    path, reason = path_of(trial.config, "cpu")
    assert path == "looped" and "cannot be batched" in reason
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
