"""Reset: what starts anew, from which distribution, for whom, when, and what the optimizer forgets."""

from __future__ import annotations

import io
import math
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from scipy import stats
from torch import Tensor

from workloads.engine.plain import train
from workloads.learner import Learner
from workloads.methods.base import Params, State
from workloads.methods.config import METHODS, AdamConfig, ResetConfig, SGDConfig
from workloads.networks.base import Network
from workloads.networks.config import ConvNetConfig, Initialisation, MLPConfig, ResNet18Config
from workloads.networks.convnet import ConvNet
from workloads.networks.mlp import MLP
from workloads.networks.resnet import ResNet18
from workloads.random import Draw
from workloads.training.loop import run_pack
from workloads.training.pack import Pack, PackMember

OPTIMIZERS = {
    "momentum": ("sgd", SGDConfig(step_size=0.01, momentum=0.9)),
    "adam": ("adam", AdamConfig(step_size=0.01)),
    "bare": ("sgd", SGDConfig(step_size=0.01)),
}
NETWORKS: dict[str, Any] = {
    "mlp": MLP(MLPConfig(width=4, depth=2), 6, 3),
    "convnet": ConvNet(ConvNetConfig(width=1, hidden=3, activation="tanh"), (1, 24, 24), 3),
    "resnet18": ResNet18(ResNet18Config(width=1), (1, 8, 8), 3),
}
HEADS = {
    "mlp": {"layers.2.weight", "layers.2.bias"},
    "convnet": {"layers.2.weight", "layers.2.bias"},
    "resnet18": {"head.weight", "head.bias"},
}


def draw_at(step: int, seed: int = 11) -> Draw:
    return Draw(torch.tensor(seed), torch.tensor(step), torch.float64)


