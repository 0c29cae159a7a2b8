"""What members' networks say does not depend on who has left."""

from __future__ import annotations

import pytest
import torch

from workloads.engine.computing import computing
from workloads.learner import Learner
from workloads.methods.config import AdamConfig
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.reinforcement.forward import Forward

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
