"""L2 towards the initial weights: by hand, beside autograd on the penalty, and what counts as the beginning."""

from __future__ import annotations

from typing import Any

import configs
import pytest
import torch
from torch import Tensor

from workloads.engine.plain import train
from workloads.learner import Learner
from workloads.methods.base import Params, Seen, State
from workloads.methods.config import AdamConfig, L2InitConfig, SGDConfig
from workloads.methods.l2_init import L2Init
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.random import Draw
from workloads.training.loop import Training
from workloads.training.pack import Pack, PackMember

DRAW = Draw(torch.tensor(0), torch.tensor(0), torch.float64)
NETWORK = MLP(MLPConfig(width=4, depth=1, activation="tanh"), 3, 1)
HYPER = {"strength": torch.tensor(0.5, dtype=torch.float64)}


def f64(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def examples(steps: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(steps, 2, 3, generator=generator, dtype=torch.float64)
    return x, x.sum(-1, keepdim=True)


def by_the_method(config: L2InitConfig, optimizer: tuple[str, Any], steps: int = 20) -> tuple[Params, State]:
    methods = {"l2_init": config}
    learner = Learner(NETWORK, "squared_error", optimizer, methods)
    numbers = learner.hyper_of(optimizer[1], methods)
    hyper = {w: {k: f64(v) for k, v in h.items()} for w, h in numbers.items()}
    params = NETWORK.init(0)
    done = train(learner, params, learner.init(params), hyper, *examples(steps), torch.tensor(0), 0)
    return done.params, done.state


def by_autograd(strength: float, share: float, steps: int = 20) -> Params:
    """Plain SGD on the loss + strength x share x ||w - w0||^2, differentiated as it is written."""
    params = {name: value.requires_grad_() for name, value in NETWORK.init(0).items()}
    start = NETWORK.init(0)
    for x, y in zip(*examples(steps), strict=True):
        loss = ((NETWORK.apply(params, x)[0] - y) ** 2).sum(-1).mean()
        loss = loss + strength * share * sum(((params[n] - start[n]) ** 2).sum() for n in params)
        grads = torch.autograd.grad(loss, list(params.values()))
        params = {
            name: (value - 0.05 * grad).detach().requires_grad_()
            for (name, value), grad in zip(params.items(), grads, strict=True)
        }
    return params


def test_both_forms_by_hand() -> None:
    """w = (3, -1), w0 = (1, 1), lambda 0.5: the pull is 0.5 (2, -2); twice that of the whole penalty."""
    network = MLP(MLPConfig(depth=0, biases=False), 2, 1)
    params, state = {network.head: f64([[3.0, -1.0]])}, {"initial": {network.head: f64([[1.0, 1.0]])}}
    seen = Seen(grads={network.head: f64([[10.0, 10.0]])}, activations={})
    coupled, after = L2Init(L2InitConfig(), network).gradient(params, state, HYPER, seen, DRAW)
    assert coupled[network.head].tolist() == [[11.0, 9.0]] and after is state
    whole, _ = L2Init(L2InitConfig(penalty="full"), network).gradient(params, state, HYPER, seen, DRAW)
    assert whole[network.head].tolist() == [[12.0, 8.0]]
    decoupled, _ = L2Init(L2InitConfig(form="decoupled"), network).after_step(params, state, HYPER, seen, DRAW)
    assert decoupled[network.head].tolist() == [[2.0, 0.0]]


@pytest.mark.parametrize(("penalty", "share"), [("half", 0.5), ("full", 1.0)])
def test_coupled_is_the_gradient_of_the_penalty(penalty: Any, share: float) -> None:
    found, _ = by_the_method(L2InitConfig(strength=0.3, penalty=penalty), ("sgd", SGDConfig(step_size=0.05)))
    for name, value in by_autograd(0.3, share).items():
        torch.testing.assert_close(found[name], value.detach(), rtol=1e-12, atol=1e-14)


def test_coupled_goes_through_the_moments_and_decoupled_does_not() -> None:
    """After one step the pull is still 0; after two Adam's mean holds it in the coupled form alone."""
    adam = ("adam", AdamConfig(step_size=0.1))
    _, plain = by_the_method(L2InitConfig(strength=0.0), adam, steps=2)
    _, coupled = by_the_method(L2InitConfig(strength=1.0), adam, steps=2)
    _, first = by_the_method(L2InitConfig(strength=1.0), adam, steps=1)
    _, apart = by_the_method(L2InitConfig(strength=0.0, form="decoupled"), adam, steps=2)
    head = NETWORK.head
    start = NETWORK.init(0)[head]
    moved, _ = by_the_method(L2InitConfig(strength=0.0), adam, steps=1)
    gained = coupled["optimizer"]["mean"][head] - plain["optimizer"]["mean"][head]
    torch.testing.assert_close(gained, 0.1 * (moved[head] - start), rtol=1e-10, atol=1e-14)
    assert torch.equal(
        first["optimizer"]["mean"][head], by_the_method(L2InitConfig(), adam, 1)[1]["optimizer"]["mean"][head]
    )
    assert torch.equal(apart["optimizer"]["mean"][head], plain["optimizer"]["mean"][head])


def test_a_decoupled_pull_of_one_goes_all_the_way_back() -> None:
    found, state = by_the_method(L2InitConfig(strength=1.0, form="decoupled"), ("sgd", SGDConfig(step_size=0.1)))
    for name, value in NETWORK.init(0).items():
        assert torch.equal(state["l2_init"]["initial"][name], value)
        torch.testing.assert_close(found[name], value, rtol=1e-14, atol=1e-15)


def test_weights_handed_in_are_the_beginning() -> None:
    trial = configs.small(methods={"l2_init": {}}, dtype="float64")

    def given(seed: int) -> Params:
        return {
            name: torch.full(shape, 0.25).double()
            for name, shape in MLP(MLPConfig(width=4, depth=1), 20, 1).parameter_shapes().items()
        }

    training = Training(Pack(id="", members=[PackMember("t", trial)], path="looped"), initial=given)
    training.begin()
    kept = training.engine.state()["state"]["l2_init"]["initial"]
    assert all((value == 0.25).all() for value in kept.values()) and len(kept) == 4
