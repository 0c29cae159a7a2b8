"""Continual backprop of channels: a naive learner for convnet and ResNet, and one replacement from all sides.

The naive learner takes gradients and steps from a learner without the method, and generates and tests by numpy and
loops over units, written from the published description; it shares only the random draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from watched import Watched

from workloads.engine.plain import train
from workloads.learner import Learner
from workloads.methods.base import Params, Seen, State
from workloads.methods.config import AdamConfig, ContinualBackpropConfig, SGDConfig
from workloads.methods.continual_backprop import ContinualBackprop
from workloads.networks.base import Network
from workloads.networks.config import ConvNetConfig, MLPConfig, ResNet18Config
from workloads.networks.convnet import ConvNet
from workloads.networks.mlp import MLP
from workloads.networks.resnet import ResNet18
from workloads.random import Draw

Array = NDArray[np.float64]
Event = tuple[int, str, int]  # step, layer, unit
SEED = 5
NAME = "continual_backprop"
MOMENTUM = ("sgd", SGDConfig(step_size=0.01, momentum=0.9))
ADAM = ("adam", AdamConfig(step_size=0.003))
CONVNET = ConvNet(ConvNetConfig(width=2, hidden=5), (3, 32, 32), 3)  # the last picture is 8 x 2 x 2
SMOOTH = ConvNet(ConvNetConfig(width=2, hidden=5, activation="tanh"), (3, 32, 32), 3)  # no unit of it is dead
RESNET = ResNet18(ResNet18Config(width=2), (3, 8, 8), 3)

# Layer, then the next one: written out, so that an order or a consumer that is wrong shows.
CONVNET_CHAIN = ["convs.0", "convs.1", "convs.2", "layers.0", "layers.1", "layers.2"]
RESNET_CHAIN = [
    *("stem", "blocks.0.conv1", "blocks.0.conv2", "blocks.1.conv1", "blocks.1.conv2", "blocks.2.conv1"),
    *("blocks.2.conv2", "blocks.3.conv1", "blocks.3.conv2", "blocks.4.conv1", "blocks.4.conv2", "blocks.5.conv1"),
    *("blocks.5.conv2", "blocks.6.conv1", "blocks.6.conv2", "blocks.7.conv1", "blocks.7.conv2", "head"),
]


def f64(value: Any) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def draw_at(step: int) -> Draw:
    return Draw(torch.tensor(SEED), torch.tensor(step), torch.float64)


def hyper_of(learner: Learner, optimizer: Any, methods: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    numbers = learner.hyper_of(optimizer, methods)
    return {who: {name: f64(v) for name, v in own.items()} for who, own in numbers.items()}


def rates(config: ContinualBackpropConfig) -> dict[str, Tensor]:
    return {k: f64(float(getattr(config, k))) for k in ("replacement_rate", "maturity_threshold")}


def examples(network: ConvNet | ResNet18, steps: int, batch: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(steps, batch, math.prod(network.shape), generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 3, (steps, batch), generator=generator)


# ------------------------------------------------------------------------------------------------ the oracle


@dataclass
class Naive:
    """Generate-and-test after every step of `learner`, which has no method of its own."""

    config: ContinualBackpropConfig
    learner: Learner
    chain: list[str]
    params: Params
    state: State
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        sizes = {name: len(self.params[f"{name}.weight"]) for name in self.chain[:-1]}
        self.age = {name: [0] * n for name, n in sizes.items()}
        self.utility = {name: [0.0] * n for name, n in sizes.items()}
        self.mean = {name: [0.0] * n for name, n in sizes.items()}
        self.counter = dict.fromkeys(sizes, 0.0)

    def train(self, x: Tensor, y: Tensor, hyper: Any) -> None:
        for step in range(len(x)):
            seen = self.learner.gradients(self.params, self.state, hyper, x[step], y[step], acting=())
            hidden = seen.activations
            self.params, self.state, _ = self.learner.step(
                self.params, self.state, hyper, x[step], y[step], draw_at(step), acting=()
            )
            # Arrays that share the tensors' memory, so that what is written below is what the next step trains.
            chosen = [(k, self.chosen(k, hidden[self.chain[k]].numpy(), step)) for k in range(len(self.chain) - 1)]
            for k, units in chosen:
                for unit, centre in units:
                    self.replace(k, unit, centre, step)

    def array(self, name: str) -> Array:
        return self.params[name].numpy()

    def leaving(self, k: int, unit: int) -> Array:
        """A view of all that leaves a unit: its channel of a kernel, or its columns of a matrix."""
        weight = self.array(f"{self.chain[k + 1]}.weight")
        each = weight.shape[1] // len(self.age[self.chain[k]])
        return weight[:, unit * each : (unit + 1) * each]

    def chosen(self, k: int, h: Array, step: int) -> list[tuple[int, float]]:
        """The units of a layer to replace, each with its bias-corrected mean activation."""
        name, eta = self.chain[k], self.config.utility_decay
        summed = self.config.magnitudes == "summed"
        scores, centres = [], []
        for i in range(h.shape[1]):
            self.age[name][i] += 1
            own = [float(v) for v in h[:, i].flatten()]
            size = sum(abs(v) for v in own) / len(own)
            into = [abs(float(w)) for w in self.array(f"{name}.weight")[i].flatten()]
            out = [abs(float(w)) for w in self.leaving(k, i).flatten()]
            into, out = sum(into) / len(into), sum(out) / len(out)
            correction = 1 - eta ** self.age[name][i]
            self.mean[name][i] = eta * self.mean[name][i] + (1 - eta) * sum(own) / len(own)
            centre = self.mean[name][i] / correction
            if summed:
                self.utility[name][i] += (1 - eta) * size
                scores.append(out * (self.utility[name][i] if self.config.utility == "contribution" else 1))
            else:
                spread = sum(abs(v - centre) for v in own) / len(own)
                contribution, zero_contribution = out * size, out * spread
                if name == "convs.2":  # each place of the picture with the matrix's column for it
                    contribution, zero_contribution = self.over_columns(k, i, h[:, i], centre)
                y = {
                    "weight": out,
                    "contribution": contribution,
                    "zero_contribution": zero_contribution,
                    "adaptable_contribution": zero_contribution / into,
                }[self.config.utility]
                self.utility[name][i] = eta * self.utility[name][i] + (1 - eta) * y
                scores.append(self.utility[name][i] / correction)
            centres.append(centre)
        old = [i for i in range(h.shape[1]) if self.age[name][i] > self.config.maturity_threshold]
        if not old:
            return []
        self.counter[name] += self.config.replacement_rate * (h.shape[1] if self.config.share_of == "all" else len(old))
        count = min(int(self.counter[name]), len(old))
        self.counter[name] -= count
        return [(i, centres[i]) for i in sorted(old, key=lambda i: (scores[i], i))[:count]]

    def over_columns(self, k: int, unit: int, h: Array, centre: float) -> tuple[float, float]:
        """Means over a channel's columns of |w| |h| and of |w| |h - centre|; h (B, height, width)."""
        matrix, flat = self.array(f"{self.chain[k + 1]}.weight"), h.reshape(len(h), -1)
        places = flat.shape[1]
        total, centred = 0.0, 0.0
        for place in range(places):
            column = [abs(float(w)) for w in matrix[:, unit * places + place]]
            weight = sum(column) / len(column)
            total += weight * sum(abs(float(v)) for v in flat[:, place]) / len(flat)
            centred += weight * sum(abs(float(v) - centre) for v in flat[:, place]) / len(flat)
        return total / places, centred / places

    def replace(self, k: int, unit: int, centre: float, step: int) -> None:
        name, following = self.chain[k], self.chain[k + 1]
        self.events.append((step, name, unit))
        if self.config.bias_transfer:
            self.array(f"{following}.bias")[:] += centre * self.leaving(k, unit).reshape(
                len(self.array(f"{following}.bias")), -1
            ).sum(1)
        row = self.array(f"{name}.weight")[unit]
        if name in RESNET_CHAIN and self.config.fresh_kernels == "initial":
            fresh = math.sqrt(2 / row.size) * draw_at(step).normal(f"reinit/{name}", row.size, offset=unit)
        else:
            uniform = draw_at(step).uniform(f"reinit/{name}", row.size, offset=unit)
            fresh = math.sqrt(1 / row.size) * (2 * uniform - 1)
        row[...] = fresh.numpy().reshape(row.shape)
        self.array(f"{name}.bias")[unit] = 0
        self.leaving(k, unit)[...] = 0
        self.age[name][unit], self.mean[name][unit] = 0, 0.0
        if self.config.magnitudes != "summed":
            self.utility[name][unit] = 0.0
        if f"{name}_norm.weight" in self.params:
            self.array(f"{name}_norm.weight")[unit] = 1
            self.array(f"{name}_norm.bias")[unit] = 0
            self.state["buffers"][f"{name}_norm.running_mean"].numpy()[unit] = 0
            self.state["buffers"][f"{name}_norm.running_var"].numpy()[unit] = 1
        if self.config.reset_optimizer is True or (
            self.config.reset_optimizer == "adam" and "square" in self.state["optimizer"]
        ):
            for values in self.state["optimizer"].values():
                own = {key: value.numpy() for key, value in values.items()}
                own[f"{name}.weight"][unit] = 0
                own[f"{name}.bias"][unit] = 0
                if f"{name}_norm.weight" in own:
                    own[f"{name}_norm.weight"][unit] = 0
                    own[f"{name}_norm.bias"][unit] = 0
                weight = own[f"{following}.weight"]
                each = weight.shape[1] // len(self.age[name])
                weight[:, unit * each : (unit + 1) * each] = 0


