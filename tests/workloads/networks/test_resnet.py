"""ResNet-18: an independent one of torch's modules, in training and in evaluation; counts, initial values, sites."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from workloads.networks.config import Picture, ResNet18Config
from workloads.networks.resnet import ResNet18

CIFAR: Picture = (3, 32, 32)


class Block(nn.Module):
    """A basic block (He et al. 2016) whose convolutions all have a bias."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, channels, 3, stride, padding=1)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.second_norm = nn.BatchNorm2d(channels)
        self.down = nn.Sequential()
        if stride != 1:
            self.down = nn.Sequential(nn.Conv2d(before, channels, 1, stride), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inner = torch.relu(self.first_norm(self.first(x)))
        return inner, torch.relu(self.second_norm(self.second(inner)) + self.down(x))


class Modules(nn.Module):
    """The same network of torch's modules; returns the output and the features after every relu."""

    def __init__(self, shape: Picture, width: int, outputs: int) -> None:
        super().__init__()
        self.shape = shape
        self.stem = nn.Conv2d(shape[0], width, 3, padding=1)
        self.stem_norm = nn.BatchNorm2d(width)
        plan = [(1, 1, 1), (1, 1, 1), (1, 2, 2), (2, 2, 1), (2, 4, 2), (4, 4, 1), (4, 8, 2), (8, 8, 1)]
        self.blocks = nn.ModuleList(Block(a * width, b * width, stride) for a, b, stride in plan)
        self.head = nn.Linear(8 * width, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = torch.relu(self.stem_norm(self.stem(x.reshape(-1, *self.shape))))
        features = [x]
        for block in self.blocks:
            inner, x = block(x)
            features += [inner, x]
        features[-1] = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.head(features[-1]), features


def twins(shape: Picture, width: int, outputs: int) -> tuple[ResNet18, dict[str, Tensor], dict[str, Tensor], Modules]:
    """Network, parameters and buffers, and the modules with the same; batch norm's are drawn so that they matter."""
    network = ResNet18(ResNet18Config(width=width), shape, outputs)
    params = network.init(1)
    buffers = network.initial_buffers(params["head.weight"])
    generator = torch.Generator().manual_seed(5)
    for name, value in params.items():
        if value.ndim == 1:
            params[name] = value + 0.3 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
    twin = Modules(shape, width, outputs).double()
    with torch.no_grad():
        for own, value in zip(twin.parameters(), params.values(), strict=True):
            assert own.shape == value.shape
            own.copy_(value)
    return network, params, buffers, twin


def statistics_of(twin: Modules) -> list[Tensor]:
    """Running mean and variance of every batch norm in forward order."""
    norms = [module for module in twin.modules() if isinstance(module, nn.BatchNorm2d)]
    return [value for norm in norms for value in (norm.running_mean, norm.running_var)]


def examples(shape: Picture, batch: int, step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(batch, math.prod(shape), generator=generator, dtype=torch.float64)
    return 0.5 + 2 * x, torch.randint(0, 3, (batch,), generator=generator)


@pytest.mark.parametrize(
    ("shape", "width", "batch"), [((3, 16, 16), 2, 4), ((1, 28, 28), 3, 2), ((3, 9, 17), 8, 3)], ids=str
)
def test_training_is_that_of_torchs_modules(shape: Picture, width: int, batch: int) -> None:
    """Three steps of SGD: outputs, features, gradients and running statistics; then evaluation by those statistics."""
    network, params, buffers, twin = twins(shape, width, 3)
    assert [tuple(v.shape) for v in statistics_of(twin)] == [tuple(v.shape) for v in buffers.values()]
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.05)
    for step in range(3):
        x, target = examples(shape, batch, step)
        output, features = twin(x)
        optimizer.zero_grad()
        nn.functional.cross_entropy(output, target).backward()

        leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
        found, activations, buffers = network.apply_training({**leaves, **buffers}, x)
        loss = nn.functional.cross_entropy(found, target)
        grads = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        torch.testing.assert_close(found.detach(), output.detach(), rtol=1e-9, atol=1e-10)
        for (name, value), feature in zip(activations, features, strict=True):
            torch.testing.assert_close(value.detach(), feature.detach(), rtol=1e-9, atol=1e-10, msg=name)
        for (name, grad), own in zip(grads.items(), twin.parameters(), strict=True):
            torch.testing.assert_close(grad, own.grad, rtol=1e-7, atol=1e-10, msg=name)
        for (name, value), own in zip(buffers.items(), statistics_of(twin), strict=True):
            torch.testing.assert_close(value, own, rtol=1e-9, atol=1e-10, msg=name)
        optimizer.step()
        params = {name: value - 0.05 * grads[name] for name, value in params.items()}

    twin.eval()
    x, _ = examples(shape, 5, 9)
    output, features = twin(x)
    found, activations = network.apply({**params, **buffers}, x)
    torch.testing.assert_close(found, output.detach(), rtol=1e-9, atol=1e-10)
    for (name, value), feature in zip(activations, features, strict=True):
        torch.testing.assert_close(value, feature.detach(), rtol=1e-9, atol=1e-10, msg=name)


def test_running_statistics_by_hand() -> None:
    """A stem of weight 0 and bias 2: mean 0.1 x 2 after a step and 0.19 x 2 after two, variance 0.9 and 0.81."""
    network = ResNet18(ResNet18Config(width=1), (1, 8, 8), 2)
    params = network.init(0)
    params["stem.weight"] = torch.zeros_like(params["stem.weight"])
    params["stem.bias"] = torch.full_like(params["stem.bias"], 2.0)
    buffers = network.initial_buffers(params["head.weight"])
    for share in (0.1, 0.19):
        _, _, buffers = network.apply_training({**params, **buffers}, torch.ones(3, 64).double())
        assert buffers["stem_norm.running_mean"].item() == pytest.approx(2 * share)
        assert buffers["stem_norm.running_var"].item() == pytest.approx(1 - share)
    assert tuple(buffers) == network.buffers


def test_statistics_of_float32_are_those_of_float64() -> None:
    """The variance is read off the inverse deviation; also where it is far smaller, or larger, than epsilon."""
    network, params, buffers, _ = twins((3, 16, 16), 2, 3)
    params["stem.weight"][0] *= 1e-4
    params["stem.weight"][1] *= 1e3
    x, _ = examples((3, 16, 16), 4, 0)
    wide = network.apply_training({**params, **buffers}, x)[2]
    narrow = network.apply_training({n: v.float() for n, v in {**params, **buffers}.items()}, x.float())[2]
    for name, value in narrow.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), wide[name], rtol=2e-5, atol=1e-6, msg=name)


