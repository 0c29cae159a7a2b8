"""ReDo against two units by hand and a plain loop written from the paper; its boundaries, optimizers, options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from workloads.learner import Learner
from workloads.methods.base import Seen
from workloads.methods.config import AdamConfig, ReDoConfig, SGDConfig
from workloads.methods.redo import ReDo, dormant
from workloads.networks.config import ConvNetConfig, MLPConfig
from workloads.networks.convnet import ConvNet
from workloads.networks.mlp import MLP
from workloads.random import Draw

F64 = torch.float64


def draw(step: int, seed: int = 3) -> Draw:
    return Draw(torch.tensor(seed), torch.tensor(step), F64)


def hyper(threshold: float) -> dict[str, Tensor]:
    return {"threshold": torch.tensor(threshold, dtype=F64)}


def test_dormancy_is_a_share_of_the_layers_mean() -> None:
    """Means 0.1, 1 and 1.9: shares 0.1, 1 and 1.9; at the threshold a unit is dormant."""
    magnitude = torch.tensor([0.1, 1.0, 1.9], dtype=F64)
    assert dormant(magnitude, torch.tensor(0.1)).tolist() == [True, False, False]
    assert dormant(magnitude, torch.tensor(0.099)).tolist() == [False, False, False]
    assert dormant(torch.zeros(2), torch.tensor(0.0)).tolist() == [True, True]  # a silent layer, as a whole
    assert dormant(torch.tensor([torch.nan, 1.0]), torch.tensor(0.5)).tolist() == [False, False]


def two_units(settings: dict[str, Any]) -> tuple[ReDo, dict[str, Tensor], dict[str, Tensor]]:
    """A network 2-2-1 and SGD's momentum; both of ones."""
    network = MLP(MLPConfig(width=2, depth=1), 2, 1)
    ones = {name: torch.ones(shape, dtype=F64) for name, shape in network.parameter_shapes().items()}
    return ReDo(ReDoConfig(period=2, **settings), network), ones, {n: v.clone() for n, v in ones.items()}


def test_one_of_two_units_by_hand() -> None:
    """Sums of |h| over two steps 0.1 and 3.9: the first unit, at 0.05 of the mean, is recycled."""
    method, params, momentum = two_units({})
    state = {"magnitude": {"layers.0": torch.tensor([0.1, 3.9], dtype=F64)}}
    after, own, optimizer, count = method.renew(params, state, {"momentum": momentum}, hyper(0.06), draw(2))
    assert count.item() == 1 and own["magnitude"]["layers.0"].tolist() == [0, 0]
    assert after["layers.0.bias"].tolist() == [0, 1] and after["layers.1.weight"].tolist() == [[0, 1]]
    assert after["layers.0.weight"][1].tolist() == [1, 1]
    fresh = after["layers.0.weight"][0]
    assert (fresh != 1).all() and fresh.abs().max() <= method.network.reinit_bound(method.network.sites[0])
    assert after["layers.1.bias"].tolist() == [1]
    assert optimizer["momentum"]["layers.0.weight"].tolist() == [[0, 0], [1, 1]]
    assert optimizer["momentum"]["layers.1.weight"].tolist() == [[0, 1]]
    assert method.renew(params, state, {}, hyper(0.04), draw(2))[3].item() == 0


def test_a_trials_first_step_recycles_nobody_and_is_not_counted() -> None:
    method, params, _ = two_units({})
    state = {"magnitude": {"layers.0": torch.tensor([0.0, 4.0], dtype=F64)}}
    after, own, _, count = method.renew(params, state, {}, hyper(0.5), draw(0))
    assert count.item() == 0 and all(torch.equal(after[name], params[name]) for name in params)
    assert own["magnitude"]["layers.0"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("reset", "zeroed"),
    [("moments", ("mean", "square")), ("all", ("mean", "square", "steps")), ("none", ())],
)
def test_what_of_adams_state_begins_anew(reset: str, zeroed: tuple[str, ...]) -> None:
    method, params, ones = two_units({"reset_optimizer": reset})
    state = {"magnitude": {"layers.0": torch.tensor([0.0, 4.0], dtype=F64)}}
    slots = {slot: dict(ones) for slot in ("mean", "square", "steps")}
    _, _, optimizer, _ = method.renew(params, state, slots, hyper(0.5), draw(2))
    for slot, values in optimizer.items():
        first = 0.0 if slot in zeroed else 1.0
        assert values["layers.0.weight"].tolist() == [[first, first], [1, 1]]
        assert values["layers.0.bias"].tolist() == [first, 1] and values["layers.1.weight"].tolist() == [[first, 1]]