class Named(Watched):
    """Layers by their names."""

    def called(self, place: int) -> str:
        return self.network.sites[place].name


def agree(config: ContinualBackpropConfig, network: Any, chain: list[str], optimizer: Any, steps: int) -> list[Event]:
    """Both learners take the same steps, replace the same units and end with the same numbers."""
    x, y = examples(network, steps)
    learner = Named(network, "cross_entropy", optimizer, {NAME: config})
    params = network.init(SEED)
    hyper = hyper_of(learner, optimizer[1], {NAME: config})
    state = learner.init(params)
    result = train(learner, params, state, hyper, x, y, torch.tensor(SEED), 0)

    plain = Learner(network, "cross_entropy", optimizer, {})
    start = network.init(SEED)
    # Elementwise step counts, as where units may be reset.
    own = {**plain.init(start), "optimizer": plain.optimizer.init(start, per_element=True)}
    naive = Naive(config, plain, chain, start, own)
    naive.train(x, y, hyper)

    assert learner.events == naive.events
    for name, value in result.params.items():
        torch.testing.assert_close(value, naive.params[name], rtol=1e-8, atol=1e-10, msg=name)
    for kind in ("optimizer", "buffers"):
        ours, theirs = result.state.get(kind, {}), naive.state.get(kind, {})
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-10)
    for name in chain[:-1]:
        held = result.state[NAME]
        assert held["age"][name].tolist() == naive.age[name]
        for key, theirs in (("utility", naive.utility), ("mean", naive.mean)):
            np.testing.assert_allclose(held[key][name].numpy(), theirs[name], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(result.state[NAME]["counter"].numpy(), list(naive.counter.values()), atol=1e-12)
    assert not result.state[NAME]["due"].any()
    return learner.events


CONVNET_CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "official_conv": ({"preset": "official_conv", "utility": "contribution"}, MOMENTUM),
    "official_conv-adam": ({"preset": "official_conv"}, ADAM),
    "adaptable": ({"preset": "official_conv", "reset_optimizer": True}, MOMENTUM),
    "paper": ({"preset": "paper"}, ADAM),
    "instantaneous": ({"preset": "paper", "utility": "zero_contribution", "utility_decay": 0.0}, MOMENTUM),
    "weight": ({"preset": "official_conv", "utility": "weight", "replacement_rate": 0.6}, MOMENTUM),
    "summed": ({"preset": "official_conv", "utility": "contribution", "magnitudes": "summed"}, MOMENTUM),
}


