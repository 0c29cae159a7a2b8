"""The engine's promises for every network of the registry, batch norm's statistics included."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from packs import CONVNET, OF_EVERY_NETWORK, RESNET, Arm, Pack, PictureShape, data, leaves, same_bits
from torch import Tensor

from workloads.engine.layout import Tree, in_order, mapped, member, stacked
from workloads.engine.lifted import Lifted
from workloads.networks.config import NETWORKS
from workloads.random import Draw

MOMENTUM = {"momentum": 0.9}
PUBLISHED = {**MOMENTUM, "preset": "official_resnet", "utility": "contribution", "replacement_rate": 0.15}
ARMS = [
    Arm("sgd", (), MOMENTUM),
    Arm("sgd", ("l2",), MOMENTUM),
    Arm("sgd", ("shrink_and_perturb",)),
    Arm("sgd", ("coupled_isometry",), {"strength": 0.01}),
    Arm("sgd", ("continual_backprop",), MOMENTUM),
    Arm("sgd", ("continual_backprop",), PUBLISHED),
]
# Not with batch norm: a bias before it has no gradient but rounding, which Adam makes as large as any.
ADAPTIVE = [Arm("adamo"), Arm("adam", ("continual_backprop",), {"preset": "paper"})]
CASES = [
    *((name, arm) for name in OF_EVERY_NETWORK if name != "mlp" for arm in ARMS),  # which other tests have
    *(("convnet", arm) for arm in ADAPTIVE),
]


pytestmark = pytest.mark.usefixtures("one_thread")


def close(one: Tree, other: Tree, rounding: float = 1e-9) -> None:
    """Equal but for rounding. A bias before batch norm is rounding and nothing else, so that 1e-10 is equal to 0."""
    for left, right in zip(leaves(one), leaves(in_order(other, one)), strict=True):
        torch.testing.assert_close(left, right, rtol=rounding, atol=1e-10 * max(1.0, left.abs().max().item()))


def steps_of(name: str, arm: Arm) -> int:
    """Few where each is slow: a lifted repair looks at all 17 layers of a ResNet."""
    return 8 if name == "resnet18" else 20


def test_every_network_is_covered() -> None:
    assert set(OF_EVERY_NETWORK) == set(NETWORKS)


@pytest.mark.parametrize(("name", "arm"), CASES, ids=str)
def test_lifted_is_looped(name: str, arm: Arm) -> None:
    shape = OF_EVERY_NETWORK[name]
    x, y = data(shape, steps_of(name, arm), streams=2, dtype=torch.float64)
    lifted = Pack(arm, shape, range(2)).train(x, y)
    looped = Pack(arm, shape, range(2), path="looped").train(x, y)
    close(looped.state(), lifted.state())
    if "continual_backprop" in arm.methods:
        ages = leaves(looped.state()["state"]["continual_backprop"]["age"])
        assert any((age < len(x)).any() for age in ages)  # something was replaced


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "arm"), [(CONVNET, ARMS[0]), (CONVNET, ARMS[-1]), (RESNET, ARMS[0])], ids=str)
def test_compiled_is_looped(shape: PictureShape, arm: Arm) -> None:
    """Not a ResNet's repair: 17 layers, each of which may change everything, compile for more than ten minutes."""
    x, y = data(shape, 8, streams=2, dtype=torch.float64)
    compiled = Pack(arm, shape, range(2), compiled=True).train(x, y)
    looped = Pack(arm, shape, range(2), path="looped").train(x, y)
    close(looped.state(), compiled.state())


@pytest.mark.parametrize("name", ["convnet", "resnet18"])
def test_a_member_is_what_it_is_alone(name: str) -> None:
    """To the bit member after member; at once but for rounding: another number of groups may sum in another order."""
    shape, arm = OF_EVERY_NETWORK[name], ARMS[4]
    x, y = data(shape, 6, streams=2, dtype=torch.float64)
    alone = Pack(arm, shape, [3], path="plain").train(x, y).member(3)
    assert same_bits(alone, Pack(arm, shape, [2, 3, 4], path="looped").train(x, y).member(3))
    close(alone, Pack(arm, shape, [2, 3, 4]).train(x, y).member(3))


def step_size(index: int, value: float) -> Any:
    """A change of one member's step size."""

    def change(number: int, hyper: Tree) -> Tree:
        own = {**hyper["optimizer"], "step_size": value}
        return {**hyper, "optimizer": own} if number == index else hyper

    return change


