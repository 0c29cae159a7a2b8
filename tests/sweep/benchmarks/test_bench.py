"""The bench: what it offers, that both sides of a ratio train what they claim to, its records and limits. Not speed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib import image
from tiny import Command

from dashboards import history
from sweep import packing
from sweep.benchmarks import acting, ageing, arcade, bench, bench_records, cases, limits, stepping, whole
from sweep.benchmarks.cases import (
    ARMS,
    CASES,
    IMAGES,
    PAIRS,
    QUICK,
    REGRESSION,
    RELABELLED,
    WITHOUT,
    AnyCase,
    Case,
    config_of,
    selected,
)
from sweep.benchmarks.limits import Peaks, Work, limit_ns, work_of
from sweep.benchmarks.plain_loop import PlainIsometry, PlainLoop, plain_convnet
from sweep.benchmarks.rows import (
    HEADINGS,
    AgentsRow,
    AnyRow,
    GamesRow,
    RobotsRow,
    Row,
    bandwidth,
    read_row,
    shares,
    together,
    wholes,
)
from sweep.benchmarks.world_cases import ALL, WORLD_CASES, Agents, Games, Robots
from sweep.errors import InputError
from sweep.ledger import provenance
from sweep.spec.studies import load
from workloads.engine import computing
from workloads.engine.layout import member
from workloads.extensions import load_code
from workloads.networks.config import ConvNetConfig
from workloads.networks.convnet import ConvNet
from workloads.training.assembled import stream_of, ways_of_learning

KEYS = ["stream", "network", "batch", "arm", "members", "path", "ns_per_trial_step", "plain_ns", "ratio"]
KEYS += ["limit_ns", "target", "first_call_s", "peak_mb", "valid", "versions", "diagnostics"]
KEYS += [
    "cores",
    "all_cores",
    "age",
    "newborn_ns",
    "newborn_plain_ns",
    "moved",
    "triad",
    "kernels_ns",
    "flushed",
    "device",
]


# As the bench itself trains.
pytestmark = pytest.mark.usefixtures("one_thread")


def row(arm: str = "sgd", members: int = 3000, ratio: float = 6000.0, **changed: Any) -> Row:
    """A row made by hand."""
    made = Row(
        stream=REGRESSION,
        network="20-5-1",
        batch=1,
        arm=arm,
        members=members,
        path="lanes",
        ns_per_trial_step=20.0,
        plain_ns=20.0 * ratio,
        ratio=ratio,
        limit_ns=4.0,
        target=6000,
        first_call_s=1.0,
        peak_mb=400.0,
        valid=True,
        versions={"pliant": "0.1.0"},
    )
    return replace(made, **changed)


def world_row(case: Agents | Robots | Games, ratio: float = 2.0) -> AnyRow:
    """A row made by hand, of an agents' pack, robots or games."""
    fields: dict[str, Any] = {"stream": case.stream, "arm": case.arm, "members": case.members, "versions": {}}
    if isinstance(case, Agents):
        fields |= {"envs": 8, "path": "lifted", "pack": 2500.4, "plain": 1000.0, "gymnasium": 800.0, "physics": None}
        fields |= {"worlds": 0.5, "asking": 0.1, "learning": 0.3, "first_call_s": 31.0}
        return AgentsRow(network=case.subject, ratio=ratio, target=case.target, **fields)
    if isinstance(case, Robots):
        fields |= {"physics_us": 187.94, "worlds_us": 208.82, "gymnasium_us": 320.7, "cores": 8, "times": 7.25}
        return RobotsRow(environment=case.subject, ratio=0.9, target=case.target, **fields)
    fields |= {"envs": 16, "package_ns": 4321.0, "arcade_ns": 70.0, "worlds_ns": 432.1}
    return GamesRow(game=case.game, ratio=61.7, target=case.target, **fields)


# The rows


def test_the_rows_that_were_promised_are_there() -> None:
    there = {(case.stream, case.network, case.arm, case.members) for case in CASES}
    without = len(cases.WITHOUT)
    assert len(there) == len(CASES) == 7 * 4 + 3 + 7 + 2 * without + 6 + 3 * 2 + 4 + 1
    ways = ("sgd", "continual_backprop", "l2", "adam", "adamo", "shrink_and_perturb", *cases.WITHOUT)
    assert {(IMAGES, "784-100-100-100-10", arm, 30) for arm in ways} <= there
    assert {(REGRESSION, "20-5-1", arm, 1000) for arm in ways} <= there  # each beside SGD
    assert {(RELABELLED, "784-512-512-512-512-10", arm, 3) for arm in ("sgd", "adam", "adamo")} <= there
    assert {(REGRESSION, "20-5-1", arm, 300) for arm in cases.EXTREMES} <= there
    assert [case.members for case in CASES if case.command] == [6000]
    for arm in ("sgd", "continual_backprop", "continual_backprop_1e-2", "l2", "adam", "adamo", "shrink_and_perturb"):
        assert {(REGRESSION, "20-5-1", arm, members) for members in (3000, 300, 30, 1)} <= there
    for arm in ("sgd", "continual_backprop", "l2", "shrink_and_perturb", "adam", "adamo", "adamo_every_16"):
        assert (IMAGES, "784-100-100-100-10", arm, 30) in there
    for width in (100, 1000, 2000):
        network = f"784-{width}-{width}-{width}-10"
        assert {(IMAGES, network, arm, 1) for arm in ("sgd", "continual_backprop")} <= there