@pytest.mark.parametrize("case", CONVNET_CASES)
def test_a_convnet_loses_the_same_units_as_the_naive_learner(case: str) -> None:
    settings, optimizer = CONVNET_CASES[case]
    settings = {"replacement_rate": 0.06, "maturity_threshold": 4, "utility_decay": 0.9, **settings}
    events = agree(ContinualBackpropConfig(**settings), CONVNET, CONVNET_CHAIN, optimizer, 30)
    assert {name for _, name, _ in events} == set(CONVNET_CHAIN[:-1])


RESNET_CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "official_resnet": ({"preset": "official_resnet", "utility": "contribution"}, MOMENTUM),
    "official_resnet-weight": ({"preset": "official_resnet", "utility": "weight", "reset_optimizer": True}, MOMENTUM),
    "decaying": ({"preset": "official_conv", "utility": "contribution"}, MOMENTUM),
    # Not Adam: a bias before batch norm has no gradient but rounding, which Adam makes as large as any.
    "paper": ({"preset": "paper"}, MOMENTUM),
}


@pytest.mark.parametrize("case", RESNET_CASES)
def test_a_resnet_loses_the_same_units_as_the_naive_learner(case: str) -> None:
    settings, optimizer = RESNET_CASES[case]
    settings = {"replacement_rate": 0.12, "maturity_threshold": 3, "utility_decay": 0.9, **settings}
    # Few steps: batch norm of channels that have just lost their inputs enlarges rounding tenfold in each.
    events = agree(ContinualBackpropConfig(**settings), RESNET, RESNET_CHAIN, optimizer, 9)
    assert {name for _, name, _ in events} == set(RESNET_CHAIN[:-1])


