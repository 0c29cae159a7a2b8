"""Measuring a pack: the metrics' names, values equal to the single functions', members apart."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from workloads.checks.diagnostics import WatchedLook
from workloads.diagnostics import DIAGNOSTICS, spectrum
from workloads.diagnostics import look as look_module
from workloads.diagnostics.base import diagnostic
from workloads.diagnostics.dormant import dead_fraction, dormant_fraction, rarely_active_fraction
from workloads.diagnostics.effective_rank import effective_rank
from workloads.diagnostics.gradient_norm import gradient_norm
from workloads.diagnostics.isometry import isometry_deviation, singular_value_max, singular_value_min
from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import deciles, measure
from workloads.diagnostics.rank_99 import rank_99
from workloads.diagnostics.stable_rank import stable_rank
from workloads.diagnostics.stable_rank_99 import stable_rank_99
from workloads.diagnostics.weight_magnitude import weight_magnitude
from workloads.errors import InputError
from workloads.losses.implementations import SquaredError
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP

FEATURES = {
    "dormant_fraction": dormant_fraction,
    "dead_fraction": dead_fraction,
    "rarely_active_fraction": rarely_active_fraction,
    "effective_rank": effective_rank,
    "stable_rank": stable_rank,
    "stable_rank_99": stable_rank_99,
    "rank_99": rank_99,
}
WEIGHTS = {
    "weight_magnitude": weight_magnitude,
    "isometry_deviation": isometry_deviation,
    "singular_value_max": singular_value_max,
    "singular_value_min": singular_value_min,
}


def look_at(depth: int, members: int = 4, width: int = 6) -> Look:
    """Members of a network on a probe of 16 examples; their parameters stand in for their gradients, draws for ages.

    All there is to measure is there: of units that a trial would begin with silenced, too.
    """
    network = MLP(MLPConfig(width=width, depth=depth, killed="flipped"), 5, 2)
    inits = [network.init(seed, at=1) for seed in range(members)]
    params = {name: torch.stack([init[name] for init in inits]).float() for name in inits[0]}
    x = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
    x = x.expand(members, -1, -1)
    past = Look(network, {name: 0.9 * value for name, value in params.items()}, x)
    known = {"targets": x[..., :2], "loss": SquaredError(), "before": past, "initial": past}
    known["ages"] = {f"layers.{k}": 100 * x[:, k, :1] + torch.arange(float(width)) for k in range(depth)}
    return Look(network, params, x, gradients=params, **known)


def part_of(look: Look, members: slice) -> Look:
    """A look at some of the members, whose activations are those of the whole look."""
    params = {name: value[members] for name, value in look.params.items()}
    activations = {name: value[members] for name, value in look.activations.items()}
    known = {"gradients": params, "activations": activations}
    assert look.targets is not None and look.before is not None
    before = {name: value[members] for name, value in look.before.params.items()}
    past = Look(look.network, before, look.x[members])
    known |= {"targets": look.targets[members], "loss": look.loss, "before": past, "initial": past}
    known["ages"] = {name: value[members] for name, value in look.known_ages.items()}
    return Look(look.network, params, look.x[members], **known)


def test_every_diagnostic_is_measured_and_named_for_itself() -> None:
    look = look_at(depth=1)
    measured = measure(DIAGNOSTICS, look)
    assert {name for name in measured if "/" not in name} == set(DIAGNOSTICS)
    assert {name.partition("/")[0] for name in measured if "/" in name} == {
        n for n, s in DIAGNOSTICS.items() if s.deciles or s.per_matrix
    }
    several = measure(DIAGNOSTICS, look_at(depth=2))
    assert {name for name in DIAGNOSTICS if f"{name}/2" in several} == {
        n for n, s in DIAGNOSTICS.items() if s.per_layer or s.per_matrix or s.deciles
    }
    assert all(value.shape == (4,) and value.dtype == torch.float64 for value in measured.values())


def test_values_are_those_of_the_single_functions() -> None:
    look = look_at(depth=2)
    measured = measure(DIAGNOSTICS, look)
    for name, function in FEATURES.items():
        first, second = (function(features) for features in look.features)
        assert torch.equal(measured[f"{name}/1"], first)
        assert torch.equal(measured[f"{name}/2"], second)
        torch.testing.assert_close(measured[name], (first + second) / 2)
    for name, weighed in WEIGHTS.items():
        assert torch.equal(measured[name], weighed(look.weights))
    assert torch.equal(measured["gradient_norm"], gradient_norm(list(look.params.values()), leading=1))


def test_deciles_are_linear_between_the_sorted_values() -> None:
    """Of 3, 0, 1 and 7 the k-th decile is at 0.3 k on the broken line through 0, 1, 3, 7."""
    values = torch.tensor([[3.0, 0.0, 1.0, 7.0], [1.0, math.nan, 2.0, 3.0]], dtype=torch.float64)
    expected = [0, 0.3, 0.6, 0.9, 1.4, 2, 2.6, 3.4, 4.6, 5.8, 7]
    assert deciles(values)[0].tolist() == pytest.approx(expected)
    torch.testing.assert_close(deciles(values)[0], values[0].quantile(torch.linspace(0, 1, 11, dtype=torch.float64)))
    assert deciles(values[:1, :1])[0].tolist() == [3.0] * 11
    assert deciles(torch.full((4,), math.nan)).isnan().all()


def test_every_matrix_has_its_singular_values_as_deciles() -> None:
    """Of diag(0, 1, ..., 10) and of a head of three ones, each decile is one of the values."""
    network = MLP(MLPConfig(width=11, depth=1, biases=False), 11, 1)
    params = {"layers.0.weight": torch.diag(torch.arange(11.0))[None], "layers.1.weight": torch.zeros(1, 1, 11)}
    params["layers.1.weight"][0, 0, :9] = 1
    measured = measure(["singular_values"], Look(network, params, torch.zeros(1, 2, 11)))
    assert [measured[f"singular_values/1/{k}"].item() for k in range(11)] == pytest.approx(list(range(11)))
    assert [measured[f"singular_values/2/{k}"].item() for k in range(11)] == pytest.approx([3] * 11)
    means = [measured[name].item() for name in ("singular_values/1", "singular_values/2", "singular_values")]
    assert means == pytest.approx([5, 3, 4]) and len(measured) == 2 * 11 + 3


def test_layers_are_named_only_where_there_are_several() -> None:
    for depth, expected in (
        (1, {"rank_99"}),
        (3, {"rank_99", "rank_99/1", "rank_99/2", "rank_99/3"}),
    ):
        look = look_at(depth)
        assert set(measure(["rank_99"], look)) == expected


def test_a_linear_model_has_no_features_to_measure() -> None:
    look = look_at(depth=0)
    measured = measure(["effective_rank", "weight_magnitude"], look)
    assert set(measured) == {"weight_magnitude"}


def test_each_matrix_is_decomposed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    look = look_at(depth=2)
    shapes: list[tuple[int, ...]] = []

    def counted(name: str) -> Callable[[Tensor], Tensor]:
        function = getattr(spectrum, name)

        def count(matrices: Tensor) -> Tensor:
            shapes.append(tuple(matrices.shape))
            return function(matrices)

        return count

    for name in ("singular_values", "feature_values"):
        monkeypatch.setattr(look_module, name, counted(name))
    measure(DIAGNOSTICS, look)
    jacobians = [(4, 16, 6, 5), (4, 16, 6, 6), (4, 16, 2, 5)]
    assert sorted(shapes) == sorted([(4, 16, 6)] * 2 + [(4, 6, 5), (4, 6, 6), (4, 2, 6)] + jacobians)
    shapes.clear()
    measure(["dormant_fraction", "weight_magnitude"], look_at(depth=2))
    assert shapes == []


def test_a_member_that_is_not_finite_leaves_the_others_alone() -> None:
    look = look_at(depth=2)
    clean = measure(DIAGNOSTICS, look)
    for value in [*look.params.values(), *look.activations.values(), *look.known_ages.values()]:
        value[2] = math.nan
    found = measure(DIAGNOSTICS, part_of(look, slice(None)))
    for name, value in found.items():
        assert value[2].isnan(), name
        assert torch.equal(value[[0, 1, 3]], clean[name][[0, 1, 3]]), name


@pytest.mark.parametrize("width", [5, 6, 33, 100])
def test_a_member_measures_the_same_alone(width: int) -> None:
    look = look_at(depth=2, width=width)
    among = measure(DIAGNOSTICS, look)
    alone = measure(DIAGNOSTICS, part_of(look, slice(1, 2)))
    assert [name for name, value in alone.items() if not torch.equal(value, among[name][1:2])] == []


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    look = look_at(depth=1)
    with pytest.raises(InputError, match="unknown diagnostic 'efective_rank'.*'effective_rank'"):
        measure(["efective_rank"], look)


def test_gradient_norm_needs_gradients() -> None:
    look = look_at(depth=1)
    with pytest.raises(ValueError, match="a look without gradients"):
        measure(["gradient_norm"], Look(look.network, look.params, look.x))


def test_the_table_is_read_without_torch() -> None:
    code = "import sys, workloads.diagnostics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_a_diagnostic_reads_what_it_says_it_needs_and_nothing_else(name: str) -> None:
    look = look_at(depth=2)
    watched = WatchedLook.of(look)
    diagnostic(name).measure(watched)
    assert watched.read == set(DIAGNOSTICS[name].needs)