def test_an_arm_is_whole_in_the_plain_loop_or_without_or_an_extreme() -> None:
    parts = (cases.WHOLE, cases.WITHOUT, cases.EXTREMES)
    assert sorted(arm for part in parts for arm in part) == sorted(ARMS)
    # The loop's own parts, by the names that it reads of a config, and what is plain torch.
    known = {"continual_backprop", "l2", "shrink_and_perturb"}
    for arm in cases.WHOLE:
        optimizer, methods = ARMS[arm]
        assert known.issuperset(methods) and optimizer["name"] in ("sgd", "adam", "adamo")
        assert "projection" not in optimizer and arm not in cases.NETWORKS


def test_agents_and_worlds_have_rows_of_their_own() -> None:
    there = {(case.stream, case.subject, case.arm, case.members): case.target for case in WORLD_CASES}
    assert len(there) == len(WORLD_CASES) == 3 * 2 + 5 * 3 + 6
    for stream, network in (("continual_control", "32"), ("continual_control", "64-64"), ("ant", "256-256")):
        assert {there[stream, network, "ppo", members] for members in (8, 16)} == {1.4}
    assert {there["hopper", "Hopper-v5", "stepping", members] for members in (8, 16, 32)} == {0.9}
    assert there["slippery_ant", "SlipperyAnt-v0", "stepping", 8] == 0.9
    assert there["continual_minatar", "breakout", "stepping", 64] is None
    assert there["continual_minatar", ALL, "stepping", 64] == 50
    assert {case.envs for case in WORLD_CASES if isinstance(case, Games)} == {16}


def test_they_are_chosen_as_packs_are() -> None:
    ants = selected(quick=False, stream="ant", arm=None)
    assert {(case.arm, case.members) for case in ants} == {
        *(("ppo", members) for members in (8, 16)),
        *(("stepping", members) for members in (8, 16, 32)),
    }
    assert len(selected(quick=False, stream=None, arm="ppo")) == 6
    with pytest.raises(InputError, match="unknown arm 'steping': did you mean 'stepping'"):
        selected(quick=False, stream=None, arm="steping")
    with pytest.raises(InputError, match="there is no such row; there is: .*ppo on ant, .*stepping on hopper"):
        selected(quick=False, stream="hopper", arm="ppo")
    with pytest.raises(InputError, match="unknown stream 'ant'"):  # it has no choice about subnormal numbers
        selected(quick=False, stream="ant", arm=None, flushed=False)


def test_every_case_is_measured_by_what_measures_its_kind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pinned = []
    monkeypatch.setattr(bench, "on_one_core", lambda: pinned.append(True))
    for module, kind in ((acting, Agents), (stepping, Robots), (arcade, Games)):
        case = next(case for case in WORLD_CASES if isinstance(case, kind))
        monkeypatch.setattr(module, "measured", lambda asked, case=case: world_row(case) if asked == case else None)
        bench.main(*bench.command_of(case)[4:])
        assert read_row(json.loads(capsys.readouterr().out)) == world_row(case)
    assert len(pinned) == 2  # robots are stepped on all cores, too
    monkeypatch.setattr(bench, "measured", lambda case: row(case.arm))
    bench.main(*bench.command_of(QUICK[0])[4:])
    assert read_row(json.loads(capsys.readouterr().out)) == row("sgd")


def test_what_is_not_installed_is_said_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(case: Games) -> None:
        raise InputError("the package minatar is not installed")

    monkeypatch.setattr(bench, "on_one_core", lambda: None)
    monkeypatch.setattr(arcade, "measured", missing)
    with pytest.raises(SystemExit, match="the package minatar is not installed"):
        bench.main(*bench.command_of(Games(game=ALL))[4:])


@pytest.fixture
def shipped() -> Iterator[None]:
    """The registries as they ship, also after an arm with code of a user's own."""
    yield
    load_code({})


def test_every_row_has_the_path_that_its_trials_would_have_in_a_sweep(shipped: None) -> None:
    paths = {case: packing.path_of(config_of(case, 0, 0), "cpu")[0] for case in CASES}
    by_stream = {(case.stream, path) for case, path in paths.items()}
    lifted = {case.arm for case, path in paths.items() if (case.stream, path) == (IMAGES, "lifted")}
    assert lifted == {"muon", "muon_isometry"}
    by_stream.remove((IMAGES, "lifted"))
    assert by_stream == {(REGRESSION, "lanes"), (IMAGES, "online"), (RELABELLED, "online"), (PAIRS, "looped")}


@pytest.mark.parametrize(
    ("case", "target"),
    [
        (Case(REGRESSION, "sgd", 100, 30, 5), 6000),
        (Case(REGRESSION, "continual_backprop_1e-2", 100, 3, 5), 3000),
        (Case(REGRESSION, "adam", 30, 1, 5), 1000),
        (Case(REGRESSION, "shrink_and_perturb", 30, 1, 5), 500),
        (Case(REGRESSION, "shrink_and_perturb", 1, 1, 5), 150),
        (Case(REGRESSION, "sgd", 8, 2, 5), None),
        (Case(IMAGES, "continual_backprop", 30, 1, 100), 35),
        (Case(IMAGES, "adamo", 30, 1, 100), 1.5),
        (Case(IMAGES, "adam", 30, 1, 100), 12),
        (Case(IMAGES, "adamo_every_16", 30, 1, 100), 12),
        (Case(REGRESSION, "l2_strongest", 100, 3, 5), 4000),
        (Case(REGRESSION, "sgd", 100, 60, 5, command=True), None),
        (Case(IMAGES, "sgd", 1, 1, 1000), 15),
        (Case(IMAGES, "continual_backprop", 1, 1, 2000), 7),
        (Case(PAIRS, "momentum", 2, 1, 32), 0.95),
    ],
    ids=str,
)
def test_every_row_has_its_target(case: Case, target: float | None) -> None:
    assert case.target == target
    assert all(
        case.target for case in CASES if case.stream != RELABELLED and not case.command and case.arm not in WITHOUT
    )


