"""What members' networks say does not depend on who has left."""

from __future__ import annotations

import pytest
import torch

from workloads.engine.computing import computing
from workloads.engine.layout import mapped, stacked
from workloads.learner import Learner
from workloads.methods.config import AdamConfig, InputNormaliserConfig
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.reinforcement.forward import ROWS, Forward

NETWORK = MLP(MLPConfig(width=33, depth=1), 17, 2)  # of sizes that fill no vector
LEARNER = Learner(NETWORK, "cross_entropy", ("adam", AdamConfig()), {})


@pytest.mark.parametrize("stay", [[1, 16], [16], [2, 3], [0, 5, 16]], ids=str)
def test_those_who_stay_are_told_the_same_bits(stay: list[int]) -> None:
    """Of 17 members; 1 and 16 would fill two places by themselves, each the other's."""
    drawn = [NETWORK.init(seed) for seed in range(17)]
    params = {name: torch.stack([own[name].float() for own in drawn]) for name in drawn[0]}
    x = torch.randn((17, 9, 17), generator=torch.Generator().manual_seed(1))

    def said(numbers: torch.Tensor) -> torch.Tensor:
        held = {"params": {name: value[numbers] for name, value in params.items()}, "state": {}}
        return Forward(LEARNER, numbers, alone=False).of(held, {})(x[numbers])

    with computing():
        assert torch.equal(said(torch.tensor(stay)), said(torch.arange(17))[torch.tensor(stay)])


def test_each_member_is_asked_by_its_own_weights_and_statistics_in_as_many_parts_as_it_takes() -> None:
    learner = Learner(NETWORK, "cross_entropy", ("adam", AdamConfig()), {"input_normaliser": InputNormaliserConfig()})
    members = []
    for seed in range(3):
        params = mapped(lambda v: v.float(), NETWORK.init(seed))
        state = learner.init(params)
        state["input_normaliser"]["mean"] += seed
        members.append({"params": params, "state": state})
    x = torch.randn((3, ROWS + 3, 17), generator=torch.Generator().manual_seed(0))
    found = Forward(learner, torch.arange(3), alone=False).of(stacked(members), {"input_normaliser": {}})(x)
    for i, own in enumerate(members):
        shown = learner.shown(x[i], own["state"], {"input_normaliser": {}})
        assert torch.allclose(found[i], NETWORK.apply(own["params"], shown)[0], rtol=1e-4, atol=1e-5)