def test_without_variance_and_with_one_value_per_channel_statistics_stay_finite() -> None:
    """One picture of 8 x 8 is 1 x 1 in the last stage, where torch refuses to train."""
    network = ResNet18(ResNet18Config(width=1), (1, 8, 8), 2)
    params = network.init(0)
    buffers = network.initial_buffers(params["head.weight"])
    for _ in range(50):
        output, _, buffers = network.apply_training({**params, **buffers}, torch.ones(1, 64).double())
    assert torch.isfinite(output).all()
    assert all(torch.isfinite(value).all() for value in buffers.values())
    assert all((value > -1e-6).all() for name, value in buffers.items() if name.endswith("var"))
    assert torch.isfinite(network.apply({**params, **buffers}, torch.ones(1, 64).double())[0]).all()


@pytest.mark.parametrize(("shape", "width", "outputs"), [(CIFAR, 64, 100), (CIFAR, 3, 7), ((1, 28, 28), 5, 2)], ids=str)
def test_the_count_of_parameters_is_that_of_torchs_modules(shape: Picture, width: int, outputs: int) -> None:
    with torch.device("meta"):
        twin = Modules(shape, width, outputs)
    count = sum(value.numel() for value in twin.parameters())
    assert ResNet18Config(width=width).parameters(shape, outputs) == count
    shapes = ResNet18(ResNet18Config(width=width), shape, outputs).parameter_shapes()
    assert [tuple(value.shape) for value in twin.parameters()] == list(shapes.values())
    if width == 64:
        assert count == 11_220_132 + 4_800  # the usual ResNet-18 of CIFAR-100, and a bias per channel of a convolution