def trained(network: Any, optimizer: str, config: ResetConfig, steps: int = 5) -> tuple[Learner, Params, State]:
    """A learner and its state after some steps, all of whose momentum is alive."""
    learner = Learner(network, "cross_entropy", OPTIMIZERS[optimizer], {"reset": config})
    numbers = learner.hyper_of(OPTIMIZERS[optimizer][1], {"reset": config})
    hyper = {w: {k: torch.tensor(v, dtype=torch.float64) for k, v in own.items()} for w, own in numbers.items()}
    inputs = math.prod(network.shape) if hasattr(network, "shape") else network.sizes[0]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(steps, 4, inputs, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (steps, 4), generator=generator)
    params = network.init(0)
    result = train(learner, params, learner.init(params), hyper, x, y, torch.tensor(11), 0)
    return learner, result.params, result.state


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("what", "to"), [("head", "initial"), ("head", "zero"), ("all", "initial")])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("forgets", [False, True])
def test_exactly_what_is_asked_for_starts_anew(name: str, what: Any, to: Any, optimizer: str, forgets: bool) -> None:
    network = NETWORKS[name]
    learner, params, state = trained(network, optimizer, ResetConfig(what=what, to=to, optimizer=forgets))
    assert learner.acts_at_tasks
    after, state_after = learner.at_task(params, state, {"reset": {}}, draw_at(5))
    anew = HEADS[name] if what == "head" else set(params)
    assert {key for key in params if not torch.equal(after[key], params[key])} == anew
    assert list(after) == list(params)
    for key in anew:
        found = network.distribution(key)
        if to == "zero":
            assert not after[key].any()
        elif found.kind == "constant":  # batch norm's 1 and 0, and biases
            assert (after[key] == found.scale).all()
        else:
            assert torch.equal(after[key], network.redrawn(key, draw_at(5)))
            assert after[key].shape == params[key].shape and after[key].any()
    for slot, values in state["optimizer"].items():
        for key, held in values.items():
            now = state_after["optimizer"][slot][key]
            assert held.any()
            assert torch.equal(now, torch.zeros_like(held) if forgets and key in anew else held)
    # Batch norm's running statistics stay.
    torch.testing.assert_close(state_after.get("buffers", {}), state.get("buffers", {}), rtol=0, atol=0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_optimizer_alone_starts_anew(optimizer: str) -> None:
    learner, params, state = trained(NETWORKS["mlp"], optimizer, ResetConfig(what="optimizer"))
    after, state_after = learner.at_task(params, state, {"reset": {}}, draw_at(5))
    assert learner.acts_at_tasks and all(torch.equal(after[key], value) for key, value in params.items())
    newborn = learner.init(params)["optimizer"]
    torch.testing.assert_close(state_after["optimizer"], newborn, rtol=0, atol=0)
    assert all(value.any() for slot in state["optimizer"].values() for value in slot.values())


def moments_agree(values: Tensor, variance: float) -> bool:
    """Whether mean and variance are those of many uniform or normal numbers, within 4.5 standard errors."""
    count = values.numel()
    scaled = values.flatten() / math.sqrt(variance)
    return bool(abs(scaled.mean()) < 4.5 / math.sqrt(count)) and bool(
        abs(scaled.square().mean() - 1) < 4.5 * math.sqrt(2 / count)
    )


@pytest.mark.parametrize("initialisation", get_args(Initialisation))
def test_a_redrawn_convnet_has_the_distribution_of_a_first_one(initialisation: Initialisation) -> None:
    network = ConvNet(ConvNetConfig(width=8, hidden=30, initialisation=initialisation), (3, 32, 32), 10)
    first = network.init(3)
    for name, value in first.items():
        drawn = network.redrawn(name, draw_at(40))
        assert drawn.shape == value.shape and drawn.dtype == torch.float64
        found = network.distribution(name)
        if found.kind == "constant":
            assert torch.equal(drawn, value)
        elif found.kind == "orthogonal":
            matrix = drawn.flatten(1)
            gram = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
            torch.testing.assert_close(gram, found.scale**2 * torch.eye(len(gram)).double(), rtol=0, atol=1e-12)
        else:
            assert drawn.abs().max() <= found.scale
            assert moments_agree(drawn, found.scale**2 / 3), name
            if drawn.numel() > 1000:
                assert stats.kstest((drawn / found.scale).flatten().numpy(), "uniform", args=(-1, 2)).pvalue > 0.001


def test_a_redrawn_resnet_has_the_distribution_of_a_first_one() -> None:
    network = NETWORKS["resnet18"]
    wide = ResNet18(ResNet18Config(width=8), (3, 8, 8), 50)
    for name in wide.weights:
        drawn = wide.redrawn(name, draw_at(7))
        fan_in = drawn[0].numel()
        assert moments_agree(drawn, (1 if name == "head.weight" else 2) / fan_in), name
        if drawn.numel() > 1000:
            assert stats.kstest(drawn.flatten().numpy() / drawn.std().item(), "norm").pvalue > 0.001
    for name in network.parameter_shapes():
        if "norm" in name or name.endswith("bias"):
            assert torch.equal(network.redrawn(name, draw_at(7)), network.init(0)[name])


def correlation(a: Tensor, b: Tensor) -> float:
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].abs().item()


@pytest.mark.parametrize(
    "network",
    [ConvNet(ConvNetConfig(width=8, hidden=30), (3, 32, 32), 10), ResNet18(ResNet18Config(width=8), (3, 8, 8), 10)],
    ids=["convnet", "resnet18"],
)
def test_draws_differ_between_steps_seeds_and_parameters_and_from_the_first(network: Network) -> None:
    for name in network.weights:
        drawn = network.redrawn(name, draw_at(40))
        assert torch.equal(drawn, network.redrawn(name, draw_at(40)))
        bound = 5 / math.sqrt(drawn.numel())
        assert correlation(drawn, network.redrawn(name, draw_at(80))) < bound
        assert correlation(drawn, network.redrawn(name, draw_at(40, seed=12))) < bound
        assert correlation(drawn, network.init(11)[name]) < bound
    same = [name for name in network.weights if network.parameter_shapes()[name] == drawn.shape]
    assert len({network.redrawn(name, draw_at(40)).flatten()[0].item() for name in same}) == len(same)


