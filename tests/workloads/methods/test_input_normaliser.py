"""The running input normaliser: by hand, beside explicitly weighted sums, and that looking moves no statistic."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from workloads.errors import InputError
from workloads.methods.base import State
from workloads.methods.config import InputNormaliserConfig
from workloads.methods.input_normaliser import InputNormaliser
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.training import probes
from workloads.training.held_out import HeldOut
from workloads.training.loop import Training
from workloads.training.pack import Pack, PackMember

NETWORK = MLP(MLPConfig(width=3, depth=1), 2, 1)
METHOD = InputNormaliser(InputNormaliserConfig(), NETWORK)


def f64(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def after(batches: Any, decay: float) -> State:
    state = METHOD.init(NETWORK.init(0), per_element=False)
    for batch in batches:
        state = METHOD.observed(f64(batch), state, {"decay": f64(decay)})
    return state


def test_two_steps_by_hand() -> None:
    """Of x = 4, then 1: decay 1/2 and 2/3 (below .99). Mean 2, then 5/3; variance 1/2 + 4 = 4.5, then 3 + 2/9."""
    first = after([[[4.0, 0.0]]], 0.99)
    assert first["mean"].tolist() == [2, 0] and first["variance"].tolist() == [4.5, 0.5]
    assert METHOD.inputs(f64([[4.0, 0.0]]), first, {})[0, 0].item() == pytest.approx(2 / 4.5**0.5, rel=1e-8)
    second = after([[[4.0, 0.0]], [[1.0, 0.0]]], 0.99)
    assert second["mean"][0].item() == pytest.approx(5 / 3)
    assert second["variance"][0].item() == pytest.approx(2 / 3 * 4.5 + 1 / 3 * (1 - 2) * (1 - 5 / 3))


@pytest.mark.parametrize("size", [1, 4])
def test_statistics_are_the_moments_of_weighted_examples(size: int) -> None:
    """A distribution with its weights written out: d of it stays, 1 - d is the batch; its mean, its variance."""
    x = np.random.default_rng(0).normal(3, 2, (40, size, 2))
    weights, values = np.ones(2) / 2, np.array([[1.0, 1.0], [-1.0, -1.0]])  # mean 0, variance 1: the beginning
    for t, batch in enumerate(x, start=1):
        d = min(0.9, t / (t + 1))
        weights = np.append(d * weights, np.full(size, (1 - d) / size))
        values = np.vstack([values, batch])
    state = after(x, 0.9)
    centre = weights @ values
    np.testing.assert_allclose(state["mean"].numpy(), centre, rtol=1e-10)
    np.testing.assert_allclose(state["variance"].numpy(), weights @ (values - centre) ** 2, rtol=1e-10)


def test_a_shifted_scaled_input_is_shown_alike() -> None:
    """After the beginning is forgotten an input and 100 times it plus 7 are the same to the network."""
    x = torch.randn(3000, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both = torch.cat([x, 100 * x + 7], -1)
    shown = METHOD.inputs(both[-1], after(both.tolist(), 0.99), {})[0]
    assert shown[0].item() == pytest.approx(shown[1].item(), rel=1e-3)


def test_an_input_that_never_changes_is_shown_as_nothing() -> None:
    state = after([[[0.0, 5.0]]] * 4000, 0.99)
    shown = METHOD.inputs(f64([[0.0, 5.0]]), state, {})
    assert shown.abs().max() < 1e-6


def trial(**changes: Any) -> PackMember:
    config = {
        "workload": {"name": "continual_imagenet", "dataset": "digits", "epochs": 2, "batch": 10, "tasks": 2}
        | {"train_per_class": 20},
        "network": {"name": "mlp", "width": 6, "depth": 1},
        "optimizer": {"name": "sgd"},
        "methods": {"input_normaliser": {}},
        "seed": 0,
        "metrics": ["online_accuracy", "effective_rank", "gradient_norm"],
        "every": 1,
        "probe": 16,
        "dtype": "float64",
        "keep": "none",
    }
    return PackMember("t", {**config, **changes})


def test_probes_and_tests_are_shown_by_the_statistics_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(Pack(id="", members=[trial()], path="looped"))
    training.begin()
    training.train(training.stream.task_start(1))
    before = training.engine.state()["state"]["input_normaliser"]
    seen: list[Tensor] = []

    class Noted(probes.Look):
        def __init__(self, network: Any, params: Any, x: Tensor, **more: Any) -> None:
            seen.append(x[0])
            super().__init__(network, params, x, **more)

    monkeypatch.setattr(probes, "Look", Noted)
    training.diagnose(1)
    raw = torch.from_numpy(training.stream.probe(1, 16)[0]).double()
    mean, variance = before["mean"][0], before["variance"][0]
    assert len(seen) > 0 and all(torch.allclose(x, (raw - mean) / torch.sqrt(variance + 1e-8)) for x in seen)
    tested: list[Tensor] = []
    monkeypatch.setattr(HeldOut, "hits", lambda self, params, x, target: tested.append(x) or torch.zeros(()))
    assert training.held_out is not None
    training.held_out.tested(training.engine.state(), 1)
    raw = torch.from_numpy(training.stream.test(1)[0]).double()
    assert torch.allclose(torch.cat(tested), (raw - mean) / torch.sqrt(variance + 1e-8))
    after = training.engine.state()["state"]["input_normaliser"]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_kept_weights_bring_what_their_inputs_are_shown_by() -> None:
    training = Training(Pack(id="", members=[trial(keep="final")], path="looped"))
    training.begin()
    end = training.stream.task_start(training.stream.tasks)
    training.train(end)
    training.keep_weights(training.stream.tasks, training.engine.state())

    held = torch.load(io.BytesIO(training.weights["t-final.pt"]), weights_only=True)
    assert torch.equal(
        held["inputs"]["input_normaliser"]["mean"], training.engine.state()["state"]["input_normaliser"]["mean"][0]
    )


def test_a_network_that_does_not_say_its_inputs_is_named() -> None:
    class Silent(MLP):
        def __init__(self) -> None:
            self.sites = ()

    with pytest.raises(InputError, match="Silent does not say how many inputs it has"):
        InputNormaliser(InputNormaliserConfig(), Silent())
