"""The engine's promises, over every optimizer, every method and what options change the program."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import compilers
import pytest
import torch
from packs import (
    ARMS,
    LARGE,
    LARGE_CLASSES,
    SMALL_CLASSES,
    TINY,
    Arm,
    Pack,
    Shape,
    data,
    distance,
    making,
    same_bits,
    taken,
)

from workloads.checks.contracts import apart_from_neighbours, disagreement, resumes
from workloads.engine.layout import Tree, mapped
from workloads.engine.lifted import GATHER  # steps in multiples of it: another program looks up what is left over
from workloads.methods.config import METHODS, OPTIMIZERS

COMPILED = [Arm("sgd"), Arm("adam"), Arm("adamo"), Arm("adam", ("continual_backprop",))]
BASE = [*(Arm(name) for name in OPTIMIZERS), *(Arm("sgd", (name,)) for name in METHODS)]


def both(
    arm: Arm,
    shape: Shape,
    *,
    steps: int,
    members: int = 3,
    dtype: torch.dtype = torch.float64,
    compiled: bool = False,
    path: str = "lifted",
) -> float:
    """The distance between a path and the looped one after some steps."""
    x, y = data(shape, steps, streams=2, dtype=dtype)
    return disagreement(making(arm, shape, dtype=dtype, compiled=compiled), x, y, path, range(members))


def with_step_size(chosen: dict[int, float]) -> Callable[[int, Tree], Tree]:
    """A change of members' hyperparameters: index -> step size."""

    def change(index: int, hyper: Tree) -> Tree:
        own = {**hyper["optimizer"], "step_size": chosen.get(index, hyper["optimizer"]["step_size"])}
        return {**hyper, "optimizer": own}

    return change


@pytest.mark.parametrize(("path", "arm"), taken(BASE, TINY, "lifted", "lanes", "online"), ids=str)
def test_a_path_is_looped(arm: Arm, path: str) -> None:
    assert both(arm, TINY, steps=30, path=path) < 1e-10


def of_every_combination() -> list[tuple[str, Arm, Shape]]:
    """(path, arm, shape)"""
    pairs = taken(ARMS, TINY, "lifted", "lanes")
    return [(*pair, shape) for pair in pairs for shape in (TINY, SMALL_CLASSES)]


