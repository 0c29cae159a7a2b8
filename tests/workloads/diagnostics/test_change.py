"""Change of weights and of the function, by hand and against the weights that a pack keeps, cut anywhere."""

from __future__ import annotations

import io
from typing import Any

import configs
import pytest
import torch
from torch import Tensor

from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import measure
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.training import feed
from workloads.training.assembled import network_of, stream_of, workload_of
from workloads.training.loop import run_pack
from workloads.training.pack import Pack, PackMember, Snapshot

NAMES = ("weight_change", "distance_from_initialisation", "function_change")
TASKS, EVERY, PROBE = 5, 2, 8


def test_changes_by_hand() -> None:
    """(3, 4) from (0, 0) is 5 away, sqrt(12.5) in the mean; a head from 2 to 1 is 1 away."""
    network = MLP(MLPConfig(width=1, depth=1, activation="linear", biases=False), 2, 1)

    def at(first: list[float], head: float) -> Look:
        params = {"layers.0.weight": torch.tensor([[first]]), "layers.1.weight": torch.tensor([[[head]]])}
        return Look(network, params, torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))

    now = at([3.0, 4.0], 1.0)
    now.before, now.initial = at([0.0, 0.0], 2.0), at([3.0, 2.0], 2.0)
    found = {name: value.item() for name, value in measure(NAMES, now).items()}
    assert found == {
        "weight_change": pytest.approx((12.5**0.5 + 1) / 2),
        "weight_change/1": pytest.approx(12.5**0.5),
        "weight_change/2": 1,
        "distance_from_initialisation": pytest.approx((2**0.5 + 1) / 2),
        "distance_from_initialisation/1": pytest.approx(2**0.5),
        "distance_from_initialisation/2": 1,
        "function_change": pytest.approx(12.5**0.5),  # from 0 to 3 on one example, to 4 on the other
    }


def test_what_is_of_the_past_needs_one() -> None:
    network = MLP(MLPConfig(width=2, depth=1), 2, 1)
    params = {name: value[None] for name, value in network.init(0).items()}
    for name in NAMES:
        with pytest.raises(ValueError, match="a look without a past"):
            measure([name], Look(network, params, torch.zeros(1, 1, 2, dtype=torch.float64)))


def config(seed: int, **changes: Any) -> dict[str, Any]:
    workload = {"name": "slowly_changing_regression", "tasks": TASKS, "period": 30}
    kept = {"workload": workload, "dtype": "float64", "every": EVERY, "probe": PROBE, "keep": {"every": 1}}
    return configs.small(seed, **{**kept, "metrics": [*NAMES, "online_error"], **changes})


def run(trials: list[dict[str, Any]], resume: bytes | None = None, stop: int = -1) -> list[Snapshot]:
    """All snapshots, one after every task; the first trial is stopped at step `stop`."""
    seen: list[Snapshot] = []

    def report(snapshot: Snapshot) -> Any:
        seen.append(snapshot)
        return {"t0"} if snapshot.step == stop else None

    members = [PackMember(f"t{i}", each) for i, each in enumerate(trials)]
    run_pack(Pack(id="p", members=members, path="looped"), report, resume, commit_seconds=0)
    return seen


def rows_of(snapshots: list[Snapshot]) -> dict[tuple[str, int, int], float]:
    """(metric, member, task) -> value."""
    return {
        (rows.names[metric], int(member), int(task)): float(value)
        for rows in (snapshot.rows for snapshot in snapshots)
        for metric, member, task, value in zip(rows.metric, rows.member, rows.task, rows.value, strict=True)
    }


def weights_of(snapshots: list[Snapshot], trial: dict[str, Any], name: str) -> dict[int, dict[str, Any]]:
    """Task -> what is kept of a trial when it begins: parameters and what its methods know of inputs."""
    kept: dict[int, dict[str, Any]] = {}
    for snapshot in snapshots:
        for file, content in snapshot.weights.items():
            if file.startswith(name):
                task = TASKS if "final" in file else int(file[-8:-3])
                kept[task] = torch.load(io.BytesIO(content), weights_only=True)
    return {0: {"params": network_of(trial, workload_of(trial, 0)).init(trial["seed"])}, **kept}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "CHUNK_STEPS", 15)


def rms(now: Tensor, before: Tensor) -> float:
    return float((now - before).square().mean().sqrt())


def test_a_packs_changes_are_those_of_the_weights_that_it_keeps(short: None) -> None:
    trials = [config(seed, optimizer={"name": "sgd", "step_size": 0.02 / (1 + seed)}) for seed in range(2)]
    snapshots = run(trials)
    found = rows_of(snapshots)
    for number, trial in enumerate(trials):
        kept = {task: held["params"] for task, held in weights_of(snapshots, trial, f"t{number}").items()}
        stream = stream_of(trial, trial["seed"])
        network = network_of(trial, stream)
        for task, earlier in ((0, 0), (2, 0), (4, 2)):
            now, before, first = kept[task], kept[earlier], kept[0]
            x = torch.from_numpy(stream.probe(task, PROBE)[0]).double()
            outputs = [network.apply(params, x)[0] for params in (now, before)]
            assert found["function_change", number, task] == pytest.approx(rms(*outputs))
            for place, name in enumerate(network.weights, start=1):
                assert found[f"weight_change/{place}", number, task] == pytest.approx(rms(now[name], before[name]))
                far = found[f"distance_from_initialisation/{place}", number, task]
                assert far == pytest.approx(rms(now[name], first[name])) and (far > 0) == (task > 0)


def test_changes_are_the_same_resumed_and_when_a_neighbour_left(short: None) -> None:
    trials = [config(seed) for seed in range(3)]
    whole = run(trials, stop=60)  # the first leaves after two tasks
    expected = rows_of(whole)
    assert ("weight_change", 0, 0) in expected and ("weight_change", 0, 4) not in expected
    alone = rows_of(run(trials))
    assert {key: value for key, value in expected.items() if key[1] > 0} == {
        key: value for key, value in alone.items() if key[1] > 0
    }
    for position, snapshot in enumerate(whole[:-1]):
        if snapshot.step == 60:  # who was stopped by its report is not yet in it
            continue
        again = rows_of(run(trials, snapshot.checkpoint, stop=60))
        assert rows_of(whole[: position + 1]) | again == expected


def test_the_function_is_seen_through_what_methods_knew_of_inputs_then(short: None) -> None:
    """With a step size of 0 the weights stay, and all that changes is how inputs are normalised."""
    trial = config(0, methods={"input_normaliser": {}}, optimizer={"name": "sgd", "step_size": 0.0})
    found = rows_of(run([trial]))
    assert found["weight_change", 0, 2] == found["distance_from_initialisation", 0, 4] == 0
    assert found["function_change", 0, 0] == 0 and found["function_change", 0, 2] > 1e-6


def test_a_policy_changes_too(short: None) -> None:
    workload = {"name": "continual_control", "tasks": 2, "steps_per_task": 512, "rollout": 64, "minibatches": 2}
    learning = {"optimizer": {"name": "sgd", "step_size": 0.001}, "metrics": [*NAMES, "average_return"]}
    trial = config(0, workload=workload, every=1, **learning)
    snapshots = run([trial])
    found, kept = rows_of(snapshots), weights_of(snapshots, trial, "t0")
    name = "layers.0.weight"
    assert found["weight_change/1", 0, 0] == 0
    expected = rms(kept[1]["params"][name], kept[0]["params"][name])
    assert found["weight_change/1", 0, 1] == found["distance_from_initialisation/1", 0, 1] == pytest.approx(expected)
    assert found["function_change", 0, 1] > 0