def test_every_row_is_of_networks_that_have_aged() -> None:
    told = [
        case for case in CASES if not case.arm.startswith("muon")
    ]  # of which ageing itself takes minutes: a tenth of it
    ages = {stream: {case.age for case in told if case.stream == stream} for stream in (REGRESSION, IMAGES)}
    assert ages == {REGRESSION: {200_000}, IMAGES: {60_000}}
    assert all(case.age > 0 for case in [*CASES, *QUICK])


def test_rows_are_chosen_by_stream_arm_and_members() -> None:
    assert selected(quick=True, stream=None, arm=None) == QUICK
    assert {c.arm for c in selected(quick=False, stream=IMAGES, arm="sgd")} == {"sgd"}
    (alone,) = selected(quick=False, stream=REGRESSION, arm="adam", members=1)
    assert (alone.arm, alone.members) == ("adam", 1)
    with pytest.raises(InputError, match="unknown arm 'sdg': did you mean 'sgd'"):
        selected(quick=False, stream=None, arm="sdg")
    with pytest.raises(InputError, match="unknown stream 'mnist'"):
        selected(quick=False, stream="mnist", arm=None)
    with pytest.raises(
        InputError, match="no such row among the quick ones; there is: sgd on slowly_changing_regression"
    ):
        selected(quick=True, stream=IMAGES, arm=None)
    with pytest.raises(InputError, match="no such row with 3 members; there is: 1, 30"):
        selected(quick=False, stream=IMAGES, arm="sgd", members=3)


@pytest.mark.parametrize("arm", ARMS)
def test_a_case_is_a_trial_the_engine_accepts(shipped: None, arm: str) -> None:
    config = config_of(Case(IMAGES, arm, 2, 3, 1000), seed=1, which=2)
    (name, optimizer), methods = ways_of_learning(config)
    assert name == ARMS[arm][0]["name"] and set(methods) == set(ARMS[arm][1])
    assert 0 < optimizer.step_size < (3 if arm == "divergent" else 0.01) and config["seed"] == 1
    assert config["network"] == {"name": "mlp", "width": 1000, "depth": 3, **cases.NETWORKS.get(arm, {})}
    sizes = [config_of(Case(REGRESSION, arm, 1, 3, 5), 0, k)["optimizer"]["step_size"] for k in range(3)]
    assert len(set(sizes)) == 3


def test_as_many_steps_are_timed_as_fill_the_time() -> None:
    asked: list[int] = []

    def run(count: int) -> float:
        asked.append(count)
        return count * 0.01

    assert bench.filling(1.0, run) == 100
    # One apart, then until a quarter of the time is filled, twice each.
    assert asked == [1, 1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32]
    assert bench.filling(1.0, lambda count: 5.0) == 1


def test_a_call_that_compiles_does_not_pass_for_a_slow_one() -> None:
    called = 0

    def run(count: int) -> float:
        nonlocal called
        called += 1
        return count * 0.01 + 5 * (called == 2)

    assert bench.filling(1.0, run) == 100


# The share of the diagnostics, and all cores at once


def test_they_are_measured_once_for_each_shape_that_a_study_trains() -> None:
    found = [(case.stream, case.network, case.members) for case in CASES if case.main]
    assert found == [
        (REGRESSION, "20-5-1", 3000),
        (IMAGES, "784-100-100-100-10", 30),
        (IMAGES, "784-1000-1000-1000-10", 1),
    ]
    assert not any(case.main for case in QUICK)


def test_diagnostics_are_timed_as_the_study_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    training, _ = bench.new_pack(Case(REGRESSION, "sgd", 2, 2, 5))
    looked: list[int] = []
    diagnose = training.diagnose
    monkeypatch.setattr(training, "diagnose", lambda task: (looked.append(task), diagnose(task)))
    timer = bench.diagnosis_timer(training)
    monkeypatch.setattr(bench.time, "perf_counter", iter((1.0, 3.0)).__next__)
    # Two seconds, once in every tenth task of 10,000 steps, for four members.
    assert timer() == pytest.approx(2e9 / (100_000 * 4))
    study = load(REGRESSION, "paper")
    assert set(training.config["metrics"]) == set(study.metrics) and training.config["probe"] == study.probe == 256
    assert looked == [training.stream.task_of(training.step) + 1]
    assert len(training.table.take().value) == 0


def test_shares_are_said_in_short() -> None:
    rows = [row(diagnostics=1.84), row("adam"), row(members=30, network="784-100-100-100-10", diagnostics=2.9)]
    assert shares(rows).splitlines() == [
        "diagnostics of the studies, share of training (at most 3 %)",
        "  20-5-1 sgd x 3,000: 1.8 %",
        "  784-100-100-100-10 sgd x 30: 2.9 %",
    ]
    assert shares([row()]) == ""


def test_the_speed_of_all_cores_is_said_in_short() -> None:
    assert together([row(cores=2, all_cores=0.964), row("adam")]).splitlines() == [
        "packs on all N cores at once, over one core alone (at least 0.9 N)",
        "  20-5-1 sgd x 3,000: 0.96 x 2",
    ]
    assert together([row()]) == ""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not tell a process's processors")
def test_packs_train_at_once_and_their_speeds_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(REGRESSION, "sgd", 4, 1, 5, seconds=0.05)
    core = min(os.sched_getaffinity(0))
    assert bench.at_once(case, [core, core]) > 0
    with monkeypatch.context() as patch:  # one that needs 4 ns a trial-step, one that needs 2
        script = "import sys; print('ready', flush=True); sys.stdin.readline(); print([4, 2][int(sys.argv[1])])"
        patch.setattr(bench, "command_of", lambda case: [sys.executable, "-c", script])
        assert bench.at_once(case, [0, 1]) == 0.75
    with pytest.raises(RuntimeError, match=r"on 2 cores failed:\n[^$]*no_such_arm"):
        bench.at_once(replace(case, arm="no_such_arm"), [core, core])