@pytest.mark.slow
@pytest.mark.parametrize(("path", "arm", "shape"), of_every_combination(), ids=str)
def test_a_path_is_looped_for_every_combination(
    arm: Arm, shape: Shape, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shape != TINY:  # where some take a minute
        compilers.lightly(monkeypatch)
    assert both(arm, shape, steps=25, members=2, path=path) < 1e-10


@pytest.mark.parametrize("shape", [LARGE, LARGE_CLASSES], ids=str)
@pytest.mark.parametrize("arm", [Arm("sgd"), Arm("adam", ("continual_backprop",))], ids=str)
def test_lifted_is_looped_for_large_networks(arm: Arm, shape: Shape) -> None:
    assert not shape.member_last
    assert both(arm, shape, steps=40) < 1e-10


EACH_OF_ONE = ["leaky_relu", "tanh", "sigmoid", "elu", "swish", "selu", "linear", "absolute", "fourier"]


@pytest.mark.parametrize("path", ["lifted", pytest.param("lanes", marks=pytest.mark.slow)])
@pytest.mark.parametrize("activation", EACH_OF_ONE)
def test_a_path_is_looped_for_every_activation(activation: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compilers.lightly(monkeypatch)
    shape = Shape(width=5, depth=2, inputs=6, outputs=2, loss="squared_error", batch=2, activation=activation)
    assert both(Arm("adam", ("continual_backprop",)), shape, steps=60, path=path) < 1e-10


@pytest.mark.parametrize("activation", EACH_OF_ONE)
def test_lanes_own_functions_are_those_of_float32(activation: str) -> None:
    shape = Shape(width=5, depth=1, inputs=6, outputs=3, loss="cross_entropy", batch=1, activation=activation)
    assert both(Arm("sgd"), shape, steps=100, dtype=torch.float32, path="lanes") < 1e-5


@pytest.mark.parametrize("path", ["lifted", "lanes"])
def test_several_units_of_a_layer_are_replaced_before_the_next_layers(path: str) -> None:
    # A second replacement in the first layer must not touch a newborn of the second.
    shape = Shape(width=6, depth=2, inputs=6, outputs=1, loss="squared_error", batch=1)
    settings = {"replacement_rate": 0.5, "maturity_threshold": 3, "preset": "paper", "utility": "contribution"}
    assert both(Arm("sgd", ("continual_backprop",), settings), shape, steps=60, path=path) < 1e-10


@pytest.mark.parametrize("path", ["lifted", "lanes"])
def test_a_path_is_looped_where_a_method_has_no_unit_to_act_on(path: str) -> None:
    linear = Shape(width=5, depth=0, inputs=6, outputs=1, loss="squared_error", batch=1)
    assert both(Arm("sgd", ("continual_backprop",)), linear, steps=20, path=path) < 1e-10


@pytest.mark.parametrize("arm", COMPILED, ids=str)
def test_compiled_is_looped(arm: Arm) -> None:
    assert both(arm, TINY, steps=40, compiled=True) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize(("path", "arm"), taken(BASE, TINY, "lifted", "lanes", "online"), ids=str)
def test_compiled_is_looped_after_a_thousand_steps(arm: Arm, path: str) -> None:
    # Gentle settings: where trajectories are chaotic, no two orders of summation stay together for long.
    arm = Arm(arm.optimizer, arm.methods, {"step_size": 0.003, "replacement_rate": 0.01})
    assert both(arm, TINY, steps=63 * GATHER, members=2, compiled=True, path=path) < 1e-10


@pytest.mark.parametrize(("path", "arm"), taken(BASE, TINY, "lifted", "lanes"), ids=str)
def test_float32_stays_close_for_a_hundred_steps(arm: Arm, path: str) -> None:
    arm = Arm(arm.optimizer, arm.methods, {"step_size": 0.003, "replacement_rate": 0.01})
    assert both(arm, TINY, steps=100, members=2, dtype=torch.float32, path=path) < 1e-5


OTHERS = [("lifted", SMALL_CLASSES), ("lanes", SMALL_CLASSES), ("lifted", LARGE), ("lifted", LARGE_CLASSES)]


@pytest.mark.slow
@pytest.mark.parametrize(("path", "shape"), OTHERS, ids=str)
@pytest.mark.parametrize("arm", BASE, ids=str)
def test_float32_stays_close_for_other_shapes(arm: Arm, path: str, shape: Shape) -> None:
    assert both(arm, shape, steps=100, members=2, dtype=torch.float32, path=path) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("shape", [SMALL_CLASSES, LARGE], ids=str)
@pytest.mark.parametrize("arm", COMPILED, ids=str)
def test_compiled_is_looped_for_other_shapes(arm: Arm, shape: Shape) -> None:
    assert both(arm, shape, steps=4 * GATHER, compiled=True) < 1e-10


@pytest.mark.parametrize(
    ("path", "dtype", "compiled"),
    [
        ("lifted", torch.float32, False),
        pytest.param("lifted", torch.float32, True, marks=pytest.mark.slow),
        pytest.param("lifted", torch.float64, True, marks=pytest.mark.slow),
        ("lanes", torch.float32, True),
        ("online", torch.float32, True),
        pytest.param("lanes", torch.float64, True, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_members_bits_do_not_depend_on_who_shares_the_pack(
    path: str, dtype: torch.dtype, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilers.once(monkeypatch)
    arm = Arm("adam", ("continual_backprop",))
    x, y = data(TINY, 4 * GATHER, streams=2, dtype=dtype)
    make = making(arm, TINY, dtype=dtype, compiled=compiled)
    for indices in ([*range(17)], [3, *range(20, 35)], [*range(40)]):  # padded, exactly one vector, and three
        assert apart_from_neighbours(make, x, y, path, indices, 3) == 0


@pytest.mark.parametrize(
    ("path", "arm"),
    [
        *taken(BASE, SMALL_CLASSES, "lifted"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in taken(BASE, SMALL_CLASSES, "lanes", "online")),
    ],
    ids=str,
)
def test_a_member_is_the_same_alone_and_beside_one_that_diverges(arm: Arm, path: str) -> None:
    x, y = data(SMALL_CLASSES, 25, streams=2, dtype=torch.float32)
    alone = Pack(arm, SMALL_CLASSES, [3], dtype=torch.float32, path=path).train(x, y)
    wild = with_step_size({7: math.nan})  # a method may keep any finite step in bounds
    together = Pack(arm, SMALL_CLASSES, range(17), dtype=torch.float32, path=path, change=wild).train(x, y)
    assert not torch.isfinite(together.member(7)["loss"])
    # "path" is how an engine goes on, which it keeps where any member of its pack lets rows sleep.
    own, beside = ({k: v for k, v in pack.member(3).items() if k != "path"} for pack in (alone, together))
    assert same_bits(own, beside)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_member_of_a_large_network_stays_close_whoever_shares_the_pack(compiled: bool) -> None:
    # No promise of bits here: the library's matrix products may sum in another order for another number of members.
    x, y = data(LARGE, 60, streams=2, dtype=torch.float64)
    alone = Pack(Arm("sgd"), LARGE, [3], compiled=compiled).train(x, y)
    together = Pack(Arm("sgd"), LARGE, range(9), compiled=compiled).train(x, y)
    assert distance(alone.member(3), together.member(3)) < 1e-10


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64], ids=str
)  # sums of float64 losses round, of float32 hardly
@pytest.mark.parametrize(
    "path", ["looped", "lifted", "lanes", "online", pytest.param("compiled", marks=pytest.mark.slow)]
)
def test_how_steps_are_split_over_calls_changes_no_bit(
    path: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilers.once(monkeypatch)
    arm = Arm("adamo", ("continual_backprop",), {"every": 3})
    x, y = data(TINY, 50, streams=2, dtype=dtype)
    name = "lifted" if path == "compiled" else path
    assert resumes(making(arm, TINY, dtype=dtype, compiled=path == "compiled"), x, y, name, range(3))


@pytest.mark.parametrize(
    ("path", "shape", "compiled"),
    [
        ("lifted", TINY, False),
        ("lifted", LARGE, False),
        ("lanes", TINY, True),
        ("online", LARGE, True),
        pytest.param("lifted", TINY, True, marks=pytest.mark.slow),
        pytest.param("lifted", LARGE, True, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_member_that_diverges_changes_no_other(
    path: str, shape: Shape, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilers.once(monkeypatch)
    x, y = data(shape, 3 * GATHER, streams=2, dtype=torch.float32)

    def pack(step_size: float) -> Pack:
        arm, change = Arm("sgd", ("continual_backprop",)), with_step_size({1: step_size})
        pack = Pack(arm, shape, range(4), dtype=torch.float32, compiled=compiled, path=path, change=change)
        return pack.train(x, y)

    calm, wild = pack(0.01), pack(1e30)
    assert not torch.isfinite(wild.member(1)["loss"])
    for index in (0, 2, 3):
        assert same_bits(calm.member(index), wild.member(index))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_toy_problem_is_learned(optimizer: str) -> None:
    x, y = data(TINY, 600, streams=2, dtype=torch.float64)
    step_size = 0.05 if optimizer == "upgd" else 0.01  # half and less of UPGD's is what weights of use move by
    pack = Pack(Arm(optimizer, (), {"step_size": step_size, "weight_decay": 0.0}), TINY, range(4), streams=2)
    early = pack.train(x[:100], y[:100]).state()["loss"].clone()
    late = pack.train(x[100:], y[100:]).state()["loss"] - early
    assert (late / 500 < 0.5 * early / 100).all()


def test_without_a_compiler_packs_still_train_and_say_so(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys, warnings
        sys.path[:0] = [sys.argv[1]]
        from packs import TINY, Arm, Pack, data
        import torch
        x, y = data(TINY, 5, streams=2, dtype=torch.float32)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            loss = Pack(Arm("sgd"), TINY, range(2), dtype=torch.float32, compiled=True).train(x, y).state()["loss"]
        print([str(w.message) for w in said if "compiler" in str(w.message)], bool(torch.isfinite(loss).all()))
    """)
    environment = {**os.environ, "CXX": str(tmp_path / "no-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("no working C++ compiler") == 1
    assert done.stdout.strip().endswith("True")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("arm", COMPILED, ids=str)
def test_a_gpu_gives_what_the_cpu_gives(arm: Arm) -> None:
    x, y = data(TINY, 60, streams=2, dtype=torch.float64)
    here = Pack(arm, TINY, range(5), path="looped").train(x, y)
    there = Pack(arm, TINY, range(5), compiled=True, device="cuda").train(x.cuda(), y.cuda())
    assert distance(here.state(), mapped(lambda v: v.cpu(), there.state())) < 1e-9
