"""Weight clipping: by hand, what goes by which fan_in, and what is left alone."""

from __future__ import annotations

import math
from typing import Any

import configs
import torch
from torch import Tensor

from workloads.methods.base import Params, Seen
from workloads.methods.config import WeightClippingConfig
from workloads.methods.weight_clipping import WeightClipping
from workloads.networks.config import ConvNetConfig, MLPConfig, ResNet18Config
from workloads.networks.convnet import ConvNet
from workloads.networks.mlp import MLP
from workloads.networks.resnet import ResNet18
from workloads.random import Draw
from workloads.training.loop import Training
from workloads.training.pack import Pack, PackMember

DRAW = Draw(torch.tensor(0), torch.tensor(0), torch.float64)


def f64(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def clipped(network: Any, params: Params, bound: float, **settings: Any) -> Params:
    method = WeightClipping(WeightClippingConfig(**settings), network)
    after, _ = method.after_step(params, {}, {"bound": f64(bound)}, Seen(grads={}, activations={}), DRAW)
    return after


def all_ten(network: Any) -> Params:
    """Parameters that exceed every bound."""
    return {name: torch.full(shape, 10.0, dtype=torch.float64) for name, shape in network.parameter_shapes().items()}


def bounds(network: Any, **settings: Any) -> dict[str, float]:
    """What every parameter is clipped to, at kappa 1; 10 where it is not."""
    return {name: value.max().item() for name, value in clipped(network, all_ten(network), 1.0, **settings).items()}


def test_by_hand() -> None:
    """Four inputs, kappa 3: nothing beyond 3 / sqrt(4), the bias included; what is within stays to the bit."""
    network = MLP(MLPConfig(depth=0), 4, 1)
    params = {"layers.0.weight": f64([[-2.0, 0.3, 1.5, 7.0]]), "layers.0.bias": f64([-1.6])}
    after = clipped(network, params, 3.0)
    assert after["layers.0.weight"].tolist() == [[-1.5, 0.3, 1.5, 1.5]] and after["layers.0.bias"].tolist() == [-1.5]


def test_a_bias_goes_by_the_fan_in_of_its_weight_and_the_head_may_be_left() -> None:
    network = MLP(MLPConfig(width=4, depth=1), 9, 3)
    assert bounds(network) == {
        **{"layers.0.weight": 1 / 3, "layers.0.bias": 1 / 3},
        **{"layers.1.weight": 1 / 2, "layers.1.bias": 1 / 2},
    }
    assert bounds(network, head=False) == {
        **{"layers.0.weight": 1 / 3, "layers.0.bias": 1 / 3},
        **{"layers.1.weight": 10.0, "layers.1.bias": 10.0},
    }


def test_a_kernels_fan_in_counts_its_places() -> None:
    found = bounds(ConvNet(ConvNetConfig(width=2, hidden=4), (1, 30, 30), 3))
    assert found["convs.0.weight"] == found["convs.0.bias"] == 1 / 5  # 1 x 5 x 5
    assert found["convs.1.bias"] == 1 / math.sqrt(2 * 3 * 3)


def test_the_gain_of_a_norm_is_left_and_its_shift_is_a_bias() -> None:
    found = bounds(MLP(MLPConfig(width=5, depth=1, normalisation="layer"), 16, 3))
    assert found["layers.0.norm.weight"] == 10.0 and found["layers.0.norm.bias"] == 1 / 4
    found = bounds(ResNet18(ResNet18Config(width=1), (1, 8, 8), 3))
    assert found["blocks.2.skip_norm.weight"] == 10.0  # of no layer whose units are renewed
    assert found["blocks.2.skip_norm.bias"] == found["blocks.2.skip.bias"] == 1.0  # 1 x 1 x 1


def test_no_step_leaves_a_weight_outside() -> None:
    """The bound is the member's own, and holds after every step of a pack that would leave it."""
    members = [
        PackMember(str(bound), configs.small(methods={"weight_clipping": {"bound": bound}}, dtype="float64"))
        for bound in (0.5, 1.0)
    ]
    training = Training(Pack(id="", members=members, path="lifted"))
    training.begin()
    training.train(20)
    weight = training.engine.state()["params"]["layers.0.weight"]
    largest = weight.flatten(1).abs().amax(1) * math.sqrt(weight.shape[-1])
    torch.testing.assert_close(largest, f64([0.5, 1.0]), rtol=1e-12, atol=0)