# The plain loop


@pytest.mark.parametrize("arm", [arm for arm in ARMS if arm not in cases.EXTREMES])
def test_the_plain_loop_learns(shipped: None, arm: str) -> None:
    config = config_of(Case(REGRESSION, arm, 1, 1, 5), 0, 0)
    torch.manual_seed(0)
    loop = PlainLoop(config, stream_of(config, 0))
    for start in range(0, 2000, 400):
        loop.run(start, 400)
    # At 1e-2 a unit is new every thirty steps or so; momentum makes steps ten times as large.
    assert loop.losses[-1] < (0.95 if arm in ("continual_backprop_1e-2", "momentum") else 0.8) * loop.losses[0]


def test_the_plain_convnet_is_the_packs() -> None:
    hidden, head = plain_convnet(4, 2)
    network = ConvNet(ConvNetConfig(width=4), (3, 32, 32), 2)
    ours = {name: value.float() for name, value in network.init(0).items()}
    theirs = [*hidden.parameters(), *head.parameters()]
    assert [tuple(value.shape) for value in theirs] == [tuple(value.shape) for value in ours.values()]
    with torch.no_grad():
        for value, given in zip(theirs, ours.values(), strict=True):
            value.copy_(given)
        x = torch.rand(5, 3072, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(head(torch.relu(hidden[0](x))), network.apply(ours, x)[0])


def test_the_plain_loop_replaces_at_the_arms_rate() -> None:
    replaced = {}
    for arm in ("continual_backprop", "continual_backprop_1e-2"):
        config = config_of(Case(REGRESSION, arm, 1, 1, 5), 0, 0)
        torch.manual_seed(0)
        loop = PlainLoop(config, stream_of(config, 0))
        loop.run(0, 1500)
        assert loop.replacement is not None
        replaced[arm] = loop.replacement.replaced
    # A unit waits 100 steps to be old enough, then is one of about three among five: some 0.03 replacements a step.
    assert replaced["continual_backprop"] <= 5 and 20 <= replaced["continual_backprop_1e-2"] <= 60


def test_the_plain_pull_is_the_gradient_of_the_isometry_penalty() -> None:
    for shape in ((3, 5), (5, 3)):
        weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        copy = weight.clone().requires_grad_()
        gram = copy @ copy.T if shape[0] < shape[1] else copy.T @ copy
        (gram - torch.eye(3)).square().sum().backward()
        pulled = weight.clone()
        pull = PlainIsometry([pulled], 0.01, every=2)
        pull.step()
        torch.testing.assert_close(pulled, weight)
        pull.step()
        assert copy.grad is not None
        torch.testing.assert_close(pulled, weight - 0.02 * copy.grad)


# Networks of an age


@pytest.mark.parametrize("arm", ["adam", "continual_backprop", "l2"])
def test_the_plain_loop_goes_on_from_an_aged_pack(arm: str) -> None:
    case = Case(REGRESSION, arm, 2, 1, 5, older=500)
    young, _ = bench.new_pack(case)
    training, loop = bench.aged(case, young), bench.plain_loop(case)
    ageing.hand_over(training, loop)
    assert training.step == 500
    own = member(training.engine.state(), 0)
    for name, value in zip(own["params"], loop.parameters, strict=True):
        assert torch.equal(own["params"][name], value.data)
    if loop.replacement:
        utility = own["state"]["continual_backprop"]["utility"]["layers.0"]
        assert torch.equal(loop.replacement.utility[0], utility) and utility.any()
    # Both see the same examples from here on, and both take the same steps.
    before = own["loss"]
    training.train(540)
    loop.run(500, 40)
    assert float(member(training.engine.state(), 0)["loss"] - before) / 40 == pytest.approx(loop.losses[-1], rel=1e-3)
    after = member(training.engine.state(), 0)["params"]
    for name, value in zip(after, loop.parameters, strict=True):
        torch.testing.assert_close(value.data, after[name], rtol=1e-3, atol=1e-4)


def test_seeds_that_were_not_aged_go_on_from_one_that_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cases.ELDERS, REGRESSION, 4)
    case = Case(REGRESSION, "adam", 5, 2, 5, older=300)
    young, _ = bench.new_pack(case)
    training = bench.aged(case, young)
    assert case.elders == 2 and training is young and training.step == 300
    weight = training.engine.state()["params"]["layers.0.weight"]
    for seed in range(5):
        for which in range(2):
            assert torch.equal(weight[seed * 2 + which], weight[seed % 2 * 2 + which])
    assert len(weight.flatten(1).unique(dim=0)) == 4
    training.train(340)
    assert len(training.engine.state()["params"]["layers.0.weight"].flatten(1).unique(dim=0)) == 10


def test_what_a_network_reads_is_looked_up_in_it() -> None:
    training, _ = bench.new_pack(Case(REGRESSION, "sgd", 1, 1, 5))
    tree = training.engine.state()
    bias = torch.tensor([[1e3, 1e3, -1e3, -1e3, -1e3]])
    training.engine.load({**tree, "params": {**tree["params"], "layers.0.bias": bias}})
    ink, awake = ageing.shares_read(training)
    assert 0.4 < ink < 0.7 and awake == 0.4


def test_subnormal_numbers_can_be_left_alone_to_see_what_they_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = selected(quick=True, stream=None, arm="sgd", flushed=False)
    assert [case.flushed for case in chosen] == [False]
    monkeypatch.setattr(computing, "FLUSHED", True)
    monkeypatch.setattr(bench, "measured_whole", lambda case: (computing.FLUSHED, case))
    assert bench.measured(replace(chosen[0], command=True))[0] is False  # type: ignore[index]


