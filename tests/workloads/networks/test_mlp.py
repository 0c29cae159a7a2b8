"""The multilayer perceptron: names, initial values, forward by hand and by torch.nn, sites, tracing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import get_args

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from workloads.errors import InputError
from workloads.networks.base import Activations, Norm, Site
from workloads.networks.config import Initialisation, MLPConfig
from workloads.networks.mlp import MLP
from workloads.random import Draw
from workloads.settings import written


def test_names_and_shapes_in_forward_order() -> None:
    network = MLP(MLPConfig(width=5, depth=2), 20, 3)
    assert list(network.parameter_shapes().items()) == [
        ("layers.0.weight", (5, 20)),
        ("layers.0.bias", (5,)),
        ("layers.1.weight", (5, 5)),
        ("layers.1.bias", (5,)),
        ("layers.2.weight", (3, 5)),
        ("layers.2.bias", (3,)),
    ]
    assert network.weights == ("layers.0.weight", "layers.1.weight", "layers.2.weight")
    assert network.head == "layers.2.weight"


def test_layers_of_different_widths() -> None:
    config = MLPConfig(widths="300-0150", initialisation="default")
    assert (config.width, config.depth, config.widths, config.hidden) == (None, 2, "300-150", (300, 150))
    network = MLP(config, 784, 10)
    shapes = {(300, 784), (300,), (150, 300), (150,), (10, 150), (10,)}
    assert set(network.parameter_shapes().values()) == shapes
    assert config.parameters(784, 10) == network.parameter_count() == 282_160
    assert [(site.fan_in, site.units, site.fan_out) for site in network.sites] == [(784, 300, 150), (300, 150, 10)]
    bound = network.init(0)["layers.1.bias"].abs().max().item()  # 1 / sqrt(fan_in) of the layer's own
    assert 0.95 / math.sqrt(300) < bound <= 1 / math.sqrt(300)
    assert MLPConfig(**written(config)) == config  # as a trial's config has it


def test_widths_that_are_alike_are_a_width_and_a_linear_model_has_none() -> None:
    assert MLPConfig(widths="20-20-20") == MLPConfig(width=20, depth=3)
    assert "widths" not in written(MLPConfig(widths="20-20"))
    assert MLPConfig(widths="20-30", depth=0) == MLPConfig(depth=0)


@pytest.mark.parametrize("initialisation", get_args(Initialisation))
@pytest.mark.parametrize("biases", [True, False])
def test_init_has_the_promised_shapes_and_repeats(initialisation: Initialisation, biases: bool) -> None:
    network = MLP(MLPConfig(width=6, depth=2, initialisation=initialisation, biases=biases), 4, 2)
    params = network.init(7)
    assert [(name, tuple(value.shape)) for name, value in params.items()] == list(network.parameter_shapes().items())
    assert all(value.dtype == torch.float64 for value in params.values())
    again, other = network.init(7), network.init(8)
    assert all(torch.equal(params[name], again[name]) for name in params)
    assert not any(torch.equal(params[name], other[name]) for name in network.weights)
    assert any(name.endswith("bias") for name in params) == biases


def test_kaiming_uses_the_activation_gain_below_and_gain_one_at_the_head() -> None:
    params = MLP(MLPConfig(width=400, depth=1, activation="tanh"), 300, 100).init(0)
    assert params["layers.0.weight"].abs().max().item() == pytest.approx(5 / 3 * 0.1, rel=1e-3)
    assert params["layers.1.weight"].abs().max().item() == pytest.approx(math.sqrt(3 / 400), rel=1e-3)
    for name in ("layers.0.bias", "layers.1.bias"):
        assert torch.equal(params[name], torch.zeros_like(params[name]))
        assert not params[name].signbit().any()


def test_default_draws_biases_too() -> None:
    params = MLP(MLPConfig(width=1000, depth=1, initialisation="default"), 16, 2).init(0)
    assert 0.249 < params["layers.0.bias"].abs().max().item() <= 0.25
    assert params["layers.1.bias"].abs().max().item() <= math.sqrt(1 / 1000)


def test_a_layer_keeps_its_draws_when_another_changes_shape() -> None:
    narrow, wide = (MLP(MLPConfig(width=5, depth=1), 20, outputs).init(0) for outputs in (1, 9))
    assert torch.equal(narrow["layers.0.weight"], wide["layers.0.weight"])


def test_forward_by_hand() -> None:
    network = MLP(MLPConfig(width=2, depth=1), 2, 1)
    params = {
        "layers.0.weight": torch.tensor([[1.0, -1.0], [2.0, 0.5]]),
        "layers.0.bias": torch.tensor([0.5, -1.0]),
        "layers.1.weight": torch.tensor([[3.0, -2.0]]),
        "layers.1.bias": torch.tensor([0.25]),
    }
    # (1, 2): pre-activations -0.5 and 2 -> (0, 2) -> -3.75;  (3, 1): 2.5 and 5.5 -> -3.25
    output, activations = network.apply(params, torch.tensor([[1.0, 2.0], [3.0, 1.0]]))
    assert output.tolist() == [[-3.75], [-3.25]]
    assert [(name, value.tolist()) for name, value in activations] == [
        ("layers.0", [[0.0, 2.0], [2.5, 5.5]]),
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forward_agrees_with_torch_modules(dtype: torch.dtype) -> None:
    network = MLP(MLPConfig(width=8, depth=2, activation="swish", initialisation="default"), 6, 3)
    params = {name: value.to(dtype) for name, value in network.init(1).items()}
    modules = nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 3)).to(dtype)
    modules.load_state_dict({name: params[ours] for name, ours in zip(modules.state_dict(), params, strict=True)})
    x = torch.linspace(-2, 2, 24, dtype=dtype).reshape(4, 6)
    output, activations = network.apply(params, x)
    torch.testing.assert_close(output, modules(x).detach())
    torch.testing.assert_close(activations[1][1], modules[:4](x).detach())
    assert output.dtype == dtype


@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm_is_torchs_module_before_the_nonlinearity(affine: bool) -> None:
    config = MLPConfig(width=8, depth=2, activation="tanh", normalisation="layer" if affine else "layer_plain")
    network, normed = MLP(config, 6, 3), [nn.LayerNorm(8, elementwise_affine=affine) for _ in range(2)]
    layers = [nn.Linear(6, 8), normed[0], nn.Tanh(), nn.Linear(8, 8), normed[1], nn.Tanh(), nn.Linear(8, 3)]
    modules = nn.Sequential(*layers).double()
    params = network.init(1)
    assert len(params) == len(modules.state_dict())
    if affine:
        assert params["layers.0.norm.weight"].tolist() == [1.0] * 8 and params["layers.0.norm.bias"].tolist() == [0] * 8
        params["layers.1.norm.weight"] = torch.linspace(-1, 2, 8, dtype=torch.float64)
        params["layers.0.norm.bias"] = torch.linspace(-1, 1, 8, dtype=torch.float64)
    modules.load_state_dict({name: params[ours] for name, ours in zip(modules.state_dict(), params, strict=True)})
    x = torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(4, 6)
    torch.testing.assert_close(network.apply(params, x)[0], modules(x).detach())


def test_online_normalisation_by_hand() -> None:
    """A unit that shows its input, at gain 2 and shift 1; a batch of 1 and 5: mean 3, variance 4."""
    network = MLP(MLPConfig(width=1, normalisation="online", activation="linear"), 1, 1)
    params = {name: torch.ones_like(value) for name, value in network.init(0).items()}
    params |= {name: torch.zeros_like(value) for name, value in params.items() if name.endswith("bias")}
    params |= {"layers.0.norm.weight": 2 * params["layers.0.norm.weight"]}
    params |= {"layers.0.norm.bias": torch.ones(1, dtype=torch.float64)}
    assert network.initial_buffers(params[network.head]) == {"layers.0.norm.mean": 0, "layers.0.norm.variance": 1}
    buffers = {"layers.0.norm.mean": torch.tensor([1.0]), "layers.0.norm.variance": torch.tensor([4.0 - 1e-5])}
    x = torch.tensor([[1.0], [5.0]], dtype=torch.float64)
    output, _, after = network.apply_training({**params, **buffers}, x)
    # By what was known before: (1 - 1) / 2 and (5 - 1) / 2.
    torch.testing.assert_close(output, torch.tensor([[1.0], [5.0]], dtype=torch.float64))
    assert torch.equal(output, network.apply({**params, **buffers}, x)[0])
    assert after["layers.0.norm.mean"].item() == pytest.approx(1 + 0.001 * 2)
    assert after["layers.0.norm.variance"].item() == pytest.approx(0.999 * (4 - 1e-5) + 0.001 * (4 + 0.999 * 2**2))


def test_online_statistics_are_those_of_what_came_by_and_the_gradient_takes_them_for_constants() -> None:
    """One example after the other: the weighted mean and variance of all, the first state counting as so much."""
    network = MLP(MLPConfig(width=3, normalisation="online"), 4, 2)
    params, seen = network.init(0), torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    buffers = network.initial_buffers(params[network.head])
    for x in seen:
        buffers = network.apply_training({**params, **buffers}, x[None])[2]
    z = seen @ params["layers.0.weight"].T + params["layers.0.bias"]
    weight = 0.001 * 0.999 ** torch.arange(49, -1, -1, dtype=torch.float64)
    mean = weight @ z
    variance = 0.999**50 * (1 + mean**2) + weight @ (z - mean) ** 2
    torch.testing.assert_close(buffers["layers.0.norm.mean"], mean)
    torch.testing.assert_close(buffers["layers.0.norm.variance"], variance)

    def loss(bias: torch.Tensor) -> torch.Tensor:
        shown = {**params, **buffers, "layers.0.bias": bias}
        return network.apply_training(shown, seen[:1])[0].sum()

    slope = torch.func.grad(loss)(params["layers.0.bias"])
    active = network.apply({**params, **buffers}, seen[:1])[1][0][1][0] > 0
    expected = active * params[network.head].sum(0) / torch.sqrt(buffers["layers.0.norm.variance"] + 1e-5)
    torch.testing.assert_close(slope, expected)


def drawn(network: MLP, seed: int, step: int) -> list[torch.Tensor]:
    """Activations of a training step on ones, of weights that make all of them 1."""
    params = {
        name: torch.full_like(value, float("bias" in name and name != "layers.2.bias"))
        for name, value in network.init(0).items()
    }
    draw = Draw(torch.tensor(seed), torch.tensor(step), torch.float64)
    return [h for _, h in network.apply_training(params, torch.ones(40, 3, dtype=torch.float64), draw)[1]]


def test_dropout_makes_a_share_zero_and_the_others_stand_in_for_it() -> None:
    network = MLP(MLPConfig(width=50, depth=2, dropout=0.2), 3, 1)
    first, second = drawn(network, 7, 3)
    assert set(first.unique().tolist()) == {0.0, 1.25}
    assert (first == 0).double().mean().item() == pytest.approx(0.2, abs=0.03)  # of 2,000, four standard errors
    assert not torch.equal(first, second)  # each layer draws its own
    assert torch.equal(drawn(network, 7, 3)[0], first)  # whoever else there is: by seed and step alone
    assert not torch.equal(drawn(network, 7, 4)[0], first) and not torch.equal(drawn(network, 8, 3)[0], first)
    params, x = network.init(0), torch.ones(2, 3, dtype=torch.float64)
    plain = MLP(MLPConfig(width=50, depth=2), 3, 1)
    assert torch.equal(network.apply(params, x)[0], plain.apply(params, x)[0])  # looked at and tested as a whole
    assert torch.equal(network.apply_training(params, x)[0], plain.apply(params, x)[0])


def test_a_network_with_an_apply_of_its_own_is_trained_by_it_and_takes_neither() -> None:
    class Doubled(MLP):
        def apply(self, params: Mapping[str, torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, Activations]:
            output, activations = super().apply(params, x)
            return 2 * output, activations

    own, x = Doubled(MLPConfig(width=4), 3, 1), torch.ones(2, 3, dtype=torch.float64)
    assert torch.equal(own.apply_training(own.init(0), x)[0], own.apply(own.init(0), x)[0])
    for settings in ({"dropout": 0.1}, {"normalisation": "online"}):
        with pytest.raises(InputError, match="Doubled has an apply of its own, and dropout and normalisation: online"):
            Doubled(MLPConfig(**settings), 3, 1)  # type: ignore[arg-type]


def test_dropout_means_nothing_without_hidden_layers_or_at_0() -> None:
    assert MLPConfig(depth=0, dropout=0.5) == MLPConfig(depth=0)
    assert "dropout" not in written(MLPConfig()) and written(MLPConfig(dropout=0.5))["dropout"] == 0.5


def test_crelu_by_hand() -> None:
    """Two units, four activations: unit j's are columns j and j + 2 of what the head reads."""
    network = MLP(MLPConfig(width=2, depth=1, activation="crelu"), 2, 1)
    params = {
        "layers.0.weight": torch.tensor([[1.0, -1.0], [2.0, 0.5]]),
        "layers.0.bias": torch.tensor([0.5, -1.0]),
        "layers.1.weight": torch.tensor([[3.0, -2.0, 10.0, 100.0]]),
        "layers.1.bias": torch.tensor([0.25]),
    }
    # (1, 2): pre-activations -0.5 and 2 -> (0, 2, 0.5, 0) -> -4 + 5 + 0.25
    output, activations = network.apply(params, torch.tensor([[1.0, 2.0]]))
    assert output.tolist() == [[1.25]] and activations[0][1].tolist() == [[0.0, 2.0, 0.5, 0.0]]


