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

WIDE = MLP(MLPConfig(width=33, depth=1), 17, 2)  # of sizes that fill no vector
NARROW = MLP(MLPConfig(width=8, depth=1), 111, 2)  # an ant's, of products that depend on where their factors begin
VALUE = MLP(MLPConfig(width=64, depth=1), 4, 1)


def said(network: MLP, examples: int, numbers: list[int], *, alone: bool = False) -> torch.Tensor:
    """(members, examples, outputs) by those who began as these numbers of 17."""
    drawn = [network.init(seed) for seed in range(17)]
    params = {name: torch.stack([drawn[number][name].float() for number in numbers]) for name in drawn[0]}
    x = torch.randn((17, examples, network.inputs), generator=torch.Generator().manual_seed(1))
    learner = Learner(network, "cross_entropy", ("adam", AdamConfig()), {})
    with computing():
        return Forward(learner, torch.tensor(numbers), alone=alone).of({"params": params, "state": {}}, {})(x[numbers])


@pytest.mark.parametrize("alone", [False, True], ids=["together", "one by one"])
@pytest.mark.parametrize("stay", [[1, 16], [16], [2, 3], [0, 5, 16]], ids=str)
def test_those_who_stay_are_told_the_same_bits(stay: list[int], alone: bool) -> None:
    """1 and 16 would fill two places by themselves, each the other's."""
    for network, examples in ((WIDE, 9), (NARROW, 2)):
        everybody = said(network, examples, [*range(17)], alone=alone)
        assert torch.equal(said(network, examples, stay, alone=alone), everybody[stay])


def test_one_who_is_alone_is_told_the_same_bits() -> None:
    """Of so many values of one output: torch multiplies one matrix by other code than two."""
    assert torch.equal(said(VALUE, 1032, [0]), said(VALUE, 1032, [0, 1, 2])[:1])


def test_each_member_is_asked_by_its_own_weights_and_statistics_in_as_many_parts_as_it_takes() -> None:
    learner = Learner(WIDE, "cross_entropy", ("adam", AdamConfig()), {"input_normaliser": InputNormaliserConfig()})
    members = []
    for seed in range(3):
        params = mapped(lambda v: v.float(), WIDE.init(seed))
        state = learner.init(params)
        state["input_normaliser"]["mean"] += seed
        members.append({"params": params, "state": state})
    x = torch.randn((3, ROWS + 3, 17), generator=torch.Generator().manual_seed(0))
    found = Forward(learner, torch.arange(3), alone=False).of(stacked(members), {"input_normaliser": {}})(x)
    for i, own in enumerate(members):
        shown = learner.shown(x[i], own["state"], {"input_normaliser": {}})
        assert torch.allclose(found[i], WIDE.apply(own["params"], shown)[0], rtol=1e-4, atol=1e-5)


def test_how_weights_lie_in_memory_changes_no_bit() -> None:
    """Engines hand them out in an order of their own, and a checkpoint brings them back in another."""
    drawn = [WIDE.init(seed) for seed in range(4)]
    params = {name: torch.stack([own[name].float() for own in drawn]) for name in drawn[0]}
    other = {name: value.movedim(0, -1).contiguous().movedim(-1, 0) for name, value in params.items()}
    x = torch.randn((4, 9, 17), generator=torch.Generator().manual_seed(1))
    forward = Forward(Learner(WIDE, "cross_entropy", ("adam", AdamConfig()), {}), torch.arange(4), alone=False)
    one, again = (forward.of({"params": each, "state": {}}, {})(x) for each in (params, other))
    assert torch.equal(one, again)