# ------------------------------------------------------------------------------------------------ utility by hand


def still(network: Network, hidden: dict[str, Tensor], **fields: Any) -> tuple[ContinualBackprop, Params, State]:
    """One step's utilities of a network at rest whose activations are 0 but for those in `hidden`."""
    config = ContinualBackpropConfig(maturity_threshold=0, **fields)
    method = ContinualBackprop(config, network)
    params = network.init(0)
    x = torch.zeros(1, math.prod(network.shape)).double()  # type: ignore[attr-defined]
    given = {name: hidden.get(name, torch.zeros_like(h)) for name, h in network.apply(params, x)[1]}
    seen = Seen(grads={}, activations=given)
    state = method.init(params, per_element=True)
    return method, params, method.after_step(params, state, rates(config), seen, draw_at(0))[1]


def test_a_channels_utility_by_hand() -> None:
    """Channel 0: mean |h| over 2 examples and 2 places is (1 + 3 + 0 + 4) / 4 = 2, channel 1's is 1.

    Of kernels into the next layer: mean |w| over out, height and width. Into a matrix each of a channel's 4 columns
    counts with its own place: the mean over columns of mean |w| x |h - f|.
    """
    h = f64([[[[1.0, -3.0]], [[1.0, 1.0]]], [[[0.0, 4.0]], [[1.0, -1.0]]]])  # (2, 2, 1, 2)
    _, params, state = still(CONVNET, {"convs.0": h}, utility="contribution", utility_decay=0.0)
    kernel = params["convs.1.weight"]  # (4, 2, 3, 3)
    expected = [2 * kernel[:, 0].abs().sum().item() / 36, kernel[:, 1].abs().sum().item() / 36]
    assert state["utility"]["convs.0"].tolist() == pytest.approx(expected)

    h = torch.zeros(1, 8, 2, 2).double()
    h[0, 5] = f64([[1.0, 2.0], [3.0, 6.0]])  # mean 3, deviations 2, 1, 0, 3
    _, params, state = still(CONVNET, {"convs.2": h}, utility="adaptable_contribution", utility_decay=0.0)
    out = [params["layers.0.weight"][:, column].abs().sum().item() / 5 for column in (20, 21, 22, 23)]
    into = params["convs.2.weight"][5].abs().sum().item() / 36
    contribution = (2 * out[0] + 1 * out[1] + 0 * out[2] + 3 * out[3]) / 4
    assert state["utility"]["convs.2"][5].item() == pytest.approx(contribution / into)
    assert state["mean"]["convs.2"].tolist() == [0, 0, 0, 0, 0, 3, 0, 0]


def test_a_channel_that_is_active_only_where_nothing_leaves_it_is_of_no_use() -> None:
    """Its mean |h| and its mean |w_out| are large; their product place by place is 0."""
    h = torch.ones(1, 8, 2, 2).double()
    h[0, 5] = f64([[40.0, 0.0], [0.0, 0.0]])
    config = ContinualBackpropConfig(preset="official_conv", utility="contribution", utility_decay=0.0)
    method, params = ContinualBackprop(config, CONVNET), CONVNET.init(0)
    params["layers.0.weight"][:, 20] = 0
    site = CONVNET.sites[2]
    utility = method.utility_now(params, site, h, torch.zeros(8).double())
    assert utility.argmin() == 5 and utility[5] == 0


