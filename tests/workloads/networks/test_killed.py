"""Units that begin silent: by hand, on every corner of the inputs' cube, and what the isometry's pull makes of them."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
import torch
from torch import Tensor

from workloads.methods.isometry import isometry_gradient
from workloads.networks import killed
from workloads.networks.config import Killed, MLPConfig
from workloads.networks.mlp import MLP
from workloads.settings import written

WAYS = [way for way in get_args(Killed) if way != "none"]
CORNERS = torch.tensor(list(itertools.product((0.0, 1.0), repeat=6)), dtype=torch.float64)
ROW, BIAS, MOST = ([[2.0, -1.0]], [0.5], [1.0, 3.0])


def by_way(way: str) -> tuple[list[list[float]], list[float]]:
    row, bias, most = (torch.tensor(values, dtype=torch.float64) for values in (ROW, BIAS, MOST))
    weight, silenced = killed.WAYS[way](row, bias, most)
    return weight.tolist(), silenced.tolist()


def test_a_unit_by_hand() -> None:
    """Of inputs up to 1 and 3 the row (2, -1) makes 2 at most, and 2.5 with its bias of 0.5."""
    assert by_way("flipped") == ([[-2.0, -1.0]], [-0.5])
    assert by_way("bias") == ([[2.0, -1.0]], [-2.02])
    assert by_way("zero_row") == ([[0.0, 0.0]], [0.0])
    assert by_way("far_bias") == ([[2.0, -1.0]], [pytest.approx(-10 * 10**0.5)])
    # Moved by c (1/2, 3/2, 1): 2 - c / 2 + 1/2 - c is 0 at c = 5/3, and a hundredth further it goes.
    c = 1.01 * 5 / 3
    [row], [bias] = by_way("step")
    assert row == pytest.approx([2 - c / 2, -1 - 1.5 * c]) and bias == pytest.approx(0.5 - c)


@pytest.mark.parametrize("initialisation", ["orthogonal", "default"])  # without biases to begin with, and with
@pytest.mark.parametrize("way", WAYS)
def test_the_first_half_of_every_layer_is_silent_and_the_others_are_left(way: Killed, initialisation: str) -> None:
    settings = {"width": 5, "depth": 3, "initialisation": initialisation}
    network = MLP(MLPConfig(**settings, killed=way), 6, 2)  # type: ignore[arg-type]
    plain = MLP(MLPConfig(**settings), 6, 2)  # type: ignore[arg-type]
    params, untouched = network.init(3), plain.init(3)
    for site, (_, hidden) in zip(network.sites, network.apply(params, CORNERS)[1], strict=True):
        assert network.killed(site) == 3 and not plain.killed(site)
        assert not hidden[:, :3].any()
        for name in (site.weight, site.bias):
            assert name is not None and torch.equal(params[name][3:], untouched[name][3:])
    assert torch.equal(params[network.head], untouched[network.head])
    # Newborn networks beside an old one are whole.
    assert all(torch.equal(value, plain.init(3, at=1)[name]) for name, value in network.init(3, at=1).items())


def test_a_step_is_no_longer_than_it_takes() -> None:
    network = MLP(MLPConfig(width=4, initialisation="orthogonal"), 6, 1)
    before, after = network.init(1), MLP(MLPConfig(width=4, initialisation="orthogonal", killed="step"), 6, 1).init(1)
    shorter = {name: before[name] + 0.98 * (after[name] - before[name]) for name in before}
    assert (network.apply(shorter, CORNERS)[1][0][1][:, :2] > 0).any(0).all()


def spoken(params: dict[str, Tensor], network: MLP) -> float:
    """The share of the first layer's silenced units that speak on some corner."""
    hidden = network.apply(params, CORNERS)[1][0][1]
    return (hidden[:, : network.killed(network.sites[0])] > 0).any(0).double().mean().item()


def test_the_pull_alone_revives_rows_that_point_away_and_never_rows_of_zeros_or_far_biases() -> None:
    revived = {}
    for way in WAYS:
        network = MLP(MLPConfig(width=6, initialisation="orthogonal", killed=way), 6, 1)
        params = network.init(0)
        assert spoken(params, network) == 0
        for _ in range(500):
            params["layers.0.weight"] = params["layers.0.weight"] - 0.01 * isometry_gradient(params["layers.0.weight"])
        revived[way] = spoken(params, network)
    assert revived["flipped"] > 0 and revived["zero_row"] == revived["far_bias"] == 0
    # Of rows that are orthonormal already nothing is moved: the pull has no say in their biases.
    assert revived["bias"] == 0


def test_what_cannot_be_silenced_is_said() -> None:
    with pytest.raises(ValueError, match="relu units without a norm"):
        MLPConfig(killed="flipped", activation="tanh")
    with pytest.raises(ValueError, match="relu units without a norm"):
        MLPConfig(killed="flipped", normalisation="layer")
    with pytest.raises(ValueError, match="far_bias is done by biases"):
        MLPConfig(killed="far_bias", biases=False)
    assert MLPConfig(killed="step", biases=False).killed == "step"


def test_axes_collapse_where_nothing_is_silenced_and_earlier_trials_keep_their_names() -> None:
    assert MLPConfig(killed_fraction=0.1) == MLPConfig() and "killed" not in written(MLPConfig())
    assert MLPConfig(depth=0, killed="flipped").killed == "none"
    assert written(MLPConfig(killed="bias", killed_fraction=0.1))["killed_fraction"] == 0.1
