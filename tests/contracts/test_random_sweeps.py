"""Random valid sweep files: each runs on every path that accepts it, and agrees with the plain one step by step.

Sweeps are drawn from the grammar, small and gentle enough that two orders of summation stay together. Where rounding
decides all the same, which of two units of equal utility is replaced, a path may part from the plain one; the test then
asks that they were equal, and looks at that member no further.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import compilers
import pytest
import torch
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from sweep.packing import plan_packs
from sweep.spec.reading import parse
from sweep.trials import expand
from workloads.engine.compiling import Programs
from workloads.engine.computing import computing
from workloads.engine.layout import Tree, flattened, in_order, member
from workloads.engine.parts import parts_of
from workloads.methods.config import Utility
from workloads.networks.config import Initialisation, MLPActivation
from workloads.paths import declined
from workloads.training.loop import Training
from workloads.training.lowerable import not_lowered
from workloads.training.pack import Pack

CLOSE = {"float64": 1e-8, "float32": 2e-3}  # of a tensor's largest entry, after two tasks
TIED = {"float64": 1e-9, "float32": 1e-3}  # utilities that rounding may order, by the layer's largest
CBP = "continual_backprop"
OF_DEVIATION = ("zero_contribution", "adaptable_contribution", "feature_by_input")

Config = dict[str, Any]


def one_of(*values: Any) -> st.SearchStrategy[Any]:
    """One of the values."""
    return st.sampled_from(values)


@st.composite
def networks(draw: st.DrawFn) -> Config:
    """A small perceptron, or a linear model."""
    activation = draw(one_of(*get_args(MLPActivation)))
    grouped = activation.startswith("groupsort")
    widths = draw(one_of(None, None, None, None if grouped else "7-3-5"))
    sizes = {"width": 8 if grouped else draw(st.integers(1, 9)), "depth": draw(st.integers(0, 3))}
    return {
        "name": "mlp",
        **({"widths": widths} if widths else sizes),
        "activation": activation,
        "initialisation": draw(one_of(*get_args(Initialisation))),
        "biases": draw(st.booleans()),
        "normalisation": draw(one_of("none", "none", "layer", "layer_plain", "online")),
        "dropout": draw(one_of(0.0, 0.0, 0.3)),
    }


@st.composite
def workloads(draw: st.DrawFn) -> Config:
    """Two short tasks that show their boundary."""
    batch = draw(one_of(1, 1, 3))
    if draw(st.booleans()):
        return {"name": "permuted_mnist", "dataset": "digits", "tasks": 2, "examples_per_task": 12 * batch} | {
            "batch": batch,
            "task_boundaries": "shown",
        }
    bits = {"slow_bits": draw(st.integers(1, 4)), "fast_bits": draw(st.integers(1, 3))}
    return {"name": "slowly_changing_regression", "tasks": 2, "period": 12 * batch, "batch": batch, **bits} | {
        "task_boundaries": "shown"
    }


@st.composite
def replacements(draw: st.DrawFn, batch: int) -> Config:
    """Continual backprop at rates that replace units within tens of steps."""
    preset = draw(one_of("official", "paper", "official_conv", "official_resnet"))
    utility = draw(one_of(*get_args(Utility)) if preset != "official_resnet" else one_of("weight", "contribution"))
    # A unit of age 1 has |h - f| = 0 but for rounding, at batch 1: such sweeps are warned of.
    youngest = 1 if batch == 1 and utility in OF_DEVIATION else 0
    return {
        "preset": preset,
        "utility": utility,
        "replacement_rate": draw(one_of(0.0, 0.01, [0.05, 0.2])),
        "maturity_threshold": draw(st.integers(youngest, 8)),
        "utility_decay": draw(one_of(0.99, 0.5, 0.9)),
        "reset_optimizer": draw(one_of(None, True, False)),
    }


@st.composite
def arms(draw: st.DrawFn, batch: int) -> Config:
    """An optimizer and any methods, with two step sizes side by side."""
    name = draw(one_of("sgd", "sgd", "adam", "adamw", "adamo"))
    arm: Config = {"optimizer": name}
    arm["step_size"] = draw(one_of([0.003, 0.001], 0.002)) if name == "sgd" else draw(one_of([3e-4, 1e-4], 1e-4))
    if name == "sgd":
        arm |= {"momentum": draw(one_of(0.0, 0.0, 0.9)), "weight_decay": draw(one_of(0.0, [0.01, 0.1]))}
    if name == "adamo":
        arm |= {"isometry_strength": draw(one_of(0.0, 0.01)), "every": draw(st.integers(1, 3))}
        arm |= {"order": draw(one_of("simultaneous", "sequential")), "head": draw(st.booleans())}
    if draw(st.booleans()):
        arm["l2"] = {"strength": draw(one_of(0.0, 1e-5, [0.01, 1.0]))}
    if draw(st.integers(0, 2)) == 0:
        arm["shrink_and_perturb"] = {"strength": draw(one_of(0.0, 0.01)), "perturb_scale": draw(one_of(0.0, 1e-3))} | {
            "noise": "dense",  # lazy noise is the same in distribution alone
            "when": draw(one_of("step", "task")),
        }
    if draw(st.integers(0, 3)) == 0:
        arm["coupled_isometry"] = {"strength": 1e-3}
    if draw(st.integers(0, 3)) == 0:
        arm["reset"] = {"what": draw(one_of("head", "all", "optimizer")), "optimizer": draw(st.booleans())}
    if draw(st.integers(0, 3)) > 0:
        arm[CBP] = draw(replacements(batch))
    return arm


@st.composite
def sweeps(draw: st.DrawFn) -> Config:
    """A whole sweep file, as YAML would read it."""
    workload, network = draw(workloads()), draw(networks())
    arm = draw(arms(workload["batch"]))
    if network["activation"].startswith("groupsort"):
        arm.pop(CBP, None)  # which has no unit of its own there
    return {
        "workload": workload,
        "network": network,
        "dtype": draw(one_of("float64", "float32")),
        "metrics": ["weight_magnitude"],
        "seeds": 2,
        "arms": {"one": arm},
    }


def steps_of(training: Training) -> Iterator[Tree]:
    """The members' states after every step of a pack, which is trained as `run_pack` does."""
    training.begin()
    for task in range(training.stream.tasks):
        training.begin_task(task)
        while training.step < training.stream.task_start(task + 1):
            training.train(training.step + 1)
            yield training.engine.state()
        training.end_task(task)