def test_biases_drawn_as_at_the_beginning() -> None:
    network = MLP(MLPConfig(width=2, depth=1, initialisation="default"), 4, 1)
    params = {name: torch.ones(shape, dtype=F64) for name, shape in network.parameter_shapes().items()}
    state = {"magnitude": {"layers.0": torch.tensor([0.0, 4.0], dtype=F64)}}
    found = [
        ReDo(ReDoConfig(bias=bias), network).renew(params, state, {}, hyper(0.5), draw(1000))[0]["layers.0.bias"]  # type: ignore[arg-type]
        for bias in ("zero", "initial")
    ]
    assert found[0].tolist() == [0, 1]
    assert 0 < found[1][0].abs() <= 0.5 and found[1][1] == 1


def test_a_channel_recycled_where_its_picture_is_flattened() -> None:
    """The third convolution's channels have four places each, and four neighbouring columns of the first matrix."""
    network = ConvNet(ConvNetConfig(width=2, hidden=4), (1, 32, 32), 2)
    params = {name: value + 1 for name, value in network.init(0).items()}
    magnitude = {site.name: torch.ones(site.units, dtype=F64) for site in network.sites}
    magnitude["convs.2"][5] = 0
    after, _, _, count = ReDo(ReDoConfig(), network).renew(params, {"magnitude": magnitude}, {}, hyper(0.1), draw(1000))
    assert count.item() == 1
    changed = (after["layers.0.weight"] != params["layers.0.weight"]).any(0).nonzero().flatten().tolist()
    assert changed == [20, 21, 22, 23] and (after["layers.0.weight"][:, 20:24] == 0).all()
    kernels = (after["convs.2.weight"] != params["convs.2.weight"]).flatten(1).any(1)
    assert kernels.nonzero().flatten().tolist() == [5]
    same = set(params) - {"convs.2.weight", "convs.2.bias", "layers.0.weight"}
    assert all(torch.equal(after[name], params[name]) for name in same)


def test_a_unit_of_crelu_under_layer_norm() -> None:
    """Its score is the mean of its two activations; its columns lie apart; its gain and shift begin anew."""
    network = MLP(MLPConfig(width=2, depth=1, activation="crelu", normalisation="layer"), 3, 1)
    method = ReDo(ReDoConfig(), network)
    params = {name: torch.full(shape, 7.0, dtype=F64) for name, shape in network.parameter_shapes().items()}
    shown = {"layers.0": torch.tensor([[0.0, 3.0, 0.2, 0.0], [0.0, 0.0, 0.0, 5.0]], dtype=F64)}
    seen = Seen(grads={}, activations=shown, acts=True)
    _, state = method.after_step(params, method.init(params, per_element=True), hyper(0.1), seen, draw(1000))
    assert state["magnitude"]["layers.0"].tolist() == [0.05, 2.0]
    after, _, _, count = method.renew(params, state, {}, hyper(0.1), draw(1000))
    assert count.item() == 1 and after["layers.1.weight"].tolist() == [[0, 7, 0, 7]]
    assert after["layers.0.norm.weight"].tolist() == [1, 7] and after["layers.0.norm.bias"].tolist() == [0, 7]


def test_between_two_recycled_units_a_weight_is_zero() -> None:
    network = MLP(MLPConfig(width=2, depth=2), 2, 1)
    params = {name: torch.ones(shape, dtype=F64) for name, shape in network.parameter_shapes().items()}
    magnitude = {site.name: torch.tensor([0.0, 4.0], dtype=F64) for site in network.sites}
    after = ReDo(ReDoConfig(), network).renew(params, {"magnitude": magnitude}, {}, hyper(0.5), draw(1000))[0]
    between = after["layers.1.weight"]
    assert between[0, 0] == 0 and between[1].tolist() == [0, 1] and between[0, 1] not in (0, 1)


