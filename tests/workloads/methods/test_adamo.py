"""AdamO: Adam at strength 0, one pull by hand, and every option beside the equation it changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from workloads.engine.plain import train
from workloads.learner import Learner
from workloads.methods.adam import Adam
from workloads.methods.adamo import AdamO
from workloads.methods.base import Params, Seen, State
from workloads.methods.config import AdamConfig, AdamOConfig
from workloads.methods.isometry import isometry_gradient, projected
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.random import Draw

DRAW = Draw(torch.tensor(0), torch.tensor(0), torch.float64)

SQUARE = MLP(MLPConfig(depth=0, biases=False), 2, 2)  # one 2 x 2 matrix, the head
NETWORK = MLP(MLPConfig(width=6, depth=2), 4, 3)


def hyper_of(config: Any) -> dict[str, Tensor]:
    """The varying scalars; the isometry's own step size follows the other where it is null."""
    names = ("step_size", "weight_decay", "isometry_strength", "isometry_step_size")
    values = {name: getattr(config, name) for name in names if hasattr(config, name)}
    if values.get("isometry_step_size", 0) is None:
        values["isometry_step_size"] = config.step_size
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def stepped(method: Adam, params: Params, grads: list[Params]) -> tuple[list[Params], State]:
    """Parameters after each of `grads`, and the last state."""
    state = method.init(params, per_element=False)
    path = []
    for k, grad in enumerate(grads):
        seen = Seen(grads=grad, activations={}, acts=k % method.period == 0)
        params, state = method.optimizer(params, state, hyper_of(method.config), seen, DRAW)
        path.append(params)
    return path, state


def random_grads(network: MLP, count: int) -> list[Params]:
    generator = torch.Generator().manual_seed(1)
    shapes = network.parameter_shapes()
    return [
        {n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes.items()} for _ in range(count)
    ]


def adam_path(config: AdamOConfig, params: Params, grads: list[Params]) -> list[Params]:
    return stepped(Adam(AdamConfig(step_size=config.step_size), NETWORK), params, grads)[0]


def test_one_pull_by_hand() -> None:
    """W = diag(2, 1), no task gradient: W − η_iso λ 4 W (WᵀW − I) = diag(2 − 0.1 x 0.05 x 24, 1)."""
    params = {SQUARE.head: torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))}
    grads = [{SQUARE.head: torch.zeros(2, 2, dtype=torch.float64)}]
    config = AdamOConfig(step_size=0.1, isometry_strength=0.05)
    for penalty, expected in (("full", 2 - 0.12), ("half", 2 - 0.06)):
        method = AdamO(AdamOConfig(step_size=0.1, isometry_strength=config.isometry_strength, penalty=penalty), SQUARE)
        path, state = stepped(method, params, grads)
        assert path[0][SQUARE.head].flatten().tolist() == pytest.approx([expected, 0, 0, 1], rel=1e-14)
        assert (state["mean"][SQUARE.head] == 0).all()  # the moments see the task's gradient only


def test_simultaneous_and_sequential_by_hand() -> None:
    """From s = 2 with a gradient that makes Adam move by −1: the pull is that of s = 2 (24), or of s = 1 (0)."""
    params = {SQUARE.head: torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))}
    grads = [{SQUARE.head: torch.tensor([[3.0, 0.0], [0.0, 0.0]], dtype=torch.float64)}]
    for order, expected in (("simultaneous", 1 - 0.01 * 24), ("sequential", 1.0)):
        config = AdamOConfig(step_size=1.0, isometry_strength=0.01, order=order)
        path, _ = stepped(AdamO(config, SQUARE), params, grads)
        assert path[0][SQUARE.head][0, 0].item() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("options", [{}, {"order": "sequential"}, {"scale_by_gram": True}, {"every": 3}])