def paths_for(pack: Pack) -> list[str]:
    """The paths that a plan may give a pack, besides the plain one, member after member."""
    parts = parts_of(Training(pack).learner)
    traced = partial(not_lowered, pack.members[0].config)
    return ["lifted", *(path for path in ("lanes", "online") if declined(path, parts, traced) is None)]


def gap(left: Tree, right: Tree) -> float:
    """Largest difference of two members' tensors, each by its largest entry; infinite where one alone is not finite."""
    worst = 0.0
    kept = {name: left[name] for name in ("params", "state", "loss", "correct")}
    for a, b in zip(flattened(kept)[0], flattened(in_order({n: right[n] for n in kept}, kept))[0], strict=True):
        a, b = a.double(), b.double()
        if not a.isfinite().all() or not b.isfinite().all():
            return 0.0 if not a.isfinite().all() and not b.isfinite().all() else math.inf
        if a.numel():
            worst = max(worst, float((a - b).abs().max()) / max(float(a.abs().max()), 1.0))
    return worst


def replaced_otherwise(left: Tree, right: Tree) -> str | None:
    """The first layer in which two members' units are of other ages, if any."""
    ages, others = (tree["state"].get(CBP, {}).get("age", {}) for tree in (left, right))
    return next((name for name, age in ages.items() if not torch.equal(age, others[name])), None)


