"""The network of continual ImageNet against torch's own modules; counts, bounds, and pictures that are too small."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from workloads.networks.activations import ACTIVATIONS
from workloads.networks.base import Site
from workloads.networks.config import Activation, ConvNetConfig, Initialisation, Picture
from workloads.networks.convnet import ConvNet

PUBLISHED: Picture = (3, 32, 32)


class Applied(nn.Module):
    """An activation function as a module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = ACTIVATIONS[name]

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def modules(shape: Picture, width: int, hidden: int, outputs: int, places: int, activation: str) -> nn.Sequential:
    """The same network of torch's modules; `places` are those of the last picture."""
    act = Applied(activation)
    return nn.Sequential(
        *(nn.Unflatten(1, shape), nn.Conv2d(shape[0], width, 5), act, nn.MaxPool2d(2)),
        *(nn.Conv2d(width, 2 * width, 3), act, nn.MaxPool2d(2)),
        *(nn.Conv2d(2 * width, 4 * width, 3), act, nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(4 * width * places, hidden), act),
        *(nn.Linear(hidden, hidden), act, nn.Linear(hidden, outputs)),
    ).double()


@pytest.mark.parametrize(
    ("shape", "places"), [(PUBLISHED, 4), ((1, 28, 28), 1), ((2, 24, 40), 3)], ids=["3x32x32", "1x28x28", "2x24x40"]
)
@pytest.mark.parametrize("activation", ["relu", "tanh", "swish"])
def test_outputs_activations_and_gradients_are_those_of_torchs_modules(
    shape: Picture, places: int, activation: Activation
) -> None:
    network = ConvNet(ConvNetConfig(width=3, hidden=5, activation=activation), shape, 4)
    params = network.init(1)
    twin = modules(shape, 3, 5, 4, places, activation)
    # By place, strictly: kernels and matrices have the shapes and the order of torch's.
    twin.load_state_dict({name: params[ours] for name, ours in zip(twin.state_dict(), params, strict=True)})
    x = torch.randn(3, math.prod(shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.tensor([0, 3, 1])

    output, activations = network.apply(params, x)
    torch.testing.assert_close(output, twin(x).detach(), rtol=1e-11, atol=1e-12)
    assert [name for name, _ in activations] == ["convs.0", "convs.1", "convs.2", "layers.0", "layers.1"]
    for (_, found), end in zip(activations, (4, 7, 10, 13, 15), strict=True):  # after each pooling, then each act
        torch.testing.assert_close(found, twin[:end](x).detach(), rtol=1e-11, atol=1e-12)

    nn.functional.cross_entropy(twin(x), target).backward()
    grads = torch.func.grad(lambda p: nn.functional.cross_entropy(network.apply(p, x)[0], target))(params)
    for own, (name, found) in zip(twin.parameters(), grads.items(), strict=True):
        torch.testing.assert_close(found, own.grad, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("activation", get_args(Activation))
def test_pooling_before_the_activation_is_pooling_after_it(activation: Activation) -> None:
    network = ConvNet(ConvNetConfig(width=2, hidden=3, activation=activation), (1, 24, 24), 2)
    params = {name: 2 * value for name, value in network.init(3).items()}
    x = torch.randn(4, 576, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    twin = modules((1, 24, 24), 2, 3, 2, 1, activation)
    twin.load_state_dict({name: params[ours] for name, ours in zip(twin.state_dict(), params, strict=True)})
    torch.testing.assert_close(network.apply(params, x)[0], twin(x).detach(), rtol=1e-11, atol=1e-12)


def test_names_and_shapes_in_forward_order() -> None:
    network = ConvNet(ConvNetConfig(width=2, hidden=7), PUBLISHED, 5)
    assert list(network.parameter_shapes().items()) == [
        ("convs.0.weight", (2, 3, 5, 5)),
        ("convs.0.bias", (2,)),
        ("convs.1.weight", (4, 2, 3, 3)),
        ("convs.1.bias", (4,)),
        ("convs.2.weight", (8, 4, 3, 3)),
        ("convs.2.bias", (8,)),
        ("layers.0.weight", (7, 32)),  # 8 channels of 2 x 2 places
        ("layers.0.bias", (7,)),
        ("layers.1.weight", (7, 7)),
        ("layers.1.bias", (7,)),
        ("layers.2.weight", (5, 7)),
        ("layers.2.bias", (5,)),
    ]
    assert network.head == "layers.2.weight" and network.weights[-1] == network.head
    assert network.buffers == () and network.initial_buffers(torch.zeros(1)) == {}


@pytest.mark.parametrize("shape", [PUBLISHED, (1, 28, 28), (2, 24, 40), (3, 64, 64)], ids=str)
def test_the_count_of_parameters_is_the_sum_of_shapes(shape: Picture) -> None:
    config = ConvNetConfig(width=3, hidden=11)
    shapes = ConvNet(config, shape, 6).parameter_shapes().values()
    assert config.parameters(shape, 6) == sum(map(math.prod, shapes))


def test_the_published_network_has_its_published_size() -> None:
    # 2432 + 18496 + 73856 in the convolutions, 65664 + 16512 + 258 in the matrices.
    assert ConvNetConfig().parameters(PUBLISHED, 2) == 177_218


def test_the_smallest_pictures_and_those_too_small() -> None:
    """24 -> 20 -> 10 -> 8 -> 4 -> 2 -> 1; of 23 the second pooling leaves 3, too few for a 3 x 3 kernel and pooling."""
    network = ConvNet(ConvNetConfig(width=1, hidden=1), (1, 24, 24), 1)
    assert network.apply(network.init(0), torch.ones(2, 576).double())[1][2][1].shape == (2, 4, 1, 1)
    for height, width in ((23, 24), (24, 23), (8, 8), (1, 1)):
        for built in (ConvNetConfig().parameters, lambda shape, outputs: ConvNet(ConvNetConfig(), shape, outputs)):
            with pytest.raises(ValueError, match=f"at least 24 x 24, not {height} x {width}"):
                built((3, height, width), 2)


def test_bounds_are_those_that_torch_draws_from() -> None:
    network = ConvNet(ConvNetConfig(), PUBLISHED, 2)
    twin = modules(PUBLISHED, 32, 128, 2, 4, "relu").parameters()
    for (name, own), torchs in zip(network.init(0).items(), twin, strict=True):
        found = network.distribution(name)
        layer = name.rpartition(".")[0]
        fan_in = math.prod(network.parameter_shapes()[f"{layer}.weight"][1:])
        assert found.kind == "uniform" and found.scale == pytest.approx(math.sqrt(1 / fan_in))
        for drawn in (own, torchs):
            assert drawn.abs().max() <= found.scale * (1 + 1e-6)
            if drawn.numel() >= 32:
                # The largest of n uniform numbers is below (1 - 12 / n) of the bound once in 160,000.
                assert drawn.abs().max() > found.scale * (1 - 12 / drawn.numel())
                assert drawn.min() < 0 < drawn.max()


@pytest.mark.parametrize(
    ("initialisation", "convolution", "matrix", "head"),
    [
        # The second convolution has 4 x 9 = 36 inputs and 8 x 9 = 72 outputs; layers.1 has 7 and 7, the head 7 and 5.
        ("kaiming", math.sqrt(2 * 3 / 36), math.sqrt(2 * 3 / 7), math.sqrt(3 / 7)),
        ("xavier", math.sqrt(2 * 6 / 108), math.sqrt(2 * 6 / 14), math.sqrt(6 / 12)),
        ("lecun", math.sqrt(3 / 36), math.sqrt(3 / 7), math.sqrt(3 / 7)),
        ("default", math.sqrt(1 / 36), math.sqrt(1 / 7), math.sqrt(1 / 7)),
    ],
)
def test_the_bounds_of_other_schemes(
    initialisation: Initialisation, convolution: float, matrix: float, head: float
) -> None:
    network = ConvNet(ConvNetConfig(width=4, hidden=7, initialisation=initialisation), PUBLISHED, 5)
    for name, bound in (("convs.1", convolution), ("layers.1", matrix), ("layers.2", head)):
        assert network.distribution(f"{name}.weight").scale == pytest.approx(bound)
        biases = network.init(0)[f"{name}.bias"]
        assert (biases.abs().max() > 0) == (initialisation == "default")
    # A unit's fresh weights come from the same.
    assert network.reinit_bound(network.sites[1]) == pytest.approx(convolution)
    assert network.reinit_bound(network.sites[4]) == pytest.approx(matrix)


def test_orthogonal_kernels_are_isometries_of_a_patch() -> None:
    params = ConvNet(ConvNetConfig(width=4, hidden=7, initialisation="orthogonal"), PUBLISHED, 5).init(2)
    for name, value in params.items():
        if name.endswith("weight"):
            matrix = value.flatten(1)
            gram = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
            torch.testing.assert_close(gram, torch.eye(min(matrix.shape)).double(), rtol=0, atol=1e-13)
        else:
            assert value.abs().max() == 0


def test_sites_name_the_tensors_around_each_hidden_layer() -> None:
    first, _, last, hidden, final = ConvNet(ConvNetConfig(width=2, hidden=7), PUBLISHED, 5).sites
    assert first == Site(
        name="convs.0",
        units=2,
        weight="convs.0.weight",
        bias="convs.0.bias",
        outgoing_weight="convs.1.weight",
        outgoing_bias="convs.1.bias",
        fan_in=75,
        fan_out=36,
    )
    assert (last.units, last.outgoing_weight, last.fan_in, last.fan_out) == (8, "layers.0.weight", 36, 28)
    assert (hidden.units, hidden.outgoing_weight, hidden.fan_in, hidden.fan_out) == (7, "layers.1.weight", 32, 7)
    assert (final.outgoing_weight, final.outgoing_bias, final.fan_out) == ("layers.2.weight", "layers.2.bias", 5)


def test_batched_over_members_and_traced() -> None:
    network = ConvNet(ConvNetConfig(width=2, hidden=3), (1, 24, 24), 2)
    members = [network.init(seed) for seed in range(3)]
    params = {name: torch.stack([member[name] for member in members]) for name in members[0]}
    x = torch.randn(2, 576, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def outputs(params: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.vmap(lambda p: network.apply(p, x)[0])(params)

    alone = torch.stack([network.apply(member, x)[0] for member in members])
    torch.testing.assert_close(outputs(params, x), alone)
    torch.testing.assert_close(make_fx(outputs)(params, x)(params, x), alone)
    assert network.apply({k: v.float() for k, v in members[0].items()}, x.float())[0].dtype == torch.float32