def test_fresh_kernels_are_drawn_as_the_layer_or_in_torchs_default_bound() -> None:
    """Kaiming's bound for relu is sqrt(6) times the default one; the linear layers keep theirs under either."""
    network = ConvNet(ConvNetConfig(width=2, hidden=5, initialisation="kaiming"), (3, 32, 32), 3)
    params = network.init(0)
    for fields, ratio in (
        ({"preset": "official_conv"}, 1.0),
        ({"preset": "official_conv", "fresh_kernels": "initial"}, math.sqrt(6)),
        ({"preset": "paper"}, math.sqrt(6)),
        ({"preset": "paper", "fresh_kernels": "default"}, 1.0),
    ):
        method = ContinualBackprop(ContinualBackpropConfig(maturity_threshold=0, **fields), network)  # type: ignore[arg-type]
        for place, expected in ((1, ratio), (3, math.sqrt(6))):
            site = network.sites[place]
            state = method.init(params, per_element=True)
            state["age"][site.name] += 1
            after, _, _ = method.repair(params, state, {}, rates(method.config), place, draw_at(0))
            fresh = after[site.weight][after[site.weight].flatten(1).ne(params[site.weight].flatten(1)).any(1)]
            uniform = draw_at(0).uniform(f"reinit/{site.name}", site.fan_in, offset=0)
            own = expected * math.sqrt(1 / site.fan_in) * (2 * uniform - 1)
            torch.testing.assert_close(fresh.flatten(), own, rtol=1e-12, atol=0)


def test_published_magnitudes_are_sums_over_the_whole_run_and_survive_a_replacement() -> None:
    """|h| = 2, then 4, at decay 0.75: 0.25 x (2 + 4) = 1.5 summed, 0.75 x 0.25 x 2 + 0.25 x 4 = 1.375 decaying."""
    network = MLP(MLPConfig(width=2, depth=1), 2, 1)
    params = {**network.init(0), "layers.1.weight": f64([[1.0, 2.0]])}
    for magnitudes, first, last in (("summed", 1.5, 1.5), ("decaying", 1.375, 0.0)):
        config = ContinualBackpropConfig(
            preset="official_conv",
            utility="contribution",
            utility_decay=0.75,
            maturity_threshold=0,
            magnitudes=magnitudes,  # type: ignore[arg-type]
        )
        method = ContinualBackprop(config, network)
        state = method.init(params, per_element=True)
        for value in (2.0, -4.0):
            seen = Seen(grads={}, activations={"layers.0": torch.full((3, 2), value).double()})
            _, state = method.after_step(params, state, rates(config), seen, draw_at(0))
        assert state["utility"]["layers.0"][0].item() == pytest.approx(first)
        _, state, _ = method.repair(params, state, {}, rates(config), 0, draw_at(0))
        assert state["age"]["layers.0"].tolist() == [0, 2]  # unit 0, whose outgoing weight is less
        assert state["utility"]["layers.0"][0].item() == pytest.approx(last)


def test_published_utility_is_that_of_the_outgoing_weights_at_replacement() -> None:
    """Magnitudes 1 and 3 and outgoing weights 4 and 2: contribution 4 and 6; by weight alone 4 and 2."""
    network = MLP(MLPConfig(width=2, depth=1), 2, 1)
    for utility, least in (("contribution", 0), ("weight", 1)):
        config = ContinualBackpropConfig(preset="official_resnet", utility=utility, maturity_threshold=0)
        method = ContinualBackprop(config, network)
        params = {**network.init(0), "layers.1.weight": f64([[9.0, -9.0]])}
        seen = Seen(grads={}, activations={"layers.0": f64([[1.0, -3.0]])})
        _, state = method.after_step(params, method.init(params, per_element=True), rates(config), seen, draw_at(0))
        params["layers.1.weight"] = f64([[4.0, -2.0]])
        _, state, _ = method.repair(params, state, {}, rates(config), 0, draw_at(0))
        assert state["age"]["layers.0"][least] == 0 and state["age"]["layers.0"].sum() == 1


# ------------------------------------------------------------------------------------------------ how many


def test_a_share_of_all_units_accumulates_whoever_is_old_enough_and_the_rest_waits() -> None:
    """8 units at 5/16: 2.5 of a unit per step while any is older than 3 steps; ages start again at a replacement."""
    config = ContinualBackpropConfig(preset="official_conv", replacement_rate=0.3125, maturity_threshold=3)
    network = MLP(MLPConfig(width=8, depth=1), 2, 1)
    method = ContinualBackprop(config, network)
    params = network.init(0)
    seen = Seen(grads={}, activations={"layers.0": torch.ones(1, 8).double()})
    state = method.init(params, per_element=True)
    due, counter, mature = [], [], []
    for step in range(9):
        params, state = method.after_step(params, state, rates(config), seen, draw_at(step))
        mature.append(int((state["age"]["layers.0"] > 3).sum()))
        due.append(state["due"].item())
        counter.append(state["counter"].item())
        for _ in range(due[-1]):
            params, state, _ = method.repair(params, state, {}, rates(config), 0, draw_at(step))
    assert mature == [0, 0, 0, 8, 6, 3, 1, 2, 3]
    assert due == [0, 0, 0, 2, 3, 2, 1, 2, 3]
    assert counter == [0, 0, 0, 0.5, 0, 0.5, 2.0, 2.5, 2.0]


