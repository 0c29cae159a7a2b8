"""FIRE: its iteration through the singular values, polar factors, kernels place by place, and when it acts."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from workloads.engine.tasks import task_begun
from workloads.learner import Learner
from workloads.methods.base import Params, State
from workloads.methods.config import METHODS, AdamConfig, FIREConfig, SGDConfig
from workloads.methods.fire import isometric, polar
from workloads.networks.config import ConvNetConfig, MLPConfig
from workloads.networks.convnet import ConvNet
from workloads.networks.mlp import MLP
from workloads.random import Draw
from workloads.training.loop import run_pack
from workloads.training.pack import Pack, PackMember

DRAW = Draw(torch.tensor(0), torch.tensor(0), torch.float64)
NETWORK = MLP(MLPConfig(width=5, depth=2), 9, 3)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def through_singular_values(matrix: Tensor, iterations: int) -> Tensor:
    """The same iteration by another way: of M = U S V', s <- 1.5 s - 0.5 s^3 from s / |s|."""
    left, s, right = np.linalg.svd(matrix.numpy(), full_matrices=False)
    s = s / np.sqrt((s**2).sum())
    for _ in range(iterations):
        s = 1.5 * s - 0.5 * s**3
    return torch.from_numpy(left @ np.diag(s) @ right)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (4, 4), (1, 6)])
@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_the_iteration_is_a_polynomial_of_the_singular_values(shape: tuple[int, int], iterations: int) -> None:
    matrix = 7 * random(*shape)
    torch.testing.assert_close(
        polar(matrix, iterations), through_singular_values(matrix, iterations), rtol=0, atol=1e-13
    )


def test_by_hand() -> None:
    """diag(3, 4) begins at diag(0.6, 0.8), comes to 0.9 - 0.108 and 1.2 - 0.256 in one, and to the identity at last."""
    matrix = torch.diag(torch.tensor([3.0, 4.0], dtype=torch.float64))
    assert polar(matrix, 1).diagonal().tolist() == pytest.approx([0.792, 0.944], rel=1e-14)
    torch.testing.assert_close(polar(matrix, 10), torch.eye(2).double(), rtol=0, atol=1e-12)
    assert not polar(torch.zeros(2, 3), 10).any()


def test_every_matrix_becomes_its_polar_factor_at_its_scale_and_nothing_else_changes() -> None:
    learner = Learner(NETWORK, "cross_entropy", ("adam", AdamConfig()), {"fire": FIREConfig(iterations=40)})
    params = NETWORK.init(0)
    after, _ = learner.at_task(params, learner.init(params), {"fire": {}}, DRAW)
    for name, value in params.items():
        if name in NETWORK.weights:
            left, _, right = torch.linalg.svd(value, full_matrices=False)
            scale = (value.shape[0] / value.shape[1]) ** 0.5
            torch.testing.assert_close(after[name], scale * left @ right, rtol=0, atol=1e-12)
        else:
            assert after[name] is value
    again, _ = learner.at_task(after, learner.init(params), {"fire": {}}, DRAW)
    for name in params:
        torch.testing.assert_close(again[name], after[name], rtol=0, atol=1e-12)


def test_a_kernel_is_a_matrix_for_each_of_its_places() -> None:
    network = ConvNet(ConvNetConfig(width=2, hidden=4), (1, 30, 30), 3)
    kernel = network.init(0)["convs.1.weight"]  # (4, 2, 3, 3)
    found = isometric(kernel, 10)
    assert found.shape == kernel.shape
    for i, j in ((0, 0), (2, 1)):
        expected = 2**0.5 / 9 * through_singular_values(kernel[:, :, i, j], 10)
        torch.testing.assert_close(found[:, :, i, j], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("forgets", [False, True])
def test_the_optimizers_state_is_forgotten_where_that_is_asked_for(forgets: bool) -> None:
    learner = Learner(NETWORK, "cross_entropy", ("adam", AdamConfig()), {"fire": FIREConfig(optimizer=forgets)})
    params = NETWORK.init(0)
    state = learner.init(params)
    state["optimizer"] = {slot: {n: v + 1 for n, v in own.items()} for slot, own in state["optimizer"].items()}
    _, after = learner.at_task(params, state, {"fire": {}}, DRAW)
    left = {value.abs().max().item() for own in after["optimizer"].values() for value in own.values()}
    assert left == ({0.0} if forgets else {1.0})


def test_a_members_bits_do_not_depend_on_who_shares_the_pack() -> None:
    """Wherever in memory an engine keeps the axis of the members."""
    network = ConvNet(ConvNetConfig(width=2, hidden=30), (1, 30, 30), 3)
    learner = Learner(network, "cross_entropy", ("sgd", SGDConfig()), {"fire": FIREConfig()})
    weights = [network.init(seed) for seed in range(51)]

    def begun(count: int, last: bool) -> Params:
        params = {n: torch.stack([own[n].float() for own in weights[:count]]) for n in weights[0]}
        if last:
            params = {n: v.movedim(0, -1).contiguous().movedim(-1, 0) for n, v in params.items()}
        tree = {"params": params, "state": {"optimizer": {}, "fire": {}}}
        hyper: State = {"optimizer": {}, "fire": {}}
        found: Params = task_begun(learner, tree, hyper, torch.arange(count), 0)["params"]
        return found

    many = begun(51, last=False)
    for count, last in ((1, False), (1, True), (16, True), (17, False)):
        some = begun(count, last)
        assert all(torch.equal(some[name], value[:count]) for name, value in many.items())


def kept(boundaries: str) -> dict[str, Params]:
    """Weights after each of three tasks in which nothing is learned."""
    config: dict[str, Any] = {
        "workload": {"name": "slowly_changing_regression", "tasks": 3, "period": 20, "task_boundaries": boundaries},
        "network": {"name": "mlp", "width": 4, "depth": 1},
        "optimizer": {"name": "sgd", "step_size": 0.0},
        "methods": {"fire": {}},
        **{"seed": 3, "metrics": ["online_error"], "every": 1, "probe": 8, "dtype": "float64", "keep": {"every": 1}},
    }
    found: dict[str, Params] = {}
    run_pack(
        Pack(id="p", members=[PackMember("t", config)], path="lanes"),
        lambda snapshot: found.update(
            {name: torch.load(io.BytesIO(v), weights_only=True)["params"] for name, v in snapshot.weights.items()}
        ),
    )
    return found


def test_a_pack_is_made_isometric_as_every_task_but_the_first_begins() -> None:
    start = MLP(MLPConfig(width=4, depth=1), 20, 1).init(3)
    first, second, third = (kept("shown")[f"t-{task}.pt"] for task in ("task00001", "task00002", "final"))
    for name, value in start.items():
        assert torch.equal(first[name], value)
        expected = [isometric(value, 10), isometric(isometric(value, 10), 10)] if "weight" in name else [value, value]
        torch.testing.assert_close(second[name], expected[0], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(third[name], expected[1], rtol=1e-12, atol=1e-14)


def test_it_needs_to_be_shown_the_tasks() -> None:
    assert METHODS["fire"].needs(FIREConfig()) == {"task_boundaries"}
