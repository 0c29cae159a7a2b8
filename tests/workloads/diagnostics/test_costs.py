"""What looks cost: each part once per size of probe, and no part without a cost."""

from __future__ import annotations

from typing import get_args

import pytest

from workloads.diagnostics import COSTS, Part, look_cost


def test_every_part_of_a_look_has_a_cost() -> None:
    assert COSTS.keys() == set(get_args(Part))


@pytest.mark.parametrize(
    ("names", "cost"),
    [
        ([], 0),
        (["online_error"], 0),
        (["dormant_fraction"], 100 * 1.2),
        (["dormant_fraction", "dead_fraction"], 100 * 1.2),
        (["rank_99", "effective_rank", "gradient_norm"], 100 * (1 + 0.6 + 2)),
        (["layer_jacobian_min", "layer_jacobian_max"], 16 * 251),
        (["layer_jacobian_min", "dormant_fraction"], 16 * 251 + 100 * 1.2),
    ],
)
def test_what_is_shared_is_counted_once(names: list[str], cost: float) -> None:
    assert look_cost(names, 100) == pytest.approx(cost)
