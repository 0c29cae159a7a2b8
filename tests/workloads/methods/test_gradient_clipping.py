"""Gradient clipping: torch's own, before weights decay."""

from __future__ import annotations

import torch
from torch import nn

from workloads.methods.base import Seen
from workloads.methods.config import METHODS, GradientClippingConfig
from workloads.methods.gradient_clipping import GradientClipping
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.random import Draw

DRAW = Draw(torch.tensor(0), torch.tensor(0), torch.float64)


def clipped(grads: dict[str, torch.Tensor], norm: float) -> dict[str, torch.Tensor]:
    method = GradientClipping(GradientClippingConfig(), MLP(MLPConfig(), 3, 2))
    hyper = {"norm": torch.tensor(norm, dtype=torch.float64)}
    return dict(method.gradient(grads, {}, hyper, Seen(grads=grads, activations={}), DRAW)[0])


def test_by_hand() -> None:
    """Of (3, 4) and 12 the length is 13: clipped to 6.5 it is half as long, and to 13 or more it is as it was."""
    grads = {"a": torch.tensor([3.0, 4.0]).double(), "b": torch.tensor([[12.0]]).double()}
    assert [value.tolist() for value in clipped(grads, 6.5).values()] == [[1.5, 2.0], [[6.0]]]
    for norm in (13.0, 20.0):
        assert all(torch.equal(value, grads[name]) for name, value in clipped(grads, norm).items())


def test_it_is_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in ((5, 3), (5,), (2, 5))]
    for each in parameters:
        each.grad = torch.randn(each.shape, generator=generator, dtype=torch.float64)
    grads = {str(i): each.grad.clone() for i, each in enumerate(parameters) if each.grad is not None}
    nn.utils.clip_grad_norm_(parameters, 0.5)
    for ours, theirs in zip(clipped(grads, 0.5).values(), parameters, strict=True):
        assert theirs.grad is not None and torch.allclose(ours, theirs.grad, rtol=1e-5)


def test_no_gradient_stays_none() -> None:
    assert clipped({"a": torch.zeros(3).double()}, 0.5)["a"].tolist() == [0, 0, 0]


def test_it_acts_before_what_is_added_to_a_gradient() -> None:
    assert next(iter(METHODS)) == "gradient_clipping"