def test_strength_zero_is_adam_to_the_bit(options: dict[str, Any]) -> None:
    """Through the learner, 50 steps of a network with hidden layers."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 2, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (50, 2), generator=generator)
    ends = []
    for name, config in (
        ("adam", AdamConfig(step_size=0.01)),
        ("adamo", AdamOConfig(step_size=0.01, isometry_strength=0.0, isometry_step_size=0.5, **options)),
    ):
        learner = Learner(NETWORK, "cross_entropy", (name, config), {})
        params = NETWORK.init(0)
        hyper = {"optimizer": hyper_of(config)}
        ends.append(train(learner, params, learner.init(params), hyper, x, y, torch.tensor(0), 0))
    adam, adamo = ends
    for name, value in adam.params.items():
        assert torch.equal(adamo.params[name], value)
        assert torch.equal(adamo.state["optimizer"]["square"][name], adam.state["optimizer"]["square"][name])
    assert adamo.loss == adam.loss


def test_one_step_is_adams_and_the_pull_at_the_old_weights() -> None:
    """Eq. 20 on tall, square and wide matrices; biases move as Adam moves them."""
    config = AdamOConfig(step_size=0.01, isometry_strength=0.3)
    params, grads = NETWORK.init(0), random_grads(NETWORK, 1)
    path, _ = stepped(AdamO(config, NETWORK), params, grads)
    adam = adam_path(config, params, grads)
    for name, value in path[0].items():
        pull = 0.01 * 0.3 * isometry_gradient(params[name]) if name.endswith("weight") else 0
        torch.testing.assert_close(value, adam[0][name] - pull, rtol=1e-14, atol=1e-16)


def test_its_own_step_size_is_apart_from_adams() -> None:
    """η_iso alone moves the pull, η alone the Adam step; null follows η."""
    params, grads = NETWORK.init(0), random_grads(NETWORK, 1)
    own = AdamOConfig(step_size=0.01, isometry_strength=0.3, isometry_step_size=0.2)
    path, _ = stepped(AdamO(own, NETWORK), params, grads)
    still, _ = stepped(
        AdamO(AdamOConfig(step_size=0.0, isometry_strength=0.3, isometry_step_size=0.2), NETWORK), params, grads
    )
    adam = adam_path(own, params, grads)
    for name, value in path[0].items():
        pull = 0.2 * 0.3 * isometry_gradient(params[name]) if name.endswith("weight") else 0
        torch.testing.assert_close(value, adam[0][name] - pull, rtol=1e-14, atol=1e-16)
        torch.testing.assert_close(still[0][name], params[name] - pull, rtol=1e-14, atol=1e-16)
    learner = Learner(NETWORK, "cross_entropy", ("adamo", own), {})
    assert learner.hyper_of(own, {})["optimizer"]["isometry_step_size"] == 0.2
    follows = AdamOConfig(step_size=0.07)
    assert learner.hyper_of(follows, {})["optimizer"]["isometry_step_size"] == 0.07


def test_the_head_left_out_is_adams() -> None:
    config = AdamOConfig(step_size=0.01, isometry_strength=0.3, head=False)
    params, grads = NETWORK.init(0), random_grads(NETWORK, 1)
    path, _ = stepped(AdamO(config, NETWORK), params, grads)
    adam = adam_path(config, params, grads)
    assert torch.equal(path[0][NETWORK.head], adam[0][NETWORK.head])
    assert not torch.equal(path[0]["layers.1.weight"], adam[0]["layers.1.weight"])


def test_scaling_by_gram_divides_each_matrix_by_its_smaller_side() -> None:
    params = NETWORK.init(0)
    grads = [{name: torch.zeros_like(value) for name, value in params.items()}]
    config = AdamOConfig(step_size=0.01, isometry_strength=0.3, scale_by_gram=True)
    path, _ = stepped(AdamO(config, NETWORK), params, grads)
    for name, smaller in (("layers.0.weight", 4), ("layers.1.weight", 6), ("layers.2.weight", 3)):
        expected = params[name] - 0.01 * 0.3 / smaller * isometry_gradient(params[name])
        torch.testing.assert_close(path[0][name], expected, rtol=1e-14, atol=1e-16)


def test_every_third_step_pulls_three_times_as_strong_and_others_are_adams() -> None:
    config = AdamOConfig(step_size=0.01, isometry_strength=0.1, every=3)
    method = AdamO(config, NETWORK)
    assert method.period == 3
    state = method.init(NETWORK.init(0), per_element=False)
    params, pulled = NETWORK.init(0), []
    for k, grads in enumerate(random_grads(NETWORK, 7)):
        seen = Seen(grads=grads, activations={}, acts=k % 3 == 0)
        after, state_after = method.optimizer(params, state, hyper_of(config), seen, DRAW)
        directions, _ = method.directions(state, grads)
        for name, value in after.items():
            adam = params[name] - 0.01 * directions[name]
            pull = 3 * 0.01 * 0.1 * isometry_gradient(params[name]) if name.endswith("weight") else 0
            if k % 3 == 0:
                torch.testing.assert_close(value, adam - pull, rtol=1e-14, atol=1e-16)
            else:
                assert torch.equal(value, adam)
        pulled.append(k % 3 == 0)
        params, state = after, state_after
    assert sum(pulled) == 3


def test_a_projection_follows_adams_step_in_the_pulls_place() -> None:
    """At every second step; what is not chosen moves as Adam moves it, whatever the strength."""
    config = AdamOConfig(
        step_size=0.01, isometry_strength=0.3, projection=4, every=2, target="gain_squared", head=False
    )
    method = AdamO(config, NETWORK)
    params = NETWORK.init(0)
    state = method.init(params, per_element=False)
    for k, grads in enumerate(random_grads(NETWORK, 4)):
        seen = Seen(grads=grads, activations={}, acts=k % 2 == 0)
        directions, _ = method.directions(state, grads)
        after, state = method.optimizer(params, state, hyper_of(config), seen, DRAW)
        for name, value in after.items():
            adam = params[name] - 0.01 * directions[name]
            acts = k % 2 == 0 and name in ("layers.0.weight", "layers.1.weight")
            assert torch.equal(value, projected(adam, 4, NETWORK.gain(name) ** 2) if acts else adam)
        params = after
    assert (torch.linalg.svdvals(params["layers.0.weight"]) - 2**0.5).abs().max() < 0.1  # relu's gain


def test_what_fewer_and_stronger_pulls_cost_in_spectrum() -> None:
    """The documented bounds: from an isometry, under 800 steps of noise, at 4 η λ = 1e-3."""
    network = MLP(MLPConfig(width=12, depth=1, initialisation="orthogonal"), 12, 12)
    grads, start = random_grads(network, 800), network.init(0)
    spectra = {}
    for name, strength, every in (("adam", 0.0, 1), ("exact", 0.25, 1), ("every 4", 0.25, 4), ("every 16", 0.25, 16)):
        config = AdamOConfig(step_size=1e-3, isometry_strength=strength, every=every)
        path, _ = stepped(AdamO(config, network), start, grads)
        spectra[name] = torch.linalg.svdvals(path[-1]["layers.0.weight"])
    off = {name: (values - spectra["exact"]).abs().max().item() for name, values in spectra.items()}
    assert off["adam"] > 0.06
    assert off["every 4"] < 2e-4 < off["every 16"] < 1e-3


def test_singular_values_follow_their_recursion() -> None:
    """s ← s − 4 η_iso λ s (s² − 1), singular vectors fixed, to s = 1; without task gradient."""
    network = MLP(MLPConfig(depth=0, biases=False), 5, 3)
    vectors = torch.linalg.svd(
        torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64), full_matrices=False
    )
    values = torch.tensor([2.0, 0.7, 0.01], dtype=torch.float64)
    params = {network.head: vectors.U @ torch.diag(values) @ vectors.Vh}
    grads = [{network.head: torch.zeros(3, 5, dtype=torch.float64)}] * 300
    config = AdamOConfig(step_size=0.5, isometry_strength=0.02)
    path, _ = stepped(AdamO(config, network), params, grads)
    for k, step in enumerate(path):
        values = values - 4 * 0.5 * 0.02 * values * (values**2 - 1)
        if k in (0, 9, 299):
            along = vectors.U.T @ step[network.head] @ vectors.Vh.T
            torch.testing.assert_close(along, torch.diag(values), rtol=1e-11, atol=1e-13)
    assert (values - 1).abs().max() < 1e-3  # even the smallest has come up to 1


def test_dtype_stays() -> None:
    params = {name: value.float() for name, value in NETWORK.init(0).items()}
    grads = [{name: value.float() for name, value in g.items()} for g in random_grads(NETWORK, 1)]
    hyper = {name: value.float() for name, value in hyper_of(AdamOConfig()).items()}
    method = AdamO(AdamOConfig(), NETWORK)
    seen = Seen(grads=grads[0], activations={})
    after, state = method.optimizer(params, method.init(params, per_element=True), hyper, seen, DRAW)
    assert {v.dtype for v in after.values()} == {torch.float32}
    assert {v.dtype for slot in state.values() for v in slot.values()} == {torch.float32}


@pytest.mark.parametrize(
    "field", [{"isometry_strength": -1e-3}, {"every": 0}, {"penalty": "double"}, {"isometry_step_size": -1.0}]
)
def test_values_out_of_range_are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(field))):
        TypeAdapter(AdamOConfig).validate_python(field)