def test_orthogonal_draws_are_not_all_of_one_sign() -> None:
    network = MLP(MLPConfig(width=3, depth=1, initialisation="orthogonal"), 3, 1)
    corners = [network.redrawn("layers.0.weight", draw_at(0, seed))[0, 0] for seed in range(60)]
    assert 15 < sum(corner > 0 for corner in corners) < 45


# ------------------------------------------------------------------------------------------------ in a pack


def kept(reset: dict[str, Any], boundaries: str = "shown", path: str = "looped", **changes: Any) -> dict[str, Params]:
    """Weights after each of three tasks in which nothing is learned, by member and task."""
    base = {
        "workload": {"name": "slowly_changing_regression", "tasks": 3, "period": 20, "task_boundaries": boundaries},
        "network": {"name": "mlp", "width": 4, "depth": 1},
        "optimizer": {"name": "sgd", "step_size": 0.0},
        "methods": {"reset": reset},
        "metrics": ["online_error"],
        "every": 1,
        "probe": 8,
        "dtype": "float64",
        "keep": {"every": 1},
        **changes,
    }
    members = [PackMember(f"seed{seed}", {**base, "seed": seed}) for seed in (3, 4)]
    found: dict[str, Params] = {}
    run_pack(
        Pack(id="p", members=members, path=path),
        lambda snapshot: found.update(
            {
                name: torch.load(io.BytesIO(value), weights_only=True)["params"]
                for name, value in snapshot.weights.items()
            }
        ),
    )
    return found


TASKS = ("task00001", "task00002", "final")


@pytest.mark.parametrize("path", ["looped", "lanes"])
def test_a_pack_resets_as_every_task_but_the_first_begins(path: str) -> None:
    zeroed = kept({"what": "head", "to": "zero"}, path=path)
    assert [bool(zeroed[f"seed3-{task}.pt"]["layers.1.weight"].any()) for task in TASKS] == [True, False, False]
    assert len({zeroed[f"seed3-{task}.pt"]["layers.0.weight"].sum().item() for task in TASKS}) == 1

    drawn = kept({"what": "all"}, path=path)
    network = MLP(MLPConfig(width=4, depth=1), 20, 1)
    for seed in (3, 4):
        first, second, third = (drawn[f"seed{seed}-{task}.pt"] for task in TASKS)
        for name, value in first.items():
            assert torch.equal(value, network.init(seed)[name])
            assert torch.equal(second[name], network.redrawn(name, draw_at(20, seed)))
            assert torch.equal(third[name], network.redrawn(name, draw_at(40, seed)))
        assert not torch.equal(second["layers.0.weight"], third["layers.0.weight"])
    assert not torch.equal(*(drawn[f"seed{seed}-final.pt"]["layers.0.weight"] for seed in (3, 4)))


def test_nothing_is_reset_where_tasks_are_hidden() -> None:
    hidden = kept({"what": "all"}, boundaries="hidden")
    assert len({hidden[f"seed3-{task}.pt"]["layers.0.weight"].sum().item() for task in TASKS}) == 1


def test_arms_of_one_seed_are_given_the_same_networks() -> None:
    one = kept({"what": "all"}, methods={"reset": {"what": "all"}, "l2": {"strength": 0.1}})
    adam = kept({"what": "all"}, optimizer={"name": "adam", "step_size": 0.0})
    for name, params in one.items():
        assert all(torch.equal(adam[name][key], value) for key, value in params.items())


# ------------------------------------------------------------------------------------------------ what it is told


def test_it_needs_to_be_shown_the_tasks() -> None:
    assert METHODS["reset"].needs(ResetConfig()) == {"task_boundaries"}


def test_a_network_of_zeros_is_refused() -> None:
    with pytest.raises(ValueError, match="a network of zeros cannot learn"):
        ResetConfig(what="all", to="zero")
    with pytest.raises(ValueError, match="what: optimizer resets no weights"):
        ResetConfig(what="optimizer", to="zero")
    for field in ({"what": "body"}, {"to": "one"}):
        with pytest.raises(ValidationError, match=next(iter(field))):
            TypeAdapter(ResetConfig).validate_python(field)