def test_shares_of_eligible_and_of_all() -> None:
    """8 units of which 2 are old enough, rate 1/4: half a unit, or two."""
    network = MLP(MLPConfig(width=8, depth=1), 2, 1)
    params = network.init(0)
    for share, due in (("eligible", 0), ("all", 2)):
        config = ContinualBackpropConfig(
            preset="paper",
            share_of=share,
            replacement_rate=0.25,
            maturity_threshold=5,  # type: ignore[arg-type]
        )
        method = ContinualBackprop(config, network)
        state = method.init(params, per_element=True)
        state["age"] = {"layers.0": f64([9.0, 9, 0, 0, 0, 0, 0, 0])}
        seen = Seen(grads={}, activations={"layers.0": torch.ones(1, 8).double()})
        assert method.after_step(params, state, rates(config), seen, draw_at(0))[1]["due"].item() == due


def test_a_share_of_all_by_chance_is_never_more_than_are_old_enough() -> None:
    config = ContinualBackpropConfig(preset="official", share_of="all", replacement_rate=0.5, maturity_threshold=5)
    network = MLP(MLPConfig(width=8, depth=1), 2, 1)
    method = ContinualBackprop(config, network)
    params = network.init(0)
    state = method.init(params, per_element=True)
    state["age"] = {"layers.0": f64([9.0, 9, 9, 0, 0, 0, 0, 0])}
    seen = Seen(grads={}, activations={"layers.0": torch.ones(1, 8).double()})
    assert method.after_step(params, state, rates(config), seen, draw_at(0))[1]["due"].item() == 3


# ------------------------------------------------------------------------------------------------ one replacement


def mature(network: Any, optimizer: Any, **fields: Any) -> tuple[Watched, Params, State, dict[str, Any]]:
    """A learner trained without replacement until every unit may be replaced, and its hyperparameters."""
    config = ContinualBackpropConfig(maturity_threshold=5, **fields)
    learner = Named(network, "cross_entropy", optimizer, {NAME: config})
    hyper = hyper_of(learner, optimizer[1], {NAME: config})
    params = network.init(SEED)
    x, y = examples(network, 8)
    rested = {**hyper, NAME: {**hyper[NAME], "replacement_rate": f64(0.0)}}
    result = train(learner, params, learner.init(params), rested, x, y, torch.tensor(SEED), 0)
    return learner, result.params, result.state, hyper


def columns(name: str, weight: Tensor, units: int, unit: int) -> Tensor:
    """Mask of all that leaves one unit, in the next layer's weights."""
    mask = torch.zeros_like(weight, dtype=torch.bool)
    if name == "convs.2":
        assert weight.shape[1] == 4 * units
        mask[:, [4 * unit, 4 * unit + 1, 4 * unit + 2, 4 * unit + 3]] = True
    else:
        assert weight.shape[1] == units
        mask[:, unit] = True
    return mask


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("bias_transfer", [False, True])
def test_only_a_channels_contribution_leaves_a_convnets_function(place: int, bias_transfer: bool) -> None:
    """What the next layer receives is what it would with the unit at 0, or at its mean where that is moved."""
    fields = {"preset": "official_conv", "bias_transfer": bias_transfer}
    learner, params, state, hyper = mature(SMOOTH, MOMENTUM, **fields)
    name, following = CONVNET_CHAIN[place : place + 2]
    after, state_after = learner.repair(params, state, hyper, draw_at(8), method=NAME, place=place)
    ((_, layer, unit),) = learner.events
    assert layer == name
    x = examples(SMOOTH, 1, 6)[0][0]
    before, own = (dict(SMOOTH.apply(p, x)[1]) for p in (params, after))
    others = [i for i in range(before[name].shape[1]) if i != unit]
    assert torch.equal(own[name][:, others], before[name][:, others])

    def received(params: Params, hidden: Tensor) -> Tensor:
        weight, bias = params[f"{following}.weight"], params[f"{following}.bias"]
        if weight.ndim == 4:
            return functional.conv2d(hidden, weight, bias)
        return functional.linear(hidden.flatten(1), weight, bias)

    centre = state[NAME]["mean"][name][unit] / (1 - 0.99**8)
    removed = before[name].clone()
    removed[:, unit] = centre if bias_transfer else 0
    torch.testing.assert_close(received(after, own[name]), received(params, removed), rtol=1e-11, atol=1e-12)
    assert not torch.allclose(received(params, removed), received(params, before[name]))  # there was something to lose

    weight = params[f"{following}.weight"]
    gone = columns(name, weight, before[name].shape[1], unit)
    assert (after[f"{following}.weight"][gone] == 0).all()
    assert torch.equal(after[f"{following}.weight"][~gone], weight[~gone])
    fresh = after[f"{name}.weight"][unit]
    assert fresh.abs().max() <= math.sqrt(1 / fresh.numel()) and len(set(fresh.flatten().tolist())) == fresh.numel()
    assert after[f"{name}.bias"][unit] == 0
    assert torch.equal(after[f"{name}.weight"][others], params[f"{name}.weight"][others])
    assert torch.equal(after[f"{name}.bias"][others], params[f"{name}.bias"][others])
    changed = {f"{name}.weight", f"{name}.bias", f"{following}.weight", *([f"{following}.bias"] * bias_transfer)}
    assert {n for n, value in after.items() if not torch.equal(value, params[n])} == changed
    for key in ("age", "utility", "mean"):
        assert state_after[NAME][key][name][unit] == 0
        assert torch.equal(state_after[NAME][key][name][others], state[NAME][key][name][others])


