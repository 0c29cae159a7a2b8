"""Muon: its step written anew in NumPy, its singular values, torch.optim.Muon where it means the same, both parts."""

from __future__ import annotations

import math
from typing import Any

import configs
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from workloads.methods.base import Hyper, Params, Seen, State
from workloads.methods.config import OPTIMIZERS, MuonConfig
from workloads.methods.muon import Muon, orthogonalized
from workloads.networks.config import ConvNetConfig, MLPConfig
from workloads.networks.convnet import ConvNet
from workloads.networks.mlp import MLP
from workloads.random import Draw
from workloads.settings import written
from workloads.training.loop import Training
from workloads.training.pack import Pack, PackMember

DRAW = Draw(torch.tensor(0), torch.tensor(0), torch.float64)
NETWORK = MLP(MLPConfig(width=5, depth=2), 9, 3)  # matrices 5 x 9, 5 x 5 and the head, 3 x 5
Array = NDArray[np.float64]


def hyper_of(config: MuonConfig) -> Hyper:
    return {name: torch.tensor(getattr(config, name), dtype=torch.float64) for name in OPTIMIZERS["muon"].varies}


def grads_of(count: int, params: Params) -> list[Params]:
    generator = torch.Generator().manual_seed(1)
    return [
        {n: torch.randn(v.shape, generator=generator, dtype=torch.float64) for n, v in params.items()}
        for _ in range(count)
    ]


def stepped(config: MuonConfig, network: Any, grads: list[Params]) -> tuple[Params, State]:
    method, params = Muon(config, network), network.init(0)
    state = method.init(params, per_element=False)
    for g in grads:
        params, state = method.optimizer(params, state, hyper_of(config), Seen(grads=g, activations={}), DRAW)
    return params, state


def polynomial_of_singular_values(u: Array, iterations: int) -> Array:
    """The same iteration by another way: through u = U S V', s <- 3.4445 s - 4.775 s^3 + 2.0315 s^5."""
    left, s, right = np.linalg.svd(u, full_matrices=False)
    s = s / (math.sqrt((s**2).sum()) + 1e-7)
    for _ in range(iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return left @ np.diag(s) @ right


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (4, 4), (1, 6)])
def test_the_iteration_is_a_polynomial_of_the_singular_values(shape: tuple[int, int]) -> None:
    u = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = polynomial_of_singular_values(1e3 * u.numpy(), 5)
    np.testing.assert_allclose(orthogonalized(1e3 * u, 5).numpy(), expected, rtol=1e-10, atol=1e-12)
    values = torch.linalg.svdvals(orthogonalized(u, 5))
    assert 0.6 < values.min() and values.max() < 1.3
    assert not orthogonalized(torch.zeros(shape), 5).any()


