"""Isometry inside the loss: the gradient is autograd's of loss plus penalty, and goes through the moments."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workloads.learner import Learner
from workloads.methods.base import Params, Seen
from workloads.methods.config import AdamConfig, CoupledIsometryConfig, SGDConfig
from workloads.methods.coupled_isometry import CoupledIsometry
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.random import Draw

NETWORK = MLP(MLPConfig(width=5, depth=1), 3, 2)
DRAW = Draw(torch.tensor(0), torch.tensor(0), torch.float64)
STRENGTH = {"strength": torch.tensor(0.1, dtype=torch.float64)}


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(4, 3, generator=generator, dtype=torch.float64),
        torch.randn(4, 2, generator=generator, dtype=torch.float64),
    )


def deviation(weight: Tensor) -> Tensor:
    """Eq. 16, on the smaller side."""
    gram = weight.T @ weight if weight.shape[0] >= weight.shape[1] else weight @ weight.T
    return ((gram - torch.eye(len(gram), dtype=gram.dtype)) ** 2).sum()


def test_by_hand() -> None:
    """W = diag(2, 1): g + 0.1 x diag(24, 0); the bias's gradient stays."""
    network = MLP(MLPConfig(depth=0), 2, 2)
    params = {
        "layers.0.weight": torch.diag(torch.tensor([2.0, 1.0])).double(),
        "layers.0.bias": torch.ones(2).double(),
    }
    grads = {"layers.0.weight": torch.ones(2, 2).double(), "layers.0.bias": torch.full((2,), 7.0).double()}
    method = CoupledIsometry(CoupledIsometryConfig(), network)
    changed, _ = method.gradient(params, {}, STRENGTH, Seen(grads=grads, activations={}), DRAW)
    assert changed["layers.0.weight"].flatten().tolist() == pytest.approx([3.4, 1, 1, 1], rel=1e-15)
    assert torch.equal(changed["layers.0.bias"], grads["layers.0.bias"])


@pytest.mark.parametrize("penalty", ["full", "half"])
@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("scale_by_gram", [True, False])
def test_gradient_is_autograd_of_the_loss_with_the_penalty(penalty: str, head: bool, scale_by_gram: bool) -> None:
    """Through one SGD step of size 1, so that the step is the gradient."""
    config = CoupledIsometryConfig(penalty=penalty, head=head, scale_by_gram=scale_by_gram)
    learner = Learner(NETWORK, "squared_error", ("sgd", SGDConfig()), {"coupled_isometry": config})
    params, (x, y) = NETWORK.init(0), batch()
    one, none = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    hyper = {"optimizer": {"step_size": one, "weight_decay": none}, "coupled_isometry": STRENGTH}
    after, _, online = learner.step(params, learner.init(params), hyper, x, y, DRAW, acting=())

    def task(params: Params) -> Tensor:
        hidden = torch.relu(x @ params["layers.0.weight"].T + params["layers.0.bias"])
        output = hidden @ params["layers.1.weight"].T + params["layers.1.bias"]
        return ((output - y) ** 2).sum(-1).mean()

    def objective(params: Params) -> Tensor:
        share = 1.0 if penalty == "full" else 0.5
        total = share * deviation(params["layers.0.weight"]) / (3 if scale_by_gram else 1)
        if head:
            total = total + share * deviation(params["layers.1.weight"]) / (2 if scale_by_gram else 1)
        return task(params) + 0.1 * total

    expected = torch.func.grad(objective)(params)
    for name, value in params.items():
        torch.testing.assert_close(value - after[name], expected[name], rtol=1e-12, atol=1e-13)
    assert online.loss.item() == pytest.approx(task(params).item(), rel=1e-14)  # the penalty is not reported


def test_the_penalty_goes_through_adams_moments() -> None:
    """Unlike AdamO's: with no task gradient the first step is η sign(∇R), however small the strength."""
    config = CoupledIsometryConfig()
    network = MLP(MLPConfig(depth=0, biases=False), 1, 1)
    learner = Learner(network, "squared_error", ("adam", AdamConfig()), {"coupled_isometry": config})
    params = {network.head: torch.tensor([[2.0]], dtype=torch.float64)}
    numbers = {
        "optimizer": {"step_size": 0.01, "weight_decay": 0.0},
        "coupled_isometry": {"strength": 1e-3},
    }
    hyper = {w: {k: torch.tensor(v, dtype=torch.float64) for k, v in own.items()} for w, own in numbers.items()}
    x, y = torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    after, state, _ = learner.step(params, learner.init(params), hyper, x, y, DRAW, acting=())
    assert after[network.head].item() == pytest.approx(1.99, abs=1e-7)
    assert state["optimizer"]["mean"][network.head].item() == pytest.approx(0.1 * 1e-3 * 24)


def test_strength_zero_changes_no_bit() -> None:
    method = CoupledIsometry(CoupledIsometryConfig(), NETWORK)
    params = NETWORK.init(0)
    grads = {name: torch.sin(1 + value) for name, value in params.items()}
    still = {"strength": torch.tensor(0.0, dtype=torch.float64)}
    changed, _ = method.gradient(params, {}, still, Seen(grads=grads, activations={}), DRAW)
    assert all(torch.equal(changed[name], grads[name]) for name in grads)