@pytest.mark.parametrize("optimizer", [MOMENTUM, ADAM], ids=["momentum", "adam"])
@pytest.mark.parametrize("place", range(5))
def test_the_optimizers_state_of_exactly_a_channels_weights_is_zeroed(place: int, optimizer: Any) -> None:
    learner, params, state, hyper = mature(SMOOTH, optimizer, preset="official_conv", reset_optimizer=True)
    name, following = CONVNET_CHAIN[place : place + 2]
    _, after = learner.repair(params, state, hyper, draw_at(8), method=NAME, place=place)
    ((_, _, unit),) = learner.events
    for slot, values in state["optimizer"].items():
        for key, held in values.items():
            touched = torch.zeros_like(held, dtype=torch.bool)
            if key in (f"{name}.weight", f"{name}.bias"):
                touched[unit] = True
            if key == f"{following}.weight":
                touched = columns(name, held, len(params[f"{name}.weight"]), unit)
            assert (after["optimizer"][slot][key][touched] == 0).all()
            assert torch.equal(after["optimizer"][slot][key][~touched], held[~touched])
            assert held[touched].any() or not touched.any()

    kept, params, state, hyper = mature(SMOOTH, optimizer, preset="official_conv", reset_optimizer=False)
    _, after = kept.repair(params, state, hyper, draw_at(8), method=NAME, place=place)
    assert kept.events == learner.events
    for slot, values in state["optimizer"].items():
        assert all(torch.equal(after["optimizer"][slot][key], held) for key, held in values.items())


@pytest.mark.parametrize("place", range(17))
def test_a_replaced_channel_of_a_resnet_starts_with_a_new_batch_norm(place: int) -> None:
    learner, params, state, hyper = mature(RESNET, MOMENTUM, preset="official_resnet", utility="contribution")
    name, following = RESNET_CHAIN[place : place + 2]
    after, state_after = learner.repair(params, state, hyper, draw_at(8), method=NAME, place=place)
    ((_, layer, unit),) = learner.events
    assert layer == name
    norm = f"{name}_norm"
    buffers, buffers_after = state["buffers"], state_after["buffers"]
    assert list(buffers_after) == list(buffers)
    for held, now, kind, value in (
        (params, after, "weight", 1.0),
        (params, after, "bias", 0.0),
        (buffers, buffers_after, "running_mean", 0.0),
        (buffers, buffers_after, "running_var", 1.0),
    ):
        key = f"{norm}.{kind}"
        others = torch.arange(len(held[key])) != unit
        assert now[key][unit] == value and held[key][unit] != value
        assert torch.equal(now[key][others], held[key][others])
        momentum = state_after["optimizer"]["momentum"].get(key)
        assert momentum is None or (momentum[unit] != 0 and (momentum[others] != 0).any())  # the released code's stays
    assert (after[f"{following}.weight"][:, unit] == 0).all()
    # Nothing else is touched: no path that skips, no bias or batch norm of the next layer.
    touched = {f"{name}.weight", f"{name}.bias", f"{norm}.weight", f"{norm}.bias", f"{following}.weight"}
    assert {n for n in after if not torch.equal(after[n], params[n])} <= touched
    assert {n for n in buffers if not torch.equal(buffers[n], buffers_after[n])} == {
        f"{norm}.running_mean",
        f"{norm}.running_var",
    }
    # The published sum of magnitudes goes on over the newborn.
    assert torch.equal(state_after[NAME]["utility"][name], state[NAME]["utility"][name])
    assert state_after[NAME]["age"][name][unit] == 0 and state_after[NAME]["mean"][name][unit] == 0


