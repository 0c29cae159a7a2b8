"""AdamO for scripts: torch's Adam at strength 0, our trials at any other, and what an optimizer of torch can do."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from beside import Beside, convnet, mlp
from torch import Tensor, nn

from workloads.methods.config import AdamOConfig
from workloads.methods.isometry import isometry_gradient
from workloads.torch_optim import AdamO


def random_grads(model: nn.Module, generator: torch.Generator) -> None:
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)


def small(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(12, 4)).to(dtype)


def stepped(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        random_grads(model, generator)
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("foreach", [None, True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_strength_0_is_torchs_adam_to_the_bit(foreach: bool | None, dtype: torch.dtype) -> None:
    settings: dict[str, Any] = {"lr": 3e-3, "betas": (0.8, 0.99), "eps": 1e-6, "foreach": foreach}
    own, adam = small(dtype), small(dtype)
    ends = stepped(own, AdamO(own.parameters(), isometry_strength=0.0, **settings), 30)
    for value, expected in zip(ends, stepped(adam, torch.optim.Adam(adam.parameters(), **settings), 30), strict=True):
        assert value.dtype == dtype
        assert torch.equal(value, expected)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"penalty": "half", "order": "sequential"},
    {"scale_by_gram": True},
    {"every": 3},
    {"target": 2.0},
    {"projection": 3, "every": 2, "target": 2.0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("made", [mlp(), convnet])
def test_step_by_step_as_our_trials(made: Any, options: dict[str, Any]) -> None:
    ours = {
        **options,
        **({"target": "gain_squared", "head": False} if "target" in options else {}),
    }  # relu's gain is √2
    config = AdamOConfig(step_size=2e-3, isometry_strength=0.2, isometry_step_size=0.01, **ours)
    beside = Beside.of(made, 20, ("adamo", config), {})
    body = [p for n, p in beside.model.named_parameters() if n != beside.network.head or "target" not in options]
    head = {"params": beside.model.get_parameter(beside.network.head), "isometry_strength": 0.0, "projection": 0}
    groups = [{"params": body}, head]
    optimizer = AdamO(
        groups if "target" in options else body, lr=2e-3, isometry_strength=0.2, isometry_lr=0.01, **options
    )
    for k, trained in enumerate(beside.ours(0)):
        beside.backward(optimizer, k)
        optimizer.step()
        beside.assert_same(trained, 1e-10)


def test_a_projection_is_taken_at_strength_0_too() -> None:
    config = AdamOConfig(step_size=2e-3, isometry_strength=0.0, projection=3)
    beside = Beside.of(mlp(), 5, ("adamo", config), {})
    optimizer = AdamO(beside.model.parameters(), lr=2e-3, isometry_strength=0.0, projection=3)
    for k, trained in enumerate(beside.ours(0)):
        beside.backward(optimizer, k)
        optimizer.step()
        beside.assert_same(trained, 1e-10)


def test_it_goes_on_from_a_state_of_torchs_adam() -> None:
    """With the settings of its own groups."""
    straight, other = small(), small()
    adam = torch.optim.Adam(straight.parameters(), lr=0.01)
    stepped(straight, adam, 5)
    other.load_state_dict(straight.state_dict())
    optimizer = AdamO(other.parameters(), isometry_strength=0.0)
    optimizer.load_state_dict(deepcopy(adam.state_dict()))  # torch's own loading shares the tensors
    ends = stepped(straight, adam, 5, seed=1)
    assert all(map(torch.equal, ends, stepped(other, optimizer, 5, seed=1)))
    assert optimizer.param_groups[0]["isometry_strength"] == 0 and optimizer.param_groups[0]["lr"] == 0.01
    with pytest.raises(ValueError, match="AdamO has no amsgrad"):
        optimizer.load_state_dict(torch.optim.Adam(other.parameters(), amsgrad=True).state_dict())


def test_a_group_is_left_alone_as_our_head_is() -> None:
    config = AdamOConfig(step_size=2e-3, isometry_strength=0.2, head=False)
    beside = Beside.of(mlp(), 20, ("adamo", config), {})
    *hidden, head = beside.model.layers
    groups = [
        {"params": nn.ModuleList(hidden).parameters()},
        {"params": head.parameters(), "isometry_strength": 0.0},
    ]
    optimizer = AdamO(groups, lr=2e-3, isometry_strength=0.2)
    for k, trained in enumerate(beside.ours(0)):
        beside.backward(optimizer, k)
        optimizer.step()
        beside.assert_same(trained, 1e-10)


def test_the_pull_by_hand_at_the_lr_a_scheduler_left() -> None:
    """Without a gradient Adam stands still, and W moves by lr λ ∇R(W); one with a step size of its own by that."""
    weight = nn.Parameter(torch.tensor([[2.0, 0.0], [0.0, 0.5], [0.0, 0.0]], dtype=torch.float64))
    other = nn.Parameter(weight.detach().clone())
    optimizer = AdamO([{"params": weight}, {"params": other, "isometry_lr": 0.01}], lr=0.1, isometry_strength=0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    expected = {0: weight.detach().clone(), 1: weight.detach().clone()}
    for k in range(3):
        weight.grad, other.grad = torch.zeros_like(weight), torch.zeros_like(weight)
        optimizer.step()
        scheduler.step()
        for which, rate in ((0, 0.1 * 0.5**k), (1, 0.01)):
            expected[which] = expected[which] - rate * 0.1 * isometry_gradient(expected[which])
    # 2 - 0.1 x 0.1 x 4 x 2 x 3 = 1.76 after the first of them
    torch.testing.assert_close(weight.detach(), expected[0], rtol=1e-14, atol=0)
    torch.testing.assert_close(other.detach(), expected[1], rtol=1e-14, atol=0)


def test_singular_values_follow_their_recursion() -> None:
    """s ← s − 4 η λ s (s² − 1), of a kernel as of a matrix."""
    kernel = nn.Parameter(torch.randn(3, 2, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    optimizer = AdamO([kernel], lr=0.05, isometry_strength=0.1)
    values = torch.linalg.svdvals(kernel.detach().flatten(1))
    for _ in range(200):
        kernel.grad = torch.zeros_like(kernel)
        optimizer.step()
        values = values - 4 * 0.05 * 0.1 * values * (values**2 - 1)
    found = torch.linalg.svdvals(kernel.detach().flatten(1))
    torch.testing.assert_close(found, values.sort(descending=True).values, rtol=1e-10, atol=0)


def test_it_goes_on_from_its_state() -> None:
    """To the bit, `every` among it: 5 steps are no multiple of 3."""
    straight, cut = small(), small()
    settings: dict[str, Any] = {"isometry_strength": 0.5, "lr": 0.01, "every": 3}
    one = AdamO(straight.parameters(), **settings)
    stepped(straight, one, 5)
    ends = stepped(straight, one, 6, seed=1)
    first = AdamO(cut.parameters(), **settings)
    stepped(cut, first, 5)
    second = AdamO(cut.parameters(), **settings)
    second.load_state_dict(first.state_dict())
    assert all(map(torch.equal, ends, stepped(cut, second, 6, seed=1)))


def test_a_closure_computes_the_loss_that_is_returned() -> None:
    model = small()
    optimizer = AdamO(model.parameters())

    def closure() -> float:
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        loss = model(torch.ones(1, 2, 3, 3, dtype=torch.float64)).square().sum()
        loss.backward()
        return loss.item()

    first = optimizer.step(closure)
    assert first is not None and first > closure()


def test_a_parameter_without_gradient_stays() -> None:
    model = small()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = AdamO(model.parameters(), isometry_strength=1.0)
    optimizer.step()
    assert all(map(torch.equal, before, model.parameters()))


def test_sparse_gradients_and_complex_parameters_are_refused() -> None:
    embedding = nn.Embedding(3, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="AdamO does not support sparse gradients"):
        AdamO(embedding.parameters()).step()
    value = nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))
    value.grad = torch.ones_like(value)
    with pytest.raises(RuntimeError, match="AdamO does not support complex parameters"):
        AdamO([value]).step()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"betas": (0.9, 1.0)}, "Invalid beta parameter at index 1: 1.0"),
        ({"eps": -1.0}, "Invalid epsilon value: -1.0"),
        ({"isometry_strength": -0.1}, "Invalid isometry_strength value: -0.1"),
        ({"isometry_lr": -0.1}, "Invalid isometry_lr value: -0.1"),
        ({"every": 0}, "Invalid every value: 0"),
        ({"every": True}, "Invalid every value: True"),
        ({"target": 0.0}, "Invalid target value: 0.0"),
        ({"target": float("inf")}, "Invalid target value: inf"),
        ({"projection": -1}, "Invalid projection value: -1"),
        ({"penalty": "double"}, "Invalid penalty value: 'double' \\(full or half\\)"),
        ({"order": "after"}, "Invalid order value: 'after' \\(simultaneous or sequential\\)"),
    ],
    ids=str,
)
def test_what_is_not_allowed_is_said_as_torch_says_it(wrong: dict[str, Any], said: str) -> None:
    model = small()
    with pytest.raises(ValueError, match=said):
        AdamO(model.parameters(), **wrong)
    with pytest.raises(ValueError, match=said):
        AdamO([{"params": model.parameters(), **wrong}])