@pytest.mark.parametrize("path", ["lifted", "looped"])
@pytest.mark.parametrize("name", ["convnet", "resnet18"])
@pytest.mark.parametrize("value", [1e30, 0.05])
def test_what_becomes_of_a_member_changes_no_other(name: str, path: str, value: float) -> None:
    shape, arm = OF_EVERY_NETWORK[name], ARMS[4]
    x, y = data(shape, 6, streams=2, dtype=torch.float32)
    calm = Pack(arm, shape, range(3), dtype=torch.float32, path=path).train(x, y)
    other = Pack(arm, shape, range(3), dtype=torch.float32, path=path, change=step_size(1, value)).train(x, y)
    assert bool(torch.isfinite(other.member(1)["loss"])) == (value < 1)
    assert not same_bits(calm.member(1), other.member(1))
    for index in (0, 2):
        assert same_bits(calm.member(index), other.member(index))
        assert all(torch.isfinite(value).all() for value in leaves(other.member(index)))


def test_members_of_one_stream_have_their_own_statistics() -> None:
    """Members 0 and 2 see one stream with other weights: the same stem's input, other running means."""
    x, y = data(RESNET, 3, streams=2, dtype=torch.float64)
    buffers = Pack(ARMS[0], RESNET, range(3)).train(x, y).state()["state"]["buffers"]
    assert set(buffers) == set(RESNET.network.buffers)
    for value in buffers.values():
        assert len({tuple(own.tolist()) for own in value}) == 3


@pytest.mark.parametrize("path", ["lifted", "looped"])
@pytest.mark.parametrize("name", ["convnet", "resnet18"])
def test_how_steps_are_split_over_calls_changes_no_bit(name: str, path: str) -> None:
    shape, arm = OF_EVERY_NETWORK[name], ARMS[4]
    x, y = data(shape, 8, streams=2, dtype=torch.float32)
    whole = Pack(arm, shape, range(2), dtype=torch.float32, path=path).train(x, y)
    pieces = Pack(arm, shape, range(2), dtype=torch.float32, path=path)
    for first, last in ((0, 1), (1, 5), (5, 8)):
        pieces.train(x[first:last], y[first:last])
        pieces.engine.load(pieces.state())
    assert same_bits(whole.state(), pieces.state())


@pytest.mark.parametrize("shape", [CONVNET, RESNET], ids=str)
def test_replayed_steps_are_the_steps(shape: PictureShape) -> None:
    """As a GPU does it, on a CPU: several steps at once, whose repairs come unasked."""
    x, y = data(shape, 6, streams=2, dtype=torch.float64)
    packs = [Pack(ARMS[4], shape, range(2)) for _ in range(2)]
    replayed = Lifted(packs[1].learner, packs[1].engine.hyper, packs[1].engine.seeds, compiled=False, replayed=3)
    replayed.load(packs[1].state())
    packs[1].engine = replayed
    one, other = (pack.train(x, y).state() for pack in packs)
    close(one, other)


SETTINGS: list[dict[str, Any]] = [{"what": "head"}, {"what": "head", "to": "zero"}, {"what": "all", "optimizer": True}]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("name", OF_EVERY_NETWORK)
def test_a_pack_begins_a_task_as_its_members_do_alone(name: str, settings: dict[str, Any]) -> None:
    shape = OF_EVERY_NETWORK[name]
    pack = Pack(Arm("sgd", ("reset", "shrink_and_perturb"), {**MOMENTUM, **settings, "when": "task"}), shape, range(3))
    x, y = data(shape, 2, streams=2, dtype=torch.float64)
    tree = pack.train(x, y).state()
    hyper, seeds = pack.engine.hyper, pack.engine.seeds

    def begun(params: dict[str, Tensor], state: Tree, hyper: Tree, seed: Tensor) -> tuple[dict[str, Tensor], Tree]:
        return pack.learner.at_task(params, state, hyper, Draw(seed, torch.tensor(2), torch.float64))

    params, state = torch.func.vmap(begun)(tree["params"], tree["state"], hyper, seeds)
    alone = [begun(*(member(part, i) for part in (tree["params"], tree["state"], hyper)), seeds[i]) for i in range(3)]
    expected = {"params": stacked([own[0] for own in alone]), "state": stacked([own[1] for own in alone])}
    close(expected, {"params": params, "state": state})
    # An engine takes it, in the layout it has.
    pack.engine.load({**tree, "params": params, "state": state})
    assert same_bits(pack.state(), {**tree, "params": params, "state": mapped(torch.clone, state)})