def test_fresh_kernels_of_a_resnet_are_normal() -> None:
    """200 seeds of a 16-channel layer's 144 weights: standard deviation sqrt(2 / 144)."""
    site = RESNET.sites[-1]
    scale = math.sqrt(2 / 144)

    def row(seed: Tensor) -> Tensor:
        return RESNET.fresh_incoming(site, Draw(seed, torch.tensor(3), torch.float64), torch.tensor(2)) / scale

    rows = torch.func.vmap(row)(torch.arange(200))
    assert rows.shape == (200, 144)
    assert abs(rows.mean()) < 4 / math.sqrt(rows.numel())
    assert abs(rows.var() - 1) < 4 * math.sqrt(2 / rows.numel())
    assert rows.abs().max() > 3.5


def test_channels_of_one_step_get_different_kernels() -> None:
    draw = draw_at(4)
    rows = [RESNET.fresh_incoming(RESNET.sites[3], draw, torch.tensor(unit)) for unit in range(2)]
    rows += [CONVNET.fresh_incoming(CONVNET.sites[0], draw, torch.tensor(unit)) for unit in range(2)]
    assert len(set(torch.cat(rows).tolist())) == sum(map(len, rows))


# ------------------------------------------------------------------------------------------------ what it is told


@pytest.mark.parametrize(("optimizer", "slot", "zeroed"), [(MOMENTUM, "momentum", False), (ADAM, "mean", True)])
def test_published_codes_forget_adams_moments_of_a_replaced_unit_and_leave_sgds_momentum(
    optimizer: Any, slot: str, zeroed: bool
) -> None:
    for preset, forgets in (("official", zeroed), ("official_conv", zeroed), ("paper", True)):
        learner, params, state, hyper = mature(SMOOTH, optimizer, preset=preset)
        _, after = learner.repair(params, state, hyper, draw_at(8), method=NAME, place=3)
        ((_, _, unit),) = learner.events
        held, now = (values["optimizer"][slot]["layers.0.weight"][unit] for values in (state, after))
        assert held.any() and now.any() != forgets


def test_presets_fill_in_what_the_released_codes_decide() -> None:
    found = {
        preset: ContinualBackpropConfig(preset=preset, utility="contribution")  # type: ignore[arg-type]
        for preset in ("official", "paper", "official_conv", "official_resnet")
    }
    assert {name: (c.replacement, c.bias_transfer, c.share_of, c.magnitudes) for name, c in found.items()} == {
        "official": ("stochastic", False, "eligible", "decaying"),
        "paper": ("accumulate", True, "eligible", "decaying"),
        "official_conv": ("accumulate", False, "all", "decaying"),
        "official_resnet": ("accumulate", False, "all", "summed"),
    }
    assert {name: (c.reset_optimizer, c.fresh_kernels) for name, c in found.items()} == {
        "official": ("adam", "initial"),
        "paper": (True, "initial"),
        "official_conv": ("adam", "default"),
        "official_resnet": (False, "initial"),
    }
    mixed = ContinualBackpropConfig(preset="official_resnet", magnitudes="decaying", share_of="eligible")
    assert (mixed.replacement, mixed.share_of, mixed.magnitudes) == ("accumulate", "eligible", "decaying")


@pytest.mark.parametrize("utility", ["adaptable_contribution", "zero_contribution", "adaptation", "random"])
def test_summed_magnitudes_know_two_utilities(utility: str) -> None:
    for fields in ({"preset": "official_resnet"}, {"magnitudes": "summed"}):
        with pytest.raises(ValueError, match="magnitudes: summed, as released, knows the utilities contribution and"):
            ContinualBackpropConfig(utility=utility, **fields)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="contribution and weight alone"):
        ContinualBackpropConfig(preset="official_resnet")  # whose default utility is another
