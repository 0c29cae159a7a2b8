"""The penalty of layer scales: autograd's gradient, near and at 0, in whose gradient it is, and where it is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from workloads.engine.plain import train
from workloads.errors import InputError
from workloads.learner import Learner
from workloads.methods.config import AdamConfig, AdamOConfig, CoupledIsometryConfig, SGDConfig
from workloads.methods.scales import SMALLEST, scale_gradient
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.settings import written

F64 = torch.float64
NETWORK = MLP(MLPConfig(width=4, depth=2, activation="groupsort_2", biases=False, layer_scale=True), 3, 2)
PLAIN = MLP(MLPConfig(width=4, depth=2), 3, 2)
ADAMO, COUPLED = ("adamo", AdamOConfig), ("coupled_isometry", CoupledIsometryConfig)


def test_by_hand_and_by_autograd() -> None:
    """At e it is 2 / e; what is negative has the slope of its size, the other way."""
    scales = torch.tensor([torch.e, 1.0, 0.3, -0.3, -4.0, SMALLEST], dtype=F64)
    expected = torch.func.grad(lambda a: (torch.log(a.abs()) ** 2).sum())(scales)
    torch.testing.assert_close(scale_gradient(scales), expected, rtol=1e-14, atol=0)
    assert scale_gradient(scales)[:2].tolist() == [pytest.approx(2 / torch.e), 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_near_0_it_grows_no_further_and_at_0_it_leads_to_the_positive_side(dtype: torch.dtype) -> None:
    found = scale_gradient(torch.tensor([SMALLEST, 1e-30, 0.0, -0.0, -1e-30], dtype=dtype))
    assert found.dtype == dtype and found.isfinite().all()
    assert found.tolist() == [found[0].item()] * 4 + [-found[0].item()] and found[0] < 0


def trained(optimizer: tuple[str, Any], methods: dict[str, Any], params: dict[str, Tensor], steps: int) -> Any:
    """After some steps on numbers that the network cannot learn."""
    learner = Learner(NETWORK, "squared_error", optimizer, methods)
    numbers = learner.hyper_of(optimizer[1], methods)
    hyper = {who: {k: torch.tensor(v, dtype=F64) for k, v in own.items()} for who, own in numbers.items()}
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(steps, 2, size, generator=generator, dtype=F64) for size in (3, 2))
    return train(learner, params, learner.init(params), hyper, x, y, torch.tensor(0), 0), x, y


@pytest.mark.parametrize("coupled", [True, False])
def test_the_first_step_is_autograds_of_the_loss_and_the_penalty(coupled: bool) -> None:
    """AdamO's first moment, and a step of SGD of size 1 beside the coupled penalty."""
    params = NETWORK.init(0) | {"layers.1.scale": torch.tensor([2.5], dtype=F64)}
    if coupled:
        method = CoupledIsometryConfig(strength=0.0, scale_penalty=0.3)
        run, x, y = trained(("sgd", SGDConfig(step_size=1.0)), {"coupled_isometry": method}, params, 1)
        found = {name: params[name] - run.params[name] for name in params}
    else:
        run, x, y = trained(("adamo", AdamOConfig(isometry_strength=0.0, scale_penalty=0.3)), {}, params, 1)
        found = {name: value / 0.1 for name, value in run.state["optimizer"]["mean"].items()}

    def objective(own: dict[str, Tensor]) -> Tensor:
        penalty = sum(torch.log(own[name]).square().sum() for name in NETWORK.scales)
        return (NETWORK.apply(own, x[0])[0] - y[0]).square().sum(-1).mean() + 0.3 * penalty

    for name, expected in torch.func.grad(objective)(params).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-10, atol=1e-12)


def test_without_a_penalty_and_a_pull_it_is_adam_to_the_bit() -> None:
    start = NETWORK.init(0)
    adam, _, _ = trained(("adam", AdamConfig(step_size=0.01)), {}, start, 30)
    config = AdamOConfig(step_size=0.01, isometry_strength=0.0, scale_penalty=0.0)
    bare, _, _ = trained(("adamo", config), {}, start, 30)
    default, _, _ = trained(("adamo", AdamOConfig(step_size=0.01, isometry_strength=0.0)), {}, start, 30)
    for name, value in adam.params.items():
        assert torch.equal(bare.params[name], value)
    assert not torch.equal(default.params["layers.0.scale"], adam.params["layers.0.scale"])  # in force unless told


@pytest.mark.parametrize("scale", [0.0, 1e-3, -1e-3])
def test_a_layer_whose_scale_passes_through_0_goes_on(scale: float) -> None:
    """Large steps, so that signs change."""
    start = NETWORK.init(0) | {"layers.0.scale": torch.tensor([scale], dtype=F64)}
    run, _, _ = trained(("adamo", AdamOConfig(step_size=0.02, scale_penalty=0.5)), {}, start, 200)
    assert all(value.isfinite().all() for value in run.params.values())
    assert run.params["layers.0.scale"].abs() > 0.1


def test_at_its_default_it_is_not_written_down() -> None:
    for _, config in (ADAMO, COUPLED):
        assert "scale_penalty" not in written(config()) and written(config(scale_penalty=0.0))["scale_penalty"] == 0


def test_a_penalty_that_is_asked_for_needs_scales() -> None:
    for name, config in (ADAMO, COUPLED):
        for network, refused in ((NETWORK, False), (PLAIN, True)):
            asked = config(scale_penalty=0.5)
            parts = ((name, asked), {}) if name == "adamo" else (("sgd", SGDConfig()), {name: asked})
            if refused:
                with pytest.raises(InputError, match=f"{name}'s scale_penalty is of learned layer scales, and this"):
                    Learner(network, "squared_error", *parts)  # type: ignore[arg-type]
            else:
                Learner(network, "squared_error", *parts)  # type: ignore[arg-type]
    Learner(PLAIN, "squared_error", ("adamo", AdamOConfig()), {})