@pytest.mark.parametrize("nesterov", [True, False])
def test_three_steps_are_the_formula_in_numpy(nesterov: bool) -> None:
    config = MuonConfig(step_size=0.1, rest_step_size=0.01, weight_decay=0.2, nesterov=nesterov, momentum=0.9)
    grads = grads_of(3, NETWORK.init(0))
    found, state = stepped(config, NETWORK, grads)
    for name in NETWORK.weights[:-1]:
        w, m = NETWORK.init(0)[name].numpy(), np.zeros(NETWORK.init(0)[name].shape)
        for g in (each[name].numpy() for each in grads):
            m = 0.9 * m + 0.1 * g
            u = 0.1 * g + 0.9 * m if nesterov else m
            scale = max(1, w.shape[0] / w.shape[1]) ** 0.5
            w = w - 0.1 * 0.2 * w - 0.1 * scale * polynomial_of_singular_values(u, 5)
        np.testing.assert_allclose(found[name].numpy(), w, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(state["momentum"][name].numpy(), m, rtol=1e-12)


def test_the_head_and_biases_are_torchs_adamw_at_their_own_step_size() -> None:
    config = MuonConfig(step_size=0.1, rest_step_size=0.01, weight_decay=0.2)
    grads = grads_of(4, NETWORK.init(0))
    found, state = stepped(config, NETWORK, grads)
    rest = {n: v.requires_grad_() for n, v in NETWORK.init(0).items() if n not in NETWORK.weights[:-1]}
    assert set(state["mean"]) == set(rest) and set(state["momentum"]) == set(NETWORK.weights[:-1])
    adam = torch.optim.AdamW(rest.values(), lr=0.01, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.2)
    for g in grads:
        for name, value in rest.items():
            value.grad = g[name].clone()
        adam.step()
    for name, value in rest.items():
        torch.testing.assert_close(found[name], value.detach(), rtol=1e-12, atol=1e-14)


def test_the_pull_of_adamo_joins_the_step_of_the_hidden_matrices_alone() -> None:
    """Beside the same step without: - eta lambda 4 (W W' - I) W at the weights before it; 0 is Muon to the bit."""
    grads = grads_of(1, NETWORK.init(0))
    plain, _ = stepped(MuonConfig(step_size=0.1), NETWORK, grads)
    pulled, _ = stepped(MuonConfig(step_size=0.1, isometry_strength=3.0), NETWORK, grads)
    for name, w in NETWORK.init(0).items():
        if name in NETWORK.weights[:-1]:
            gram = w @ w.T - torch.eye(len(w)).double()
            torch.testing.assert_close(pulled[name], plain[name] - 0.1 * 3.0 * 4 * gram @ w, rtol=1e-12, atol=1e-13)
        else:
            assert torch.equal(pulled[name], plain[name])
    assert "isometry_strength" not in written(MuonConfig())  # so trials without it are called what they were


def test_with_the_pull_alone_singular_values_come_to_one() -> None:
    """Without gradients, by AdamO's rule: s <- s - 4 eta lambda s (s^2 - 1)."""
    config = MuonConfig(step_size=0.02, isometry_strength=1.0)
    nothing = {name: torch.zeros_like(value) for name, value in NETWORK.init(0).items()}
    found, _ = stepped(config, NETWORK, [nothing] * 50)
    for name in NETWORK.weights[:-1]:
        s = torch.linalg.svdvals(NETWORK.init(0)[name])
        for _ in range(50):
            s = s - 4 * 0.02 * s * (s**2 - 1)
        torch.testing.assert_close(
            torch.linalg.svdvals(found[name]), s.sort(descending=True).values, rtol=1e-11, atol=0
        )


@pytest.mark.parametrize("network", [NETWORK, MLP(MLPConfig(width=12, depth=2), 4, 3)], ids=["wide", "tall"])
def test_matrices_are_torchs_muon_but_for_its_bfloat16(network: MLP) -> None:
    """Its iteration rounds to 8 bits: a few percent of an entry after three steps, where another scale would be far."""
    config = MuonConfig(step_size=0.1, weight_decay=0.2)
    start = network.init(0)
    grads = grads_of(3, start)
    found, _ = stepped(config, network, grads)
    theirs = {n: start[n].clone().requires_grad_() for n in network.weights[:-1]}
    muon = torch.optim.Muon(theirs.values(), lr=0.1, weight_decay=0.2, momentum=0.95, adjust_lr_fn="original")
    for g in grads:
        for name, value in theirs.items():
            value.grad = g[name].clone()
        muon.step()
    for name, value in theirs.items():
        gap = (found[name] - value.detach()).norm() / (found[name] - start[name]).norm()
        assert gap < 0.03


def test_a_kernel_is_the_matrix_of_its_patches() -> None:
    network = ConvNet(ConvNetConfig(width=2, hidden=4), (1, 30, 30), 3)
    kernel = next(name for name in network.weights if len(network.parameter_shapes()[name]) == 4)
    move = torch.randn(network.parameter_shapes()[kernel], generator=torch.Generator().manual_seed(2)).double()
    found = Muon(MuonConfig(), network).direction(move)
    assert found.shape == move.shape
    values = torch.linalg.svdvals(found.flatten(1))
    rows, cols = found.flatten(1).shape
    scale = max(1, rows / cols) ** 0.5
    assert 0.6 * scale < values.min() and values.max() < 1.3 * scale


def test_a_linear_model_has_no_hidden_matrix() -> None:
    linear = MLP(MLPConfig(depth=0), 4, 2)
    state = Muon(MuonConfig(), linear).init(linear.init(0), per_element=False)
    assert state["momentum"] == {} and set(state["mean"]) == set(linear.parameter_shapes())


def test_a_settings_class_says_which_scalars_are_step_sizes_and_which_follow() -> None:
    assert OPTIMIZERS["muon"].step_sizes == ("step_size", "rest_step_size")
    assert OPTIMIZERS["sgd"].step_sizes == ("step_size",)
    assert OPTIMIZERS["adamo"].step_sizes == ("step_size", "isometry_step_size")
    assert OPTIMIZERS["adamo"].follows == {"isometry_step_size": "step_size"}


def test_a_streams_schedule_scales_the_step_sizes_of_both_parts() -> None:
    muon = {"name": "muon", "step_size": 0.5, "rest_step_size": 0.25, "weight_decay": 0.125}
    config = configs.small(optimizer=muon, dtype="float64")
    training = Training(Pack(id="", members=[PackMember("t", config)], path="looped"))
    training.scale_step_sizes(0.1)
    found = {name: value.tolist() for name, value in training.hyper["optimizer"].items()}
    assert found == {"step_size": [0.05], "rest_step_size": [0.025], "weight_decay": [0.125]}


def test_its_float32_is_close_to_its_float64() -> None:
    u = torch.randn(20, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    single: Tensor = orthogonalized(u.float(), 5)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), orthogonalized(u, 5), rtol=1e-3, atol=1e-5)
