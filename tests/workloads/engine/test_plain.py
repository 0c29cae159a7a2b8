"""The plain and the looped path on a model small enough to train by hand: y = w x, x = 1, target 2, step size 1/4.

Loss (w - 2)^2, gradient 2 (w - 2), so the distance to 2 halves in every step: w = 0, 1, 1.5, 1.75; losses 4, 1, 1/4.
"""

from __future__ import annotations

import pytest
import torch

from workloads.engine import build
from workloads.engine.plain import train
from workloads.learner import Learner
from workloads.methods.config import SGDConfig
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP

LEARNER = Learner(MLP(MLPConfig(depth=0, biases=False), 1, 1), "squared_error", ("sgd", SGDConfig()), {})
ONES = torch.ones(3, 1, 1, dtype=torch.float64)


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def test_plain_by_hand() -> None:
    params = {"layers.0.weight": torch.zeros(1, 1, dtype=torch.float64)}
    hyper = {"optimizer": {"step_size": scalar(0.25), "weight_decay": scalar(0.0)}}
    trained = train(LEARNER, params, LEARNER.init(params), hyper, ONES, 2 * ONES, torch.tensor(0), 0)
    assert trained.params["layers.0.weight"].item() == 1.75
    assert trained.loss == 5.25 and trained.correct == 0
    assert params["layers.0.weight"].item() == 0  # what was handed in is left alone


@pytest.mark.parametrize("path", ["looped", "lifted"])
def test_members_have_their_own_step_size_stream_and_sums(path: str) -> None:
    hyper = {
        "optimizer": {"step_size": torch.tensor([0.25, 0.5, 0.25]).double(), "weight_decay": torch.zeros(3).double()}
    }
    engine = build(path, LEARNER, hyper, torch.arange(3))
    if path == "lifted":
        engine.programs.compiled = False  # type: ignore[attr-defined]
    zero = torch.zeros(3, dtype=torch.float64)
    params = {"layers.0.weight": torch.zeros(3, 1, 1, dtype=torch.float64)}
    engine.load({"params": params, "state": {"optimizer": {}}, "loss": zero + 10, "correct": zero})
    x = torch.ones(3, 2, 1, 1, dtype=torch.float64)  # two streams: targets 2 and -2
    engine.advance(x, x * torch.tensor([2.0, -2.0]).view(1, 2, 1, 1), torch.tensor([0, 0, 1]), 0)
    state = engine.state()
    assert state["params"]["layers.0.weight"].flatten().tolist() == [1.75, 2.0, -1.75]
    assert state["loss"].tolist() == [15.25, 14.0, 15.25]


@pytest.mark.parametrize("inputs", [5, 7, 23, 25])
def test_where_examples_lie_in_memory_changes_no_bit(inputs: int) -> None:
    """A step's examples need not begin at a whole number of vectors where those of several streams lie together."""
    network = MLP(MLPConfig(width=33, depth=1), inputs, 3)
    learner = Learner(network, "squared_error", ("sgd", SGDConfig()), {})
    params = {name: value.float() for name, value in network.init(0).items()}
    hyper = {"optimizer": {"step_size": torch.tensor(0.01), "weight_decay": torch.tensor(0.0)}}
    x, y = (torch.randn(40, 3, 1, size, generator=torch.Generator().manual_seed(0)) for size in (inputs, 3))
    trained = [
        train(learner, params, learner.init(params), hyper, own, y[:, 1], torch.tensor(0), 0).params
        for own in (
            x[:, 1],
            x[:, 1].contiguous(),
            torch.cat([x.new_zeros(1), x[:, 1].flatten()])[1:].view(40, 1, inputs),
        )
    ]
    for name, value in trained[0].items():
        assert all(torch.equal(value, other[name]) for other in trained[1:])