@pytest.mark.parametrize("activation", ["relu", "crelu", "fourier"])
@pytest.mark.parametrize("normalisation", ["none", "layer", "layer_plain", "online"])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_the_number_of_parameters_is_known_without_building(activation: str, normalisation: str, depth: int) -> None:
    config = MLPConfig(width=5, depth=depth, activation=activation, normalisation=normalisation)  # type: ignore[arg-type]
    network = MLP(config, 7, 3)
    assert config.parameters(7, 3) == sum(map(math.prod, network.parameter_shapes().values()))
    for site in network.sites:
        assert network.parameter_shapes()[site.weight] == (site.units, site.fan_in)
        assert math.prod(network.parameter_shapes()[site.outgoing_weight]) == site.units * site.fan_out


def test_sorted_units_come_in_whole_groups() -> None:
    with pytest.raises(ValueError, match="groupsort_8 sorts 8 units at a time: width 12 is no multiple"):
        MLPConfig(width=12, activation="groupsort_8")
    for activation, group in (("groupsort_2", 2), ("groupsort_4", 4), ("absolute", 1), ("fourier", 1)):
        network = MLP(MLPConfig(width=12, depth=2, activation=activation), 3, 1)
        assert {site.group for site in network.sites} == {group}
    assert MLPConfig(width=12, depth=0, activation="groupsort_8").group == 1