def test_initial_values() -> None:
    network = ResNet18(ResNet18Config(width=16), CIFAR, 100)
    params = network.init(3)
    assert [(name, tuple(value.shape)) for name, value in params.items()] == list(network.parameter_shapes().items())
    drawn = []
    for name, value in params.items():
        if name.endswith(".bias"):
            assert (value == 0).all()
        elif name.endswith("_norm.weight"):
            assert (value == 1).all()
        else:
            variance = (1 if name == "head.weight" else 2) / value[0].numel()
            scaled = value.flatten() / math.sqrt(variance)
            count = scaled.numel()
            assert abs(scaled.mean()) < 4.5 / math.sqrt(count), name
            assert abs(scaled.square().mean() - 1) < 4.5 * math.sqrt(2 / count), name
            drawn.append(scaled[:2000])
    assert stats.kstest(torch.cat(drawn).numpy(), "norm").pvalue > 0.01
    buffers = network.initial_buffers(params["head.weight"].float())
    assert list(buffers) == list(network.buffers)
    for name, value in buffers.items():
        norm = name.rpartition(".")[0]
        assert value.shape == params[f"{norm}.weight"].shape and value.dtype == torch.float32
        assert (value == (0 if name.endswith("running_mean") else 1)).all()


def test_other_networks_of_a_seed_are_independent_of_the_first() -> None:
    network = ResNet18(ResNet18Config(width=4), CIFAR, 10)
    first, again, second = network.init(3), network.init(3, 0), network.init(3, 1)
    for name in network.weights:
        assert torch.equal(first[name], again[name])
        both = torch.stack([first[name].flatten(), second[name].flatten()])
        assert abs(torch.corrcoef(both)[0, 1]) < 5 / math.sqrt(both.shape[1])


def test_units_are_the_channels_of_the_stem_and_of_both_convolutions_of_a_block() -> None:
    network = ResNet18(ResNet18Config(width=2), CIFAR, 5)
    chain = [f"blocks.{block}.conv{k}" for block in range(8) for k in (1, 2)]
    assert [site.name for site in network.sites] == ["stem", *chain]
    assert [site.units for site in network.sites] == [2] * 5 + [4] * 4 + [8] * 4 + [16] * 4
    assert [site.outgoing_weight for site in network.sites] == [*(f"{name}.weight" for name in chain), "head.weight"]
    for site in network.sites:
        assert (site.weight, site.bias) == (f"{site.name}.weight", f"{site.name}.bias")
        assert site.norm is not None and site.norm.kind == "batch" and site.norm.scale == f"{site.name}_norm.weight"
        assert {site.norm.mean, site.norm.variance} < set(network.buffers)
    assert (network.sites[4].fan_in, network.sites[4].fan_out) == (2 * 9, 4 * 9)  # from stage 1 to stage 2
    assert (network.sites[-1].fan_in, network.sites[-1].fan_out) == (16 * 9, 5)
    skips = [name for name in network.weights if "skip" in name]
    assert skips == [f"blocks.{block}.skip.weight" for block in (2, 4, 6)]
    assert not {site.weight for site in network.sites} & set(skips)
    assert [
        name
        for name, _ in network.apply(
            {**network.init(0), **network.initial_buffers(torch.zeros(1).double())}, torch.zeros(1, 3072).double()
        )[1]
    ] == [s.name for s in network.sites]
