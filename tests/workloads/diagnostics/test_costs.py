"""What looks cost: each part once per size of probe, no part without a cost, and as many operations as are declared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from workloads.diagnostics import DIAGNOSTICS, Part
from workloads.diagnostics.costs import COSTS, DECOMPOSED, EIGENVALUES, SINGULAR_VALUES, Sizes, costliest, look_cost
from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import measure
from workloads.losses.implementations import CrossEntropy
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP

SIZES = Sizes(examples=100, outputs=10, parameters=100_000, width=100)
LAYERS = 16 * (1 + 100 * (2 + DECOMPOSED * EIGENVALUES))  # layer Jacobians, at their own 16 examples


def test_every_part_of_a_look_has_a_cost() -> None:
    assert COSTS.keys() == set(get_args(Part))


@pytest.mark.parametrize(
    ("names", "cost"),
    [
        ([], 0),
        (["online_error"], 0),
        (["dormant_fraction"], 100 * 1.2),
        (["dormant_fraction", "dead_fraction"], 100 * 1.2),
        (["rank_99", "effective_rank", "gradient_norm"], 100 * (1 + 1 + DECOMPOSED * EIGENVALUES + 2)),
        (["layer_jacobian_min", "layer_jacobian_max"], LAYERS),
        (["layer_jacobian_min", "dormant_fraction"], LAYERS + 100 * 1.2),
    ],
)
def test_what_is_shared_is_counted_once(names: list[str], cost: float) -> None:
    assert look_cost(names, SIZES) == pytest.approx(cost)


def test_a_kernel_of_more_outputs_costs_more_and_the_dearest_is_named() -> None:
    of_one, of_ten = (look_cost(["ntk_max"], replace(SIZES, outputs=count)) for count in (1, 10))
    assert of_one < of_ten < look_cost(["ntk_max"], replace(SIZES, convolutional=True))
    assert costliest(["dormant_fraction", "hessian_max", "ntk_max"], SIZES) == "hessian_max"


def eigenvalues(shape: Any, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    """Operations of a decomposition of symmetric matrices, in those of products that take as long."""
    return int(2 * DECOMPOSED * EIGENVALUES * torch.Size(shape[:-2]).numel() * shape[-1] ** 3)


def singular_values(shape: Any, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    """The same of matrices of any shape."""
    small, large = sorted(shape[-2:])
    return int(2 * DECOMPOSED * SINGULAR_VALUES * torch.Size(shape[:-2]).numel() * small**2 * large)


DECOMPOSITIONS = {torch.ops.aten._linalg_eigh: eigenvalues, torch.ops.aten._linalg_svd: singular_values}


@pytest.mark.parametrize("outputs", [2, 10])
@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_what_is_declared_is_what_is_computed_to_an_order_of_magnitude(name: str, outputs: int) -> None:
    """By torch's count of the operations of products, not by the clock."""
    network = MLP(MLPConfig(width=48, depth=3), 60, outputs)
    spec, examples = DIAGNOSTICS[name], DIAGNOSTICS[name].probe or 200
    params = {key: value[None].float() for key, value in network.init(0).items()}
    x = torch.randn(1, examples, 60, generator=torch.Generator().manual_seed(0))
    past = Look(network, params, x)
    known = {"targets": torch.zeros(1, examples, dtype=torch.int64), "loss": CrossEntropy(), "gradients": params}
    look = Look(network, params, x, before=past, initial=past, **known)
    with FlopCounterMode(display=False, custom_mapping=DECOMPOSITIONS) as counted:
        look.activations  # noqa: B018, which is made for all
        measure([name], look)
    passes = counted.get_total_flops() / 2 / network.parameter_count()
    sizes = Sizes(examples=examples, outputs=outputs, parameters=network.parameter_count(), width=48)
    given = 2 * examples if "gradients" in spec.needs else 0  # which come with a look
    assert look_cost([name], sizes) / 3 < passes + given < 3 * look_cost([name], sizes)