def test_depth_zero_is_the_linear_model() -> None:
    network = MLP(MLPConfig(depth=0), 3, 2)
    params = network.init(0)
    assert list(params) == ["layers.0.weight", "layers.0.bias"]
    assert network.sites == () and network.head == "layers.0.weight"
    assert params[network.head].abs().max().item() <= 1.0  # sqrt(3 / 3), gain 1
    x = torch.ones(5, 3, dtype=torch.float64)
    output, activations = network.apply(params, x)
    torch.testing.assert_close(output, params[network.head].sum(1).expand(5, 2))
    assert activations == []


def test_without_biases_zero_stays_zero() -> None:
    network = MLP(MLPConfig(width=4, depth=2, activation="tanh", biases=False), 3, 2)
    output, _ = network.apply(network.init(0), torch.zeros(2, 3, dtype=torch.float64))
    assert torch.equal(output, torch.zeros(2, 2, dtype=torch.float64))


def test_sites_name_the_tensors_around_each_hidden_layer() -> None:
    sites = MLP(MLPConfig(width=5, depth=2), 20, 3).sites
    assert sites[0] == Site(
        name="layers.0",
        units=5,
        weight="layers.0.weight",
        bias="layers.0.bias",
        outgoing_weight="layers.1.weight",
        outgoing_bias="layers.1.bias",
        fan_in=20,
        fan_out=5,
    )
    assert (sites[1].weight, sites[1].outgoing_weight) == ("layers.1.weight", "layers.2.weight")
    assert (sites[1].fan_in, sites[1].fan_out) == (5, 3)
    normed = MLP(MLPConfig(width=5, depth=2, activation="crelu", normalisation="layer"), 20, 3).sites[0]
    assert normed.norm == Norm("layer", "layers.0.norm.weight", "layers.0.norm.bias")
    assert (normed.units, normed.parts, normed.activations, normed.fan_out) == (5, 2, 10, 10)
    bare = MLP(MLPConfig(width=5, depth=1, biases=False), 20, 3).sites[0]
    assert bare.bias is None and bare.outgoing_bias is None