def tied(before: Tree, left: Tree, right: Tree, layer: str, dtype: str) -> bool:
    """Whether the units that two paths replaced differently were of one utility but for rounding."""
    own = before["state"][CBP]
    other = (left["state"][CBP]["age"][layer] != right["state"][CBP]["age"][layer]).nonzero().squeeze(-1)
    utility = own["utility"][layer].double()
    spread = float(utility[other].max() - utility[other].min())
    return spread <= TIED[dtype] * max(float(utility.abs().max()), 1e-30)


def agreed(pack: Pack, path: str, dtype: str) -> None:
    """A path's members are the plain path's, step by step."""
    members = range(len(pack.members))
    watched = set(members)
    with torch.no_grad(), computing():
        plain, fast = steps_of(Training(pack, path="looped")), steps_of(Training(pack, path=path))
        before: Tree = {}
        for step, (left, right) in enumerate(zip(plain, fast, strict=True)):
            for i in sorted(watched):
                one, other = member(left, i), member({k: v for k, v in right.items() if k != "path"}, i)
                layer = replaced_otherwise(one, other)
                if layer is not None:
                    assert before and tied(member(before, i), one, other, layer, dtype), (path, step, i, layer)
                    watched.discard(i)
                    continue
                assert gap(one, other) < CLOSE[dtype], (path, step, i)
            before = left


def check(tree: Config, folder: Path) -> None:
    """One sweep on every path."""
    spec = parse(json.dumps(tree), folder / "random.yaml")
    for planned in plan_packs(expand(spec), workers=1):
        pack = Pack(id=planned.id, members=planned.trials, path="looped")
        for path in paths_for(pack):
            agreed(pack, path, tree["dtype"])


@pytest.fixture(autouse=True)
def _uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lifted path's programs run as they are traced: compiling each takes seconds, and has tests of its own."""
    monkeypatch.setattr(Programs, "compile", lambda self, key, function, arguments: setattr(self, "compiled", False))


QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
# Not made smaller where one fails, which takes minutes: a sweep is small as it is.
FEW = settings(max_examples=5, suppress_health_check=QUIET, phases=[Phase.explicit, Phase.generate])
MANY = settings(suppress_health_check=QUIET, phases=[Phase.generate])


LINEAR: Config = {  # has no unit to replace, and once had a state that no lane could hold
    "workload": {"name": "slowly_changing_regression", "tasks": 2, "period": 12},
    "network": {"width": 5, "depth": 0},
    "dtype": "float64",
    "seeds": 2,
    "arms": {"one": {"optimizer": "sgd", CBP: {"replacement_rate": 0.1, "maturity_threshold": 2}}},
}

ONE_WIDE: Config = {  # whose gradients by inputs torch has in another order: online could not cut them from its trace
    "workload": {"name": "slowly_changing_regression", "tasks": 2, "period": 12, "batch": 1}
    | {"slow_bits": 4, "fast_bits": 1, "task_boundaries": "shown"},
    "network": {"width": 1, "depth": 3, "activation": "elu", "biases": False, "normalisation": "layer_plain"},
    "dtype": "float64",
    "seeds": 2,
    "arms": {
        "one": {
            **{"optimizer": "sgd", "step_size": [0.003, 0.001], "momentum": 0.9, "weight_decay": [0.01, 0.1]},
            "reset": {"what": "head", "optimizer": True},
            CBP: {"preset": "official_resnet", "utility": "weight", "replacement_rate": 0.0, "maturity_threshold": 3},
        }
    },
}


@FEW
@example(tree=LINEAR)
@given(tree=sweeps())
def test_random_sweeps_agree_on_every_path(tree: Config, tmp_path: Path) -> None:
    check(tree, tmp_path)


@pytest.mark.parametrize("tree", [pytest.param(ONE_WIDE, id="one unit wide")])
def test_a_sweep_that_once_failed_agrees_on_every_path(
    tree: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilers.lightly(monkeypatch)
    check(tree, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@MANY
@given(tree=sweeps())
def test_many_random_sweeps_agree_on_every_path(tree: Config, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        compilers.lightly(patch)
        check(tree, tmp_path)