@pytest.mark.parametrize("score", ["period", "batch"])
@pytest.mark.parametrize("adam", [False, True])
def test_training_is_a_plain_loop_from_the_paper(adam: bool, score: str) -> None:
    """Forward, loss, torch.optim and Algorithm 1 written out for a network 3-6-5-2 with a batch of 4, by steps of 7."""
    network = MLP(MLPConfig(width=6, depth=2), 3, 2)
    config = ReDoConfig(period=7, threshold=0.5, score=score, reset_optimizer="moments")  # type: ignore[arg-type]
    optimizer = ("adam", AdamConfig(step_size=0.01)) if adam else ("sgd", SGDConfig(step_size=0.05, momentum=0.9))
    learner = Learner(network, "squared_error", optimizer, {"redo": config})
    params = network.init(1)
    loop = [torch.nn.Parameter(value.clone()) for value in params.values()]
    torch_adam = torch.optim.Adam(loop, lr=0.01)
    theirs: torch.optim.Optimizer = torch_adam if adam else torch.optim.SGD(loop, lr=0.05, momentum=0.9)
    state = learner.init(params)
    numbers = {
        part: {name: torch.tensor(value, dtype=F64) for name, value in own.items()}
        for part, own in learner.hyper_of(optimizer[1], {"redo": config}).items()
    }
    generator = torch.Generator().manual_seed(0)
    sums, replaced = [torch.zeros(6, dtype=F64), torch.zeros(6, dtype=F64)], 0
    for step in range(30):
        x, y = (torch.randn(4, size, generator=generator, dtype=F64) for size in (3, 2))
        params, state, _ = learner.step(params, state, numbers, x, y, draw(step), acting=learner.acting(step))
        hidden = loop_step(loop, theirs, x, y)
        for k in range(2):
            mean = hidden[k].abs().mean(0)
            sums[k] = mean if score == "batch" else sums[k] + mean
        if step % 7 == 0:
            replaced += recycled(loop, theirs, sums if step else [s + 1 for s in sums], fresh_of(network, step))
            sums = [torch.zeros_like(s) for s in sums]
        for ours, own in zip(params.values(), loop, strict=True):
            torch.testing.assert_close(ours, own.detach(), rtol=1e-9, atol=1e-10)
    assert replaced == state["replaced"].item() and replaced >= 3


def loop_step(loop: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> list[Tensor]:
    """One step of torch's own; the hidden activations before it."""
    first = functional.relu(x @ loop[0].T + loop[1])
    second = functional.relu(first @ loop[2].T + loop[3])
    optimizer.zero_grad()
    ((second @ loop[4].T + loop[5] - y) ** 2).sum(-1).mean().backward()
    optimizer.step()
    return [first.detach(), second.detach()]


def fresh_of(network: MLP, step: int) -> list[Tensor]:
    """What a step would draw for every unit: the one thing that no loop can know by itself."""
    return [
        network.reinit_bound(site)
        * (2 * draw(step).uniform(f"redo/{site.weight}", site.units * site.fan_in).view(site.units, -1) - 1)
        for site in network.sites
    ]


@torch.no_grad()
def recycled(
    loop: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer, sums: list[Tensor], fresh: list[Tensor]
) -> int:
    """Algorithm 1 unit by unit; how many there were."""
    chosen = [[j for j in range(6) if s[j] <= 0.5 * s.mean()] for s in sums]
    slots = [[v for name, v in optimizer.state[p].items() if name != "step" and v is not None] for p in loop]
    for k, units in enumerate(chosen):
        for j in units:
            loop[2 * k][j] = fresh[k][j]
            loop[2 * k + 1][j] = 0
            for slot in slots[2 * k] + slots[2 * k + 1]:
                slot[j] = 0
    for k, units in enumerate(chosen):
        for j in units:
            for values in (loop[2 * k + 2], *slots[2 * k + 2]):
                values[:, j] = 0
    return sum(map(len, chosen))