@pytest.mark.parametrize(
    ("activation", "initialisation", "bound"),
    [
        ("relu", "kaiming", math.sqrt(2) * math.sqrt(3 / 20)),
        ("sigmoid", "kaiming", math.sqrt(3 / 20)),
        ("tanh", "xavier", 5 / 3 * math.sqrt(6 / 25)),
        ("relu", "lecun", math.sqrt(3 / 20)),
        ("relu", "default", math.sqrt(1 / 20)),
        ("relu", "orthogonal", math.sqrt(3 / 20)),
        ("relu", "orthogonal_gain", math.sqrt(2) * math.sqrt(3 / 20)),
        ("selu", "kaiming", math.sqrt(3 / 20)),
        ("selu", "default", math.sqrt(3 / 20)),
    ],
)
def test_reinit_bound_is_the_layer_s_own(activation: str, initialisation: Initialisation, bound: float) -> None:
    config = MLPConfig(width=5, depth=1, activation=activation, initialisation=initialisation)  # type: ignore[arg-type]
    network = MLP(config, 20, 1)
    assert network.reinit_bound(network.sites[0]) == pytest.approx(bound)
    if not initialisation.startswith("orthogonal"):
        assert network.init(0)["layers.0.weight"].abs().max().item() <= bound


def test_batched_over_members_and_traced() -> None:
    network = MLP(MLPConfig(width=4, depth=2, activation="elu"), 3, 2)
    members = [network.init(seed) for seed in range(3)]
    params = {name: torch.stack([member[name] for member in members]) for name in members[0]}
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)

    def outputs(params: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return torch.func.vmap(lambda p: network.apply(p, x)[0])(params)

    alone = torch.stack([network.apply(member, x)[0] for member in members])
    torch.testing.assert_close(outputs(params, x), alone)
    torch.testing.assert_close(make_fx(outputs)(params, x)(params, x), alone)