@pytest.mark.slow
def test_the_whole_command_is_timed_with_all_that_belongs_to_it() -> None:
    assert whole.seconds(seeds=2, configs=2, tasks=2) > 1, "to import what it needs takes as long"


def test_the_whole_command_is_said_beside_its_kernels() -> None:
    said = wholes([row(members=6000, ns_per_trial_step=20.0, kernels_ns=5.0, cores=2), row()])
    assert said.splitlines()[1:] == ["  6,000 trials: 50 M trial-steps/s; kernels alone, on 2 processors, 200 M"]


def test_bandwidth_is_said_of_the_widest() -> None:
    wide = "784-1000-1000-1000-10"
    rows = [
        row(network=wide, members=1, moved=20.0, triad=40.0),
        row(moved=1.0, triad=2.0, network="784-100-100-100-10"),
    ]
    assert bandwidth(rows).splitlines()[1:] == [f"  {wide} sgd x 1: 20.0 of 40.0 (50%)"]


# Limits


def test_the_work_of_a_small_network_counted_by_hand() -> None:
    # 20-5-1 has 20 x 5 + 5 x 1 = 105 weights and 5 + 1 = 6 biases. Forward 105, backward to the hidden units 5,
    # update 111.
    sgd = work_of((20, 5, 1), {"name": "sgd"}, {})
    assert sgd.multiply_adds == 105 + 5 + 111
    assert (sgd.roots, sgd.divisions, sgd.normals, sgd.moved) == (0, 0, 0, 0)

    assert work_of((20, 5, 1), {"name": "sgd"}, {"l2": {}}).multiply_adds == sgd.multiply_adds + 111

    noisy = work_of((20, 5, 1), {"name": "sgd"}, {"shrink_and_perturb": {}})
    assert (noisy.multiply_adds, noisy.normals) == (sgd.multiply_adds + 2 * 111, 111)

    adam = work_of((20, 5, 1), {"name": "adam"}, {})
    assert (adam.multiply_adds, adam.roots, adam.divisions) == (105 + 5 + 6 * 111, 111, 0)

    # |w| of the 100 incoming and 5 outgoing weights; eight operations and two divisions for each of five units.
    units = work_of((20, 5, 1), {"name": "sgd"}, {"continual_backprop": {}})
    assert (units.multiply_adds, units.divisions) == (sgd.multiply_adds + 100 + 5 + 40, 10)

    # 5 x 20: W W^T has 15 entries of 20 products, (W W^T - I) W 5 x 5 x 20, the pull 100. 1 x 5: 5 + 5 + 5.
    adamo = work_of((20, 5, 1), {"name": "adamo", "isometry_strength": 0.01}, {})
    assert adamo.multiply_adds == adam.multiply_adds + (300 + 500 + 100) + 15
    rare = work_of((20, 5, 1), {"name": "adamo", "isometry_strength": 0.01, "every": 5}, {})
    assert rare.multiply_adds == adam.multiply_adds + 915 / 5


def test_a_sparse_step_reads_some_rows_and_moves_their_bytes() -> None:
    # 100-10-10-2: 19 inputs of 100 and 5 units of 10 are read: 190 + 50 + 10 weights.
    read = (0.19, 0.5, 0.5, 0.5)
    sgd = work_of((100, 10, 10, 2), {"name": "sgd"}, {}, shares=read)
    assert sgd.multiply_adds == pytest.approx(250 + 60 + 250 + 22)
    assert (sgd.moved, sgd.resident) == (pytest.approx(250 * 4 * 3), 1120 * 4)
    # Under Adam the others sleep, but not through decay, and a pull wakes all of the 1120.
    adam = work_of((100, 10, 10, 2), {"name": "adam"}, {}, shares=read)
    assert (adam.multiply_adds, adam.roots) == (pytest.approx(250 + 60 + 6 * 272), pytest.approx(272))
    assert (adam.moved, adam.resident) == (pytest.approx(4 * (250 + 6 * 250)), 4 * 3 * 1120)
    assert work_of((100, 10, 10, 2), {"name": "adam"}, {"l2": {}}, shares=read).roots == 1142
    pulled = {"name": "adamo", "isometry_strength": 0.01}
    assert work_of((100, 10, 10, 2), pulled, {}, shares=read).roots == 1142
    seldom = work_of((100, 10, 10, 2), {**pulled, "every": 10}, {}, shares=read)
    assert seldom.roots == pytest.approx(272 + 2 * 870 / 10)


def test_the_limit_is_the_slowest_part_alone() -> None:
    peaks = Peaks(multiply_adds=50, roots=5, divisions=10, normals=2, moved=100)
    assert limit_ns(Work(multiply_adds=500), peaks) == 10
    assert limit_ns(Work(multiply_adds=500, roots=100, divisions=20), peaks) == 20 + 12
    assert limit_ns(Work(multiply_adds=500, normals=111), peaks) == 55.5
    assert limit_ns(Work(multiply_adds=500, moved=1200), peaks) == 12


def test_the_kernels_of_the_limits_do_what_they_are_timed_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MEASURE_NS", 1e5)
    kernels = limits.library()
    assert kernels.multiply_adds(2, 0.5, 0.25) == pytest.approx(
        sum(((1 + k / 100) / 2 + 0.25) / 2 + 0.25 for k in range(10))
    )
    assert kernels.roots(1, 0, 1.0) == pytest.approx(sum((1 + k / 100) ** 0.5 + 1 for k in range(10)))
    assert kernels.divisions(1, 1.5, 1.0) == pytest.approx(sum(1.5 / (1 + k / 100) + 1 for k in range(10)))
    normals = torch.empty(4096)
    kernels.normals(3, normals.data_ptr())
    assert abs(normals.mean()) < 0.06 and abs(normals.std() - 1) < 0.05 and abs(normals.abs().mean() - 0.798) < 0.04
    assert len(normals.unique()) > 4000
    a, b = torch.ones(5), torch.arange(5.0)
    kernels.triad(2, a.data_ptr(), b.data_ptr(), 5, 0.5)
    assert a.tolist() == [1, 2, 3, 4, 5]
    found = limits.peaks(1e5)
    assert found is not None and all(value > 0 for value in asdict(found).values())
    # One unit divides, takes roots and is slower than a multiply-add on every machine there is.
    assert found.multiply_adds > found.divisions and found.multiply_adds > found.roots


