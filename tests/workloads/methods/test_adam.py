"""Adam by hand, and its step counts per weight; against torch.optim.Adam in `test_torch_optim`."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from workloads.methods.adam import Adam, bias_correction
from workloads.methods.base import Seen
from workloads.methods.config import AdamConfig
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.random import Draw

DRAW = Draw(torch.tensor(0), torch.tensor(0), torch.float64)

NETWORK = MLP(MLPConfig(depth=0), 2, 1)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def hyper_of(config: AdamConfig) -> dict[str, Tensor]:
    return {k: torch.tensor(getattr(config, k), dtype=torch.float64) for k in ("step_size", "weight_decay")}


def test_the_first_step_is_a_step_size_against_the_sign_whatever_the_gradient() -> None:
    """m̂ = g and v̂ = g², so θ moves by η g / (|g| + ε)."""
    config = AdamConfig(step_size=0.5, eps=1e-8)
    method = Adam(config, NETWORK)
    params = {"w": tensor(1.0, 1.0, 1.0)}
    seen = Seen(grads={"w": tensor(1e-3, -40.0, 0.0)}, activations={})
    after, state = method.optimizer(params, method.init(params, per_element=False), hyper_of(config), seen, DRAW)
    expected = [1 - 0.5 * 1e-3 / (1e-3 + 1e-8), 1 + 0.5 * 40 / (40 + 1e-8), 1.0]
    assert after["w"].tolist() == pytest.approx(expected, rel=1e-14)
    assert state["steps"]["w"].item() == 1


def test_two_steps_by_hand() -> None:
    """β₁ = 1/2, β₂ = 3/4, ε = 1, gradients 2 then 0.

    Step 1: m̂ = 2, √v̂ = 2, move 2/3. Step 2: m = 1/2, v = 3/4, m̂ = 2/3, v̂ = (3/4) / (7/16) = 12/7.
    """
    config = AdamConfig(step_size=1.0, beta1=0.5, beta2=0.75, eps=1.0)
    method = Adam(config, NETWORK)
    params = {"w": tensor(0.0)}
    state = method.init(params, per_element=False)
    for grad in (2.0, 0.0):
        seen = Seen(grads={"w": tensor(grad)}, activations={})
        params, state = method.optimizer(params, state, hyper_of(config), seen, DRAW)
    assert params["w"].item() == pytest.approx(-2 / 3 - (2 / 3) / (math.sqrt(12 / 7) + 1), rel=1e-14)
    assert (state["mean"]["w"].item(), state["square"]["w"].item()) == pytest.approx((0.5, 0.75))


def test_bias_correction_is_exact_where_the_plain_form_is_not() -> None:
    steps = torch.tensor([1.0, 2.0, 3.0, 1000.0], dtype=torch.float32)
    corrected = bias_correction(0.999, steps)
    expected = [float(1 - Fraction(0.999) ** int(t)) for t in steps.tolist()]
    assert corrected.dtype == torch.float32
    assert corrected.tolist() == pytest.approx(expected, rel=3e-7)
    assert bias_correction(0.0, steps).tolist() == [1.0] * 4  # the instantaneous value needs none


def test_counts_per_weight_change_no_bit_and_let_one_weight_start_again() -> None:
    config = AdamConfig(step_size=0.1)
    method = Adam(config, NETWORK)
    generator = torch.Generator().manual_seed(0)
    grads = torch.randn(30, 3, 7, generator=generator, dtype=torch.float64)

    def run(first: int, params: dict[str, Tensor], state: dict, last: int = 30) -> tuple[dict, dict]:
        for grad in grads[first:last]:
            seen = Seen(grads={"w": grad}, activations={})
            params, state = method.optimizer(params, state, hyper_of(config), seen, DRAW)
        return params, state

    zero = {"w": torch.zeros(3, 7, dtype=torch.float64)}
    shared = method.init(zero, per_element=False)
    counted = method.init(zero, per_element=True)
    assert shared["steps"]["w"].shape == () and counted["steps"]["w"].shape == (3, 7)
    plain, _ = run(0, zero, shared)
    single, _ = run(0, zero, counted)
    assert torch.equal(plain["w"], single["w"])

    # A weight whose state is zeroed after 20 steps goes on as one that is born there.
    before, state = run(0, zero, counted, last=20)
    for slot in state.values():
        slot["w"] = slot["w"].clone()
        slot["w"][1, 4] = 0
    restarted, _ = run(20, before, state)
    newborn, _ = run(20, before, method.init(zero, per_element=True))
    assert restarted["w"][1, 4] == newborn["w"][1, 4]
    others = torch.ones(3, 7, dtype=torch.bool)
    others[1, 4] = False
    assert torch.equal(restarted["w"][others], plain["w"][others])


@pytest.mark.parametrize("field", [{"beta1": 1.0}, {"beta2": -0.1}, {"eps": 0.0}, {"step_size": -1.0}])
def test_values_out_of_range_are_refused(field: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(field))):
        TypeAdapter(AdamConfig).validate_python(field)
