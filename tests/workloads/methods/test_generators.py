"""Generators of features: by hand, by QR and on all settings of a few bits, and what a replaced unit is in a trial."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from workloads.engine.plain import train
from workloads.errors import InputError
from workloads.learner import Learner
from workloads.methods.config import ContinualBackpropConfig, SGDConfig
from workloads.methods.generators import orthogonal_to, scaled_to
from workloads.networks.base import Activations, Network
from workloads.networks.config import ConvNetConfig, MLPConfig
from workloads.networks.convnet import ConvNet
from workloads.networks.mlp import MLP
from workloads.random import Draw

NAME = "continual_backprop"
SEED = torch.tensor(4)


def f64(value: Any) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_row_by_hand() -> None:
    """(3, 4, 0) without what points along (2, 0, 0) is (0, 4, 0), at norm 5 (0, 5, 0); a row of zeros takes nothing."""
    found = orthogonal_to(f64([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), f64([3.0, 4.0, 0.0]))
    torch.testing.assert_close(found, f64([0.0, 5.0, 0.0]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("units", "inputs"), [(4, 20), (19, 20), (30, 200)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_the_draw_without_its_projection_by_qr(units: int, inputs: int, dtype: torch.dtype) -> None:
    """Rows of any lengths, some of which are sums of others."""
    rows = normal(units, inputs) * torch.logspace(-2, 2, units, dtype=torch.float64)[:, None]
    rows[-1] = rows[0] + 3 * rows[1]
    row = normal(inputs, seed=1)
    basis = torch.linalg.qr(rows[:-1].T)[0]
    left = row - basis @ (basis.T @ row)
    expected = left * (row.norm() / left.norm())
    rtol = {torch.float32: 2e-4, torch.float64: 1e-11}[dtype]
    found = orthogonal_to(rows.to(dtype), row.to(dtype))
    torch.testing.assert_close(found.double(), expected, rtol=rtol, atol=rtol)


def test_where_the_others_span_the_space_the_draw_stays() -> None:
    row = normal(5)
    torch.testing.assert_close(orthogonal_to(normal(5, 5, seed=1), row), row, rtol=0, atol=0)
    assert orthogonal_to(normal(6, 5, seed=1), row) is row


def test_scaled_by_hand() -> None:
    """Inputs of mean 1 and square 5: v = 4. Row (1, 0), bias 1: c = 2, q = 8; row (0, 1), bias −1: c = 0, q = 4.

    The draw (3, 4): variance 100, mean 7; so a = √(6 / 100) and the bias −7 a. Without biases c are 1 and 1, q 5 and 5,
    and the draw's own second moment 149.
    """
    weight, mean, square = torch.eye(2, dtype=torch.float64), f64([1.0, 1.0]), f64([5.0, 5.0])
    row, bias = scaled_to(f64([3.0, 4.0]), weight, f64([1.0, -1.0]), mean, square)
    a = 0.06**0.5
    torch.testing.assert_close((row, bias), (f64([3 * a, 4 * a]), f64(-7 * a)))
    row, _ = scaled_to(f64([3.0, 4.0]), weight, None, mean, square)
    torch.testing.assert_close(row, f64([3.0, 4.0]) * (5 / 149) ** 0.5)


@pytest.mark.parametrize("biases", [True, False])
def test_on_independent_inputs_second_moments_are_exact(biases: bool) -> None:
    """All 32 settings of five bits: mean 0 where there is a bias, the layer's mean second moment, by a plain loop."""
    x = f64(list(itertools.product([0.0, 1.0], repeat=5)))
    weight, bias = normal(4, 5), normal(4, seed=1) if biases else None
    row, shift = scaled_to(normal(5, seed=2), weight, bias, x.mean(0), x.square().mean(0))
    moments = [(x @ w + (0 if bias is None else bias[k])).square().mean() for k, w in enumerate(weight)]
    z = x @ row + (shift if biases else 0)
    assert z.square().mean().item() == pytest.approx(sum(moments).item() / 4)
    assert not biases or z.mean().item() == pytest.approx(0, abs=1e-12)


def test_inputs_that_stand_still_leave_the_draw_at_its_norm() -> None:
    row, bias = scaled_to(f64([3.0, 4.0]), normal(3, 2), normal(3), f64([0.1, 0.3]), f64([0.1**2, 0.3**2]))
    assert row.tolist() == [3.0, 4.0] and bias.item() == pytest.approx(-1.5)


def aged(network: Network[Any], generator: str, steps: int) -> tuple[Learner, Any, Any, Any, Tensor]:
    """A learner after some steps without replacement; the inputs that it saw."""
    settings = ContinualBackpropConfig(feature_generator=generator, maturity_threshold=0, utility_decay=0.5)
    optimizer = SGDConfig(step_size=0.01)
    learner = Learner(network, "squared_error", ("sgd", optimizer), {NAME: settings})
    numbers = learner.hyper_of(optimizer, {NAME: settings})
    hyper = {who: {k: f64(v) for k, v in own.items()} for who, own in numbers.items()}
    hyper[NAME]["replacement_rate"] = f64(0.0)
    inputs = network.inputs if isinstance(network.inputs, int) else torch.Size(network.inputs).numel()
    x = normal(steps, 2, inputs).abs()
    params = network.init(2)
    trained = train(learner, params, learner.init(params), hyper, x, normal(steps, 2, 3, seed=1), SEED, 0)
    return learner, hyper, trained.params, trained.state, x


