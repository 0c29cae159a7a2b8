"""UPGD: its step written anew in NumPy, numbers by hand, and what it is where utilities or noise are none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from workloads.methods.base import Hyper, Params, Seen, State
from workloads.methods.config import OPTIMIZERS, UPGDConfig
from workloads.methods.upgd import UPGD
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.random import Draw, normal

NETWORK = MLP(MLPConfig(width=4, depth=1, initialisation="default"), 3, 2)
SEED = 5


def hyper_of(config: UPGDConfig) -> Hyper:
    return {name: torch.tensor(getattr(config, name), dtype=torch.float64) for name in OPTIMIZERS["upgd"].varies}


def stepped(config: UPGDConfig, params: Params, grads: list[Params]) -> tuple[Params, State]:
    method = UPGD(config, NETWORK)
    state = method.init(params, per_element=False)
    for step, g in enumerate(grads):
        draw = Draw(torch.tensor(SEED), torch.tensor(step), torch.float64)
        params, state = method.optimizer(params, state, hyper_of(config), Seen(grads=g, activations={}), draw)
    return params, state


def grads_of(count: int) -> list[Params]:
    generator = torch.Generator().manual_seed(1)
    like = NETWORK.init(0)
    return [{n: torch.randn(v.shape, generator=generator).double() for n, v in like.items()} for _ in range(count)]


def config_of(maximum: str, **fields: float) -> UPGDConfig:
    return UPGDConfig(maximum=maximum, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("maximum", ["corrected", "uncorrected"])
def test_four_steps_are_the_formula_in_numpy(maximum: str) -> None:
    config = config_of(maximum, step_size=0.1, utility_decay=0.9, perturb_scale=0.3, weight_decay=0.2)
    grads = grads_of(4)
    found, state = stepped(config, NETWORK.init(0), grads)
    weights = {n: v.numpy().copy() for n, v in NETWORK.init(0).items()}
    trace = {n: np.zeros_like(w) for n, w in weights.items()}
    for step in range(4):
        g = {n: v.numpy() for n, v in grads[step].items()}
        trace = {n: 0.9 * u - 0.1 * g[n] * weights[n] for n, u in trace.items()}
        corrected = {n: u / (1 - 0.9 ** (step + 1)) for n, u in trace.items()}
        largest = max(u.max() for u in (corrected if maximum == "corrected" else trace).values())
        for n, w in weights.items():
            scaled = 1 / (1 + np.exp(-corrected[n] / largest))
            noise = 0.3 * normal(SEED, f"upgd/{n}", step, w.size).reshape(w.shape)
            weights[n] = (1 - 0.1 * 0.2) * w - 0.1 * (g[n] + noise) * (1 - scaled)
    for n, w in weights.items():
        np.testing.assert_allclose(found[n].numpy(), w, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(state["utility"][n].numpy(), trace[n], rtol=1e-12, atol=1e-15)


def test_one_step_by_hand() -> None:
    # Utilities 2 and -1: the largest is 2, so what is kept is s(1) and s(-1/2), s the logistic function.
    config = UPGDConfig(step_size=0.1, perturb_scale=0.0, weight_decay=0.0)
    after, _ = stepped(config, {"w": torch.tensor([2.0, 1.0]).double()}, [{"w": torch.tensor([-1.0, 1.0]).double()}])
    moved = [2 + 0.1 * (1 - 1 / (1 + math.exp(-1))), 1 - 0.1 * (1 - 1 / (1 + math.exp(0.5)))]
    assert after["w"].tolist() == pytest.approx(moved, rel=1e-12)


@pytest.mark.parametrize("maximum", ["corrected", "uncorrected"])
def test_by_the_uncorrected_largest_weights_are_at_first_held_or_free(maximum: str) -> None:
    # After one step 1 - 0.9999 = 1e-4: utilities are divided by a number 1e4 times too small.
    config = config_of(maximum, step_size=1.0, perturb_scale=0.0, weight_decay=0.0)
    params, [grads] = NETWORK.init(0), grads_of(1)
    after, _ = stepped(config, params, [grads])
    moved = torch.cat([((params[n] - after[n]) / grads[n]).flatten() for n in params])
    useful = torch.cat([(-grads[n] * params[n]).flatten() for n in params]) > 0
    if maximum == "corrected":
        assert moved[useful].min() > 1 / (1 + math.e) - 1e-6 and moved[useful].max() < 0.5 < moved[~useful].min()
    else:
        assert moved[useful].median() < 1e-6 and moved[~useful].median() > 1 - 1e-6


@pytest.mark.parametrize("slope", [1.0, 0.0], ids=["all harmful", "all without effect"])
def test_where_no_utility_is_positive_every_weight_moves_by_half(slope: float) -> None:
    config = UPGDConfig(step_size=0.1, perturb_scale=0.0, weight_decay=0.0)
    params = {n: v.abs() + 0.1 for n, v in NETWORK.init(0).items()}
    after, _ = stepped(config, params, [{n: torch.full_like(v, slope) for n, v in params.items()}])
    assert all(torch.allclose(after[n], params[n] - 0.05 * slope, rtol=1e-12, atol=0) for n in params)


def test_the_noise_has_its_deviation() -> None:
    config = UPGDConfig(step_size=1.0, perturb_scale=0.1, weight_decay=0.0)
    zero = {"w": torch.zeros(300, 200).double()}
    drawn = stepped(config, zero, [zero])[0]["w"]  # half of the noise, since nothing is of use
    assert drawn.std().item() == pytest.approx(0.05, rel=0.02) and abs(drawn.mean().item()) < 1e-3
