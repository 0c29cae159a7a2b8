"""Networks that begin with silent relu units: which can a way of learning bring back?

The first units of every hidden layer are silenced, by one of these ways, so that on inputs in [0, 1] none of them ever
speaks. Their gradient is 0 then: w the row of weights into such a unit, b its bias, u the most that each activation of
the layer before can be (1 for an input, and from layer to layer max(Σ max(w, 0) u + b, 0)):

    flipped   w ← −|w|, b ← −|b|              every weight points away from whatever is shown
    bias      b ← −1.01 Σ max(w, 0) u         as far as its own row can reach
    step      (w, b) ← (w, b) − c (u / 2, 1)  one step of gradient descent that is too large, as training kills: along a
                                              unit's own inputs; c is 1.01 times the least that silences
    zero_row  w ← 0, b ← 0                    nothing is left that could be rotated
    far_bias  b ← −10 ‖u‖                     ten times what any row of norm 1 reaches

The last two are the cases in which no force on weight matrices alone should help: the isometry's pull on a row of zeros
is 0, and no rotation of a row of norm 1 reaches so far. Ways, marks and bounds are ours: the paper that says such units
are revived (Rosseau, Müller, Nowé 2026, arXiv 2606.09762) has a protocol that is not known to us.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from workloads.networks.base import Network
from workloads.settings import Settings

FAR = 10.0  # times what a row of norm 1 reaches
MORE = 1.01  # times what it takes: rounding shall not make a unit speak

Unit = tuple[Tensor, Tensor]  # rows (k, fan_in), biases (k,)


def reach(weight: Tensor, most: Tensor) -> Tensor:
    """The most that rows (k, fan_in) make of activations between 0 and `most` (fan_in,), (k,)."""
    return weight.clamp(min=0) @ most


def flipped(weight: Tensor, bias: Tensor, most: Tensor) -> Unit:
    """Nothing that is not negative makes them speak."""
    return -weight.abs(), -bias.abs()


def biased(weight: Tensor, bias: Tensor, most: Tensor) -> Unit:
    """Biases that take all that the rows can give."""
    return weight, -MORE * reach(weight, most)


def overstepped(weight: Tensor, bias: Tensor, most: Tensor) -> Unit:
    """Just further than the shortest such step, to 2^-40 of the one that makes the whole row negative."""
    low, high = torch.zeros_like(bias), (weight / (most / 2).clamp(min=1e-12)).amax(1).clamp(min=0) + bias.clamp(min=0)
    for _ in range(40):
        middle = (low + high) / 2
        silent = reach(weight - middle[:, None] * most / 2, most) + bias - middle <= 0
        low, high = torch.where(silent, low, middle), torch.where(silent, middle, high)
    step = MORE * high
    return weight - step[:, None] * most / 2, bias - step


def zeroed(weight: Tensor, bias: Tensor, most: Tensor) -> Unit:
    """Rows and biases of zeros."""
    return torch.zeros_like(weight), torch.zeros_like(bias)


def far_biased(weight: Tensor, bias: Tensor, most: Tensor) -> Unit:
    """Biases that no row of norm 1 can make up for."""
    return weight, torch.full_like(bias, -FAR * float(most.norm()))


WAYS: dict[str, Callable[[Tensor, Tensor, Tensor], Unit]] = {
    "flipped": flipped,
    "bias": biased,
    "step": overstepped,
    "zero_row": zeroed,
    "far_bias": far_biased,
}


def with_killed(network: Network[Settings], params: Mapping[str, Tensor], way: str) -> dict[str, Tensor]:
    """The parameters of a relu network in which the first `network.killed(site)` units of every layer are silent."""
    params = {name: value.clone() for name, value in params.items()}
    assert isinstance(network.inputs, int)
    most = torch.ones(network.inputs, dtype=params[network.head].dtype)
    for site in network.sites:
        count, weight = network.killed(site), params[site.weight]
        bias = params[site.bias] if site.bias else weight.new_zeros(site.units)
        weight[:count], bias[:count] = WAYS[way](weight[:count], bias[:count], most)
        most = (reach(weight, most) + bias).clamp(min=0)
    return params
