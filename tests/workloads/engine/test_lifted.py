"""The lifted path's own affairs: products, padding, blocks of members, and how many programs are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from workloads.engine import compiling, lifted
from workloads.engine.compiling import broadcast_product, outer_product
from workloads.engine.layout import Tree, flattened, mapped, stacked
from workloads.engine.lifted import Lifted
from workloads.learner import Learner
from workloads.methods.config import AdamOConfig, ContinualBackpropConfig, L2Config, L2InitConfig, SGDConfig
from workloads.methods.l2 import L2
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP

NETWORK = MLP(MLPConfig(width=3, depth=1), 4, 1)
EAGER: dict[str, Any] = {"compiled": False}


def engine(members: int, optimizer: tuple[str, Any], methods: dict[str, Any], **options: Any) -> Lifted:
    """A loaded engine of float64 members that differ in their seeds."""
    learner = Learner(NETWORK, "squared_error", optimizer, methods)
    numbers = mapped(
        lambda v: torch.tensor([v] * members, dtype=torch.float64), learner.hyper_of(optimizer[1], methods)
    )
    made = Lifted(learner, numbers, torch.arange(members), **options)
    params = stacked([NETWORK.init(i) for i in range(members)])
    zero = torch.zeros(members, dtype=torch.float64)
    state = torch.func.vmap(learner.init)(params)
    made.load({"params": params, "state": state, "loss": zero, "correct": zero.clone()})
    return made


def advanced(made: Lifted, steps: int, start: int = 0) -> Tree:
    """The state after some steps on one stream."""
    generator = torch.Generator().manual_seed(start)
    x = torch.randn(steps, 1, 1, 4, generator=generator, dtype=torch.float64)
    made.advance(x, x.sum(-1, keepdim=True), torch.zeros(len(made.seeds), dtype=torch.int64), start)
    return made.state()


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the functions that would have been compiled, in order; they run as they are."""
    names: list[str] = []

    def noted(function: Callable[..., Any], arguments: list[Any], *, small: bool) -> Callable[..., Any]:
        names.append(function.__name__)
        return function

    monkeypatch.setattr(compiling, "compiled_program", noted)
    return names


def test_written_out_products_are_products() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(5, *shape, dtype=torch.float64, generator=generator) for shape in ((2, 3), (3, 4)))
    torch.testing.assert_close(broadcast_product(a, b), a @ b, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(broadcast_product(a[0], b[0]), a[0] @ b[0], rtol=1e-14, atol=1e-14)
    column, row = a[..., :1], b[:, :1]
    assert outer_product(column, row).equal(column @ row)
    assert outer_product(a, b) is NotImplemented  # the library's own product is used


@pytest.mark.parametrize(
    ("members", "blocks", "width"),
    [(1, 1, 16), (16, 1, 16), (17, 1, 32), (3072, 1, 3072), (3073, 2, 1552)],
)
def test_members_are_padded_to_whole_vectors_and_cut_into_equal_blocks(members: int, blocks: int, width: int) -> None:
    made = engine(members, ("sgd", SGDConfig()), {}, **EAGER)
    assert [len(part) for part in made.parts] == [width] * blocks
    owners = torch.cat(list(made.parts))
    assert owners[:members].equal(torch.arange(members)) and (owners[members:] == 0).all()


def test_blocks_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    replacing = {"continual_backprop": ContinualBackpropConfig(replacement_rate=0.3, maturity_threshold=2)}
    whole = advanced(engine(40, ("sgd", SGDConfig()), replacing, **EAGER), 20)
    monkeypatch.setattr(lifted, "BLOCK", 16)
    cut = engine(40, ("sgd", SGDConfig()), replacing, **EAGER)
    assert len(cut.blocks) == 3
    assert all(a.equal(b) for a, b in zip(flattened(whole)[0], flattened(advanced(cut, 20))[0], strict=True))
    assert (whole["state"]["continual_backprop"]["age"]["layers.0"] < 20).any()


def test_one_program_per_kind_of_step_and_none_anew(compilations: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifted, "BLOCK", 16)
    made = engine(40, ("adamo", AdamOConfig(every=5)), {})
    state = advanced(made, 36)
    # Steps with and without the pull; examples come 16 at a time, and the last 4. All three blocks share them.
    assert sorted(compilations) == ["look_up", "look_up", "train", "train"]
    made.load(state)
    advanced(made, 36, start=36)
    assert len(compilations) == 4


def test_long_schedules_that_seldom_meet_make_four_programs(
    compilations: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every 1000 and every 7 are together once in 7,000 steps; two large primes once in 10^12."""
    for periods in ((1000, 7), (1_000_003, 999_983)):
        compilations.clear()
        monkeypatch.setattr(L2, "period", periods[1])
        made = engine(2, ("adamo", AdamOConfig(every=periods[0])), {"l2": L2Config()})
        made.load(advanced(made, 2))  # all act, then none
        for period in periods:
            advanced(made, 2, start=period)
        assert compilations.count("train") == 4


def test_what_no_step_changes_is_never_written() -> None:
    """Initial weights are read by every step and written by none, nor by a repair; weights are."""
    replacing = ContinualBackpropConfig(replacement_rate=0.5, maturity_threshold=2)
    made = engine(3, ("sgd", SGDConfig()), {"l2_init": L2InitConfig(), "continual_backprop": replacing}, **EAGER)
    state = advanced(made, 16)
    assert (state["state"]["continual_backprop"]["age"]["layers.0"] < 16).any()
    tree = made.blocks[0].tree
    assert all(value._version == 0 for value in tree["state"]["l2_init"]["initial"].values())
    assert all(value._version > 0 for value in tree["params"].values())


@pytest.mark.parametrize(("rate", "expected"), [(0.5, ["look_up", "mend", "train"]), (0.0, ["look_up", "train"])])
def test_repairs_cost_nothing_where_none_is_due(rate: float, expected: list[str], compilations: list[str]) -> None:
    replacing = {"continual_backprop": ContinualBackpropConfig(replacement_rate=rate, maturity_threshold=2)}
    state = advanced(engine(3, ("sgd", SGDConfig()), replacing), 16)
    assert sorted(compilations) == expected
    assert not state["state"]["continual_backprop"]["due"].any()