# Records


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rows = [row(), row("adam", 30, 900.5, limit_ns=None, target=None)]
    path = bench_records.write(rows, tmp_path / "new")
    facts = provenance.collect()
    assert path.name == f"{str(facts['time'])[:10]}-{bench_records.short(facts['commit'])}.json"
    (found,) = bench_records.oldest_first(tmp_path / "new")
    assert found == bench_records.read(path)
    assert [Row(**r) for r in found.rows] == rows
    assert (found.commit, found.date) == (facts["commit"], facts["time"])
    assert found.machine == provenance.machine() and found.machine["cores"] >= 1
    assert found.versions["torch"] == facts["torch"]
    assert [p.name for p in (tmp_path / "new").iterdir()] == [path.name]


def test_a_machine_is_described_in_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("model name\t: Fast 9000\nflags\t: fpu fma avx avx2\n\nmodel name : Slow\n")
    monkeypatch.setattr(provenance, "CPU_INFO", tmp_path / "cpuinfo")
    found = provenance.machine()
    assert (found["cpu"], found["flags"]) == ("Fast 9000", ["avx", "avx2", "fma"])
    for index, level, kind, cache_size in (
        (0, 1, "Data", "32K"),
        (1, 1, "Instruction", "32K"),
        (2, 2, "Unified", "1M"),
    ):
        (tmp_path / f"index{index}").mkdir()
        for name, value in (("level", level), ("type", kind), ("size", cache_size)):
            (tmp_path / f"index{index}" / name).write_text(f"{value}\n")
    monkeypatch.setattr(provenance, "CACHES", tmp_path)
    assert provenance.machine()["caches"] == "L1d 32K, L2 1M"
    monkeypatch.setattr(provenance, "CPU_INFO", tmp_path / "none")
    assert provenance.machine()["flags"] == []


def test_old_records_are_read_and_broken_ones_named(tmp_path: Path) -> None:
    assert bench_records.oldest_first(tmp_path) == [] and bench_records.oldest_first(tmp_path / "none") == []
    old = {key: value for key, value in asdict(row()).items() if key in KEYS[:9] + KEYS[11:15]}
    (tmp_path / "2026-11-20-old.json").write_text(json.dumps([old]))
    (found,) = bench_records.oldest_first(tmp_path)
    assert (found.date, found.commit) == ("2026-11-20", None)
    assert found.ratios == {(REGRESSION, "20-5-1", "sgd", 3000, "cpu"): 6000.0}
    for text in ("{", "{}", "3", '[{"ratio": 3}]'):
        (tmp_path / "2026-11-21-broken.json").write_text(text)
        with pytest.raises(InputError, match=r"2026-11-21-broken\.json is no record of the bench"):
            bench_records.oldest_first(tmp_path)


def test_a_record_is_a_table_for_readers(tmp_path: Path) -> None:
    old = {key: value for key, value in asdict(row("adam")).items() if key in KEYS[:9]}
    rows = [asdict(row(age=200_000, newborn_ns=20.0, newborn_plain_ns=1000.0)), old]
    (tmp_path / "2026-11-22-x.json").write_text(json.dumps(rows))
    said = bench_records.table(bench_records.read(tmp_path / "2026-11-22-x.json")).splitlines()
    assert said[2:] == [
        "| slowly_changing_regression, 20-5-1 | sgd | 3,000 | 200,000 | 120,000 | 20.0 | 6,000 | 50.0 | 1.0 | 1.0 |",
        "|  | adam | 3,000 | 0 | 120,000 | 20.0 | 6,000 |  | 1.0 | 4.0 |",
    ]


def test_agents_and_worlds_are_kept_and_told_in_tables_of_their_own(tmp_path: Path) -> None:
    kept = [world_row(next(case for case in WORLD_CASES if isinstance(case, kind))) for kind in (Agents, Robots, Games)]
    path = bench_records.write([row(), *kept], tmp_path)
    found = bench_records.read(path)
    assert [read_row(r) for r in found.rows] == [row(), *kept]
    assert found.ratios["continual_control", "32", "ppo", 8, "cpu"] == 2.0
    assert found.ratios["slippery_ant", "SlipperyAnt-v0", "stepping", 8, "cpu"] == 0.9
    assert found.ratios["continual_minatar", "breakout", "stepping", 64, "cpu"] == 61.7
    said = bench_records.table(found).splitlines()
    assert said[2].startswith("| slowly_changing_regression, 20-5-1 | sgd |")
    assert [line for line in said if line.endswith(":")] == [f"{heading}:" for heading in HEADINGS.values()]
    assert "| world, networks | agents | path | pack | loop | loop, Gymnasium | ratio | target |" in said[6]
    assert said[8].startswith("| continual_control, 32 | 8 | lifted | 2,500 | 1,000 | 800 | 2.0 | 1.4 | 50% |  | 10% |")
    assert "| SlipperyAnt-v0 | 8 | 187.9 | 208.8 | 90% | 90% | 320.7 | 7.2 of 8 |" in said
    assert "| breakout | 64 | 16 | 4,321 | 70 | 62 |  | 432 |" in said


def test_no_record_is_of_changed_code() -> None:
    for record in bench_records.oldest_first(bench_records.ROOT / "dashboards" / "benchmarks"):
        assert "dirty" not in record.name and not str(record.commit).endswith("-dirty")