def replaced(learner: Learner, hyper: Any, params: Any, state: Any, place: int, step: int) -> tuple[Any, int]:
    """Parameters after an event of a step, and which unit it made."""
    draw = Draw(SEED, torch.tensor(step), torch.float64)
    after, now = learner.repair(params, state, hyper, draw, method=NAME, place=place)
    (unit,) = (now[NAME]["age"][learner.network.sites[place].name] == 0).nonzero().flatten().tolist()
    return after, unit


@pytest.mark.parametrize("place", [0, 1])
def test_a_replaced_unit_is_orthogonal_to_its_layer_at_the_norm_of_the_published_draw(place: int) -> None:
    network = MLP(MLPConfig(width=6, depth=2), 9, 3)
    learner, hyper, params, state, _ = aged(network, "orthogonal", 12)
    published, *_ = aged(network, "initial", 0)
    after, unit = replaced(learner, hyper, params, state, place, 11)
    drawn, same = replaced(published, hyper, params, state, place, 11)
    assert unit == same
    rows, draw = after[f"layers.{place}.weight"], drawn[f"layers.{place}.weight"][unit]
    others = [k for k in range(6) if k != unit]
    assert (rows[others] @ rows[unit]).abs().max() < 1e-11
    assert rows[unit].norm().item() == pytest.approx(draw.norm().item())
    assert rows[unit] @ draw > 0 and not torch.allclose(rows[unit], draw)
    assert torch.equal(rows[others], params[f"layers.{place}.weight"][others])
    assert after[f"layers.{place}.bias"][unit] == 0 and (after[f"layers.{place + 1}.weight"][:, unit] == 0).all()


CONVNET = ConvNet(ConvNetConfig(width=2, hidden=4), (1, 30, 30), 3)


@pytest.mark.parametrize(
    ("network", "place"), [(MLP(MLPConfig(width=6, depth=2), 9, 3), 0), (MLP(MLPConfig(width=6, depth=2), 9, 3), 1)]
)
def test_a_replaced_unit_is_scaled_by_running_means_of_what_entered_its_layer(network: MLP, place: int) -> None:
    """By a plain loop over the steps; the means are corrected for their beginning at 0."""
    steps = 12
    learner, hyper, params, state, x = aged(network, "scaled", steps)
    published, *_ = aged(network, "initial", 0)
    mean = square = torch.zeros(network.fan_ins[place], dtype=torch.float64)
    now, held = network.init(2), learner.init(network.init(2))
    for k in range(steps):
        given = x[k] if place == 0 else dict(network.apply(now, x[k])[1])["layers.0"]
        mean, square = 0.99 * mean + 0.01 * given.mean(0), 0.99 * square + 0.01 * given.square().mean(0)
        y = normal(steps, 2, 3, seed=1)[k : k + 1]
        trained = train(learner, now, held, hyper, x[k : k + 1], y, SEED, k)
        now, held = trained.params, trained.state
    mean, square = mean / (1 - 0.99**steps), square / (1 - 0.99**steps)

    after, unit = replaced(learner, hyper, params, state, place, steps - 1)
    drawn, _ = replaced(published, hyper, params, state, place, steps - 1)
    weight, bias = params[f"layers.{place}.weight"], params[f"layers.{place}.bias"]
    row, shift = scaled_to(drawn[f"layers.{place}.weight"][unit], weight, bias, mean, square)
    torch.testing.assert_close(after[f"layers.{place}.weight"][unit], row, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(after[f"layers.{place}.bias"][unit], shift, rtol=1e-10, atol=1e-12)


def test_of_pictures_a_channel_has_one_mean_for_all_places() -> None:
    learner, hyper, params, state, x = aged(CONVNET, "scaled", 1)
    seen = state[NAME]["inputs"]
    hidden = dict(CONVNET.apply(CONVNET.init(2), x[0])[1])
    assert seen["convs.0"].item() == pytest.approx(0.01 * x[0].mean().item())
    torch.testing.assert_close(seen["convs.1"], 0.01 * hidden["convs.0"].mean((0, 2, 3)))
    torch.testing.assert_close(seen["layers.0"], 0.01 * hidden["convs.2"].flatten(1).mean(0))  # each place by itself
    after, unit = replaced(learner, hyper, params, state, 1, 0)
    assert after["convs.1.weight"][unit].isfinite().all() and after["convs.1.bias"][unit] != 0


def test_layers_that_do_not_follow_one_another_are_refused() -> None:
    class Late(MLP):
        """Of two hidden layers the second alone is renewed, and the input does not enter it."""

        def __init__(self) -> None:
            super().__init__(MLPConfig(width=4, depth=2), 3, 3)
            self.sites = self.sites[1:]

        def apply(self, params: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, Activations]:
            return MLP(self.config, 3, 3).apply(params, x)

    with pytest.raises(InputError, match=r"layers\.1 takes 4 columns, and the layer before shows 3"):
        aged(Late(), "scaled", 0)
    aged(Late(), "orthogonal", 0)
