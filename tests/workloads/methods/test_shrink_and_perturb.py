"""Shrink and perturb: the noise by its own draws and by its statistics, L2 without it, and when it acts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from scipy import stats
from torch import Tensor

from workloads import random
from workloads.engine.plain import Trained, train
from workloads.learner import Learner
from workloads.methods.config import METHODS, L2Config, SGDConfig, ShrinkAndPerturbConfig
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.random import Draw

NETWORK = MLP(MLPConfig(width=4, depth=1), 3, 1)
SGD = ("sgd", SGDConfig(step_size=0.01))


def hyper_of(learner: Learner, methods: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    numbers = learner.hyper_of(SGD[1], methods)
    return {w: {k: torch.tensor(v, dtype=torch.float64) for k, v in h.items()} for w, h in numbers.items()}


def trained(methods: dict[str, Any], steps: int, start: int = 0) -> Trained:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 1, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(30, 1, 1, generator=generator, dtype=torch.float64)
    learner = Learner(NETWORK, "squared_error", SGD, methods)
    params = NETWORK.init(0)
    hyper = hyper_of(learner, methods)
    return train(learner, params, learner.init(params), hyper, x[:steps], y[:steps], torch.tensor(11), start)


def perturbing(**fields: Any) -> dict[str, Any]:
    return {"shrink_and_perturb": ShrinkAndPerturbConfig(**fields)}


@pytest.mark.parametrize("start", [0, 17])
def test_a_step_adds_the_steps_own_normal_draws_after_the_update(start: int) -> None:
    """θ' = (one step of SGD with L2) + σ N(seed 11, "perturb/<name>", step), every weight and bias."""
    noisy = trained(perturbing(strength=0.1, perturb_scale=0.5), 1, start)
    plain = trained({"l2": L2Config(strength=0.1)}, 1, start)
    for name, value in plain.params.items():
        noise = random.normal(11, f"perturb/{name}", start, value.numel()).reshape(value.shape)
        np.testing.assert_allclose(noisy.params[name].numpy(), value.numpy() + 0.5 * noise, rtol=1e-13, atol=1e-14)


def test_scale_zero_is_l2_and_both_zero_is_nothing_to_the_bit() -> None:
    still = trained(perturbing(strength=0.1, perturb_scale=0.0), 20)
    shrunk = trained({"l2": L2Config(strength=0.1)}, 20)
    nothing, plain = trained(perturbing(strength=0.0, perturb_scale=0.0), 20), trained({}, 20)
    for name in plain.params:
        assert torch.equal(still.params[name], shrunk.params[name])
        assert torch.equal(nothing.params[name], plain.params[name])


def test_noise_has_the_standard_deviation_asked_for_and_no_memory() -> None:
    """2 x 400 x 100 draws at σ = 1e-3, within 4 standard errors; two steps are unrelated. Fixed seeds."""
    network = MLP(MLPConfig(width=400, depth=1), 100, 1)
    learner = Learner(network, "squared_error", SGD, perturbing(perturb_scale=1e-3))
    method, hyper = (
        learner.methods["shrink_and_perturb"],
        {"perturb_scale": torch.tensor(1e-3, dtype=torch.float64)},
    )
    zero = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in network.parameter_shapes().items()}
    noise = []
    for step in (0, 1):
        draw = Draw(torch.tensor(0), torch.tensor(step), torch.float64)
        noise.append(method.perturbed(zero, hyper, draw)["layers.0.weight"].flatten().numpy() / 1e-3)
    both, count = np.concatenate(noise), 80_000
    assert abs(both.mean()) < 4 / math.sqrt(count)
    assert abs(both.std() - 1) < 4 / math.sqrt(2 * count)
    assert stats.kstest(both, "norm").pvalue > 0.01
    assert abs(np.corrcoef(*noise)[0, 1]) < 4 / math.sqrt(count / 2)


def test_parameters_of_one_size_get_different_noise() -> None:
    learner = Learner(NETWORK, "squared_error", SGD, perturbing())
    zero = {"layers.0.bias": torch.zeros(4).double(), "layers.1.weight": torch.zeros(1, 4).double()}
    draw = Draw(torch.tensor(0), torch.tensor(0), torch.float64)
    noisy = learner.methods["shrink_and_perturb"].perturbed(zero, {"perturb_scale": torch.tensor(1.0).double()}, draw)
    assert not set(noisy["layers.0.bias"].tolist()) & set(noisy["layers.1.weight"].flatten().tolist())


def test_at_tasks_it_shrinks_every_step_and_perturbs_only_there() -> None:
    at_task = perturbing(strength=0.1, perturb_scale=0.5, when="task")
    steps = trained(at_task, 20)
    shrunk = trained({"l2": L2Config(strength=0.1)}, 20)
    assert all(torch.equal(steps.params[name], shrunk.params[name]) for name in shrunk.params)

    learner = Learner(NETWORK, "squared_error", SGD, at_task)
    assert learner.acts_at_tasks
    assert not Learner(NETWORK, "squared_error", SGD, perturbing()).acts_at_tasks
    params, hyper = NETWORK.init(0), hyper_of(learner, at_task)
    draw = Draw(torch.tensor(11), torch.tensor(40), torch.float64)
    after, _ = learner.at_task(params, learner.init(params), hyper, draw)
    for name, value in params.items():
        noise = random.normal(11, f"perturb/{name}", 40, value.numel()).reshape(value.shape)
        np.testing.assert_allclose(after[name].numpy(), value.numpy() + 0.5 * noise, rtol=1e-13, atol=1e-14)


def test_only_perturbing_at_tasks_needs_their_boundaries() -> None:
    spec = METHODS["shrink_and_perturb"]
    assert spec.needs(ShrinkAndPerturbConfig()) == frozenset()
    assert spec.needs(ShrinkAndPerturbConfig(when="task")) == {"task_boundaries"}


@pytest.mark.parametrize("field", [{"perturb_scale": -1e-5}, {"strength": -1.0}, {"when": "epoch"}])
def test_values_out_of_range_are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(field))):
        TypeAdapter(ShrinkAndPerturbConfig).validate_python(field)