def test_the_record_from_before_the_new_paths_is_there() -> None:
    first, *later = bench_records.oldest_first(bench_records.ROOT / "dashboards" / "benchmarks")
    assert (first.name, first.date) == ("2026-11-22-lifted", "2026-11-22")
    assert len(first.ratios) == 10 and first.ratios[REGRESSION, "20-5-1", "sgd", 3000, "cpu"] == 2309
    here = {(c.stream, c.subject, c.arm, c.members, c.device) for c in (*CASES, *cases.GPU_CASES, *WORLD_CASES)}
    assert all(set(record.ratios) <= here for record in [first, *later])


def test_the_comparison_says_what_changed(tmp_path: Path) -> None:
    path = bench_records.write([row(), row("adam", ratio=3000.0), row("l2", ratio=4000.0)], tmp_path)
    last = bench_records.read(path)
    now = [row(ratio=7200.0), row("adam", ratio=2250.0), row("l2", ratio=4100.0), row("adamo")]
    changes = bench_records.changes(now, last)
    assert [change.then for change in changes] == [6000, 3000, 4000, None]
    assert [change.times for change in changes] == [1.2, 0.75, 1.025, None]
    assert bench_records.comparison(changes, last).splitlines() == [
        f"against {path.stem}: of 3 rows that both have, 1 are faster, 1 slower, 1 within 10%",
        "slower: slowly_changing_regression 20-5-1 adam x 3000: ratio 3,000.0 then, 2,250.0 now (0.75 times)",
    ]
    elsewhere = replace(last, machine={"cpu": "Fast 9000"})
    assert "another machine (Fast 9000; this is" in bench_records.comparison(changes, elsewhere)
    assert [change.then for change in bench_records.changes(now, None)] == [None] * 4


def two_records(folder: Path) -> None:
    """Two hand-made records: 2026-11-22 and, with more rows and one of them invalid, 2026-11-25."""
    images = {"stream": IMAGES, "network": "784-100-100-100-10"}
    before = [row(ratio=2309.0), row("adam", ratio=621.0), row(members=30, ratio=7.6, **images)]
    after = [
        *[row(ratio=6400.0), row(members=30, ratio=1100.0, target=1000), row("adam", ratio=3300.0, target=3000)],
        *[
            row(members=6000, kernels_ns=5.0),
            row(members=30, ratio=31.0, target=30, **images),
            row("adamo_every_16", 30, 5.5, valid=False, **images),
        ],
    ]
    for day, rows in (("2026-11-22", before), ("2026-11-25", after)):
        held = {"date": day, "commit": "0123456789abcdef", "rows": [asdict(r) for r in rows]}
        (folder / f"{day}-0123.json").write_text(json.dumps(held))


def test_the_history_is_drawn_beside_the_records(command: Command, tmp_path: Path) -> None:
    assert "no record in" in command("bench", "--history", "--records", tmp_path).err
    two_records(tmp_path)
    said = command("bench", "--history", "--records", tmp_path)
    assert said.code == 0, said.err
    paths = [Path(line.split()[1]) for line in said.out.splitlines()]
    assert paths == [tmp_path / "history.png", tmp_path / "history.svg"]
    assert image.imread(paths[0]).shape[1] > 1000
    text = paths[1].read_text()
    for part in ("AdamO, every 16th step", "20-5-1, 3,000 trials", "2026-11-22", "0123456", "Hollow", "2 records"):
        assert part in text
    again = paths[1].read_bytes()
    command("bench", "--history", "--records", tmp_path)
    assert paths[1].read_bytes() == again


def test_the_history_has_a_row_per_record_and_line(tmp_path: Path) -> None:
    two_records(tmp_path)
    frame = history.data(bench_records.oldest_first(tmp_path))
    assert len(frame) == 8
    sgd = frame[(frame["arm"] == "sgd") & (frame["stream"] == REGRESSION) & (frame["members"] == 3000)]
    assert sgd["ratio"].tolist() == [2309, 6400] and sgd["place"].tolist() == [0, 1]
    assert frame["line"].drop_duplicates().tolist() == [
        "20-5-1, 3,000 trials",
        "20-5-1, 30 trials",
        "784-100-100-100-10, 30 trials",
    ]


def test_agents_and_worlds_are_drawn_too(tmp_path: Path) -> None:
    two_records(tmp_path)
    ants = [case for case in WORLD_CASES if case.stream == "ant"]
    later = {"date": "2026-11-27", "commit": "0123456789abcdef", "rows": [asdict(world_row(case)) for case in ants]}
    (tmp_path / "2026-11-27-0123.json").write_text(json.dumps(later))
    frame = history.data(bench_records.oldest_first(tmp_path))
    agents = frame[frame["arm"] == "ppo"]
    assert agents["line"].tolist() == ["256-256, 16 trials", "256-256, 8 trials"] and set(agents["ratio"]) == {2.0}
    paths = history.render(bench_records.oldest_first(tmp_path), tmp_path)
    text = paths[1].read_text()
    assert ">PPO<" in text and "stepped alone" in text and "Ant-v5, 8 trials" in text


# The command


def measured_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No training: every case's row is made up, but for AdamO's, which fail."""

    def made(case: AnyCase) -> AnyRow:
        if not isinstance(case, Case):
            return world_row(case)
        if case.arm == "adamo":
            raise RuntimeError("the bench of adamo failed: out of memory")
        return row(case.arm, case.members, 5000.0, stream=case.stream, network=case.network, target=case.target)

    monkeypatch.setattr(bench, "measured_apart", made)


def test_a_run_prints_a_table_and_what_it_was_before(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured_by_hand(monkeypatch)
    two_records(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    said = command("bench", "--members", "3000", "--arm", "sgd", "--records", tmp_path)
    assert said.code == 0, said.err
    lines = [line.split() for line in said.out.splitlines()]
    heading = "stream, network, arm trials path plain ns pack ns limit ns ratio newborn target before change"
    assert heading.split() in lines
    assert [REGRESSION, "20-5-1"] in lines
    assert ["sgd", "3,000", "lanes", "100,000", "20.0", "4.0", "5,000", "6,000", "6,400", "x", "0.78"] in lines
    assert "against 2026-11-25-0123: of 1 rows that both have, 0 are faster, 1 slower" in said.out
    assert len(list(tmp_path.iterdir())) == 2


def test_agents_and_worlds_have_tables_beside_what_they_were(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured_by_hand(monkeypatch)
    monkeypatch.setenv("COLUMNS", "140")
    ants = selected(quick=False, stream="ant", arm=None, members=8)
    before = [asdict(world_row(case, ratio=1.6)) for case in ants if not isinstance(case, Case)]
    (tmp_path / "2026-11-25-0123.json").write_text(json.dumps(before))
    said = command("bench", "--stream", "ant", "--members", "8", "--records", tmp_path)
    assert said.code == 0, said.err
    assert said.out.splitlines()[:2] == ["256-256 ppo x 8: ratio 2.0", "Ant-v5 stepping x 8: ratio 90%"]
    lines = [line.split() for line in said.out.splitlines()]
    assert ["ant,", "256-256", "8", "lifted", "2,500", "1,000", "800", "2.0", "1.4"] in [line[:9] for line in lines]
    assert ["Ant-v5", "8", "187.9", "208.8", "90%", "90%", "320.7", "7.2", "of", "8", "0.9", "x", "1.00"] in lines
    assert all(heading in said.out for heading in list(HEADINGS.values())[:2]) and "plain ns" not in said.out
    assert "of 2 rows that both have, 1 are faster" in said.out


def test_a_run_is_recorded_whole(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured_by_hand(monkeypatch)
    monkeypatch.setattr(provenance, "commit", lambda root: "0123456789abcdef-dirty")
    refused = command("bench", "--record", "--records", tmp_path)
    assert refused.code == 2 and "commit them first" in refused.err
    monkeypatch.setattr(provenance, "commit", lambda root: "0123456789abcdef")
    for part in (["--quick"], ["--arm", "sgd"], ["--stream", IMAGES], ["--members", "1"], ["--no-flush"]):
        refused = command("bench", "--record", "--records", tmp_path, *part)
        assert refused.code == 2 and "--record keeps whole runs" in refused.err
    said = command("bench", "--record", "--json", "--records", tmp_path)
    # What failed is said, and costs nothing but its own rows.
    assert said.code == 1 and "out of memory" in said.err
    printed = json.loads(said.out)
    assert len(printed) == len([case for case in CASES if case.arm != "adamo"]) + len(WORLD_CASES)
    assert all(list(r) == KEYS for r in printed if "kind" not in r)
    (found,) = bench_records.oldest_first(tmp_path)
    assert list(found.rows) == printed and str(tmp_path / found.name) in said.err


def test_a_gpu_has_rows_and_records_of_its_own(command: Command, tmp_path: Path) -> None:
    assert {case.device for case in selected(quick=False, stream=None, arm=None, device="cuda")} == {"cuda"}
    assert not any(case.main or case.target for case in cases.GPU_CASES)
    with pytest.raises(InputError, match="--quick or --device cuda"):
        selected(quick=True, stream=None, arm=None, device="cuda")
    on_gpu = asdict(row(device="cuda"))
    assert bench_records.key_of(on_gpu) != bench_records.key_of(asdict(row()))
    for name, rows in (("2026-11-25-01-cuda", [on_gpu]), ("2026-11-26-02", [{**asdict(row()), "ratio": 7.0}])):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    kept = bench_records.oldest_first(tmp_path)
    newest = {device: bench_records.last(kept, device) for device in ("cpu", "cuda")}
    assert {device: found.name for device, found in newest.items() if found} == {
        "cpu": "2026-11-26-02",
        "cuda": "2026-11-25-01-cuda",
    }
    if not torch.cuda.is_available():
        refused = command("bench", "--device", "cuda", "--records", tmp_path)
        assert refused.code == 2 and "leave out --device" in refused.err


def test_a_gpus_bound_is_that_of_its_data_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    sgd, adamo = (Case(REGRESSION, arm, 100, 30, 5, device="cuda") for arm in ("sgd", "adamo"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    # Five kernels of 840 ns for 3000 members.
    assert bench.gpu_limit(sgd) == pytest.approx(1.4) and bench.gpu_limit(adamo) is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA A30")
    assert bench.gpu_limit(sgd) is None


@pytest.mark.slow
def test_a_measured_row_has_the_documented_keys(command: Command, tmp_path: Path) -> None:
    said = command("bench", "--quick", "--json", "--records", tmp_path)
    assert said.code == 0, said.err
    rows = json.loads(said.out)
    assert [r["arm"] for r in rows] == ["sgd", "continual_backprop"]
    for r in rows:
        assert list(r) == KEYS
        assert (r["stream"], r["network"], r["batch"], r["members"]) == (REGRESSION, "20-5-1", 1, 16)
        assert r["path"] == "lanes" and r["ratio"] > 1 and r["peak_mb"] > 50
        assert r["age"] == 20_000 and r["newborn_ns"] > 0 and r["newborn_plain_ns"] > 0 and r["flushed"]
        assert r["ratio"] == pytest.approx(r["plain_ns"] / r["ns_per_trial_step"], rel=0.02)
        assert 0 < r["limit_ns"] < r["ns_per_trial_step"] and r["target"] is None
        assert {"pliant", "torch", "python"} <= set(r["versions"])
