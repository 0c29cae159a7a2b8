"""What is guessed of packs that were not measured: beside what was measured of such packs, on two cores, in 2026."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from sweep import planning
from sweep.cluster import placement
from sweep.packing import plan_packs
from sweep.spec.reading import parse
from sweep.trials import expand


@pytest.mark.parametrize(
    ("study", "arm", "members", "training", "look"),
    [
        ("isometry_lens", "adam", 10, 4.4, 0.13),
        ("permuted_pixels", "adam", 6, 2.3, 0.012),
        ("permuted_mnist", "sgd", 6, 14.3, 0.1),
        ("expressiveness", "isometric_relu", 6, 4.9, 0.006),
        ("slowly_changing_regression", "linear", 50, 2.0, 0.0022),
    ],
)
def test_guesses_are_near_what_was_measured(
    study: str, arm: str, members: int, training: float, look: float, tmp_path: Any
) -> None:
    """Seconds of all steps and of one look, within a factor of three."""
    plan = planning.plan(study, scale="laptop", storage=str(tmp_path))
    pack = next(pack for pack in plan.packs if any(arm in trial.arms for trial in pack.trials))
    pack = dataclasses.replace(pack, trials=pack.trials[:members])
    assert training / 3 < placement.guessed_training(pack) < training * 3
    looks = placement.looks_at(pack.trials[0].config, pack.shape)
    assert look / 3 < placement.guessed_looks(pack) / looks < look * 3
    whole = placement.guessed_training(pack) + placement.guessed_looks(pack)
    assert placement.guessed_seconds(pack) == pytest.approx(placement.COMPILING[pack.path] + whole)


@pytest.mark.parametrize(
    ("arm", "members", "nanoseconds"),
    [
        ("adam", 30, 15_073),
        ("adamo", 30, 470_793),
        ("adamo, every: 16", 30, 48_241),
        ("muon", 30, 3_239_960),
    ],
)
def test_products_of_matrices_are_guessed_by_their_width(arm: str, members: int, nanoseconds: int) -> None:
    """A member's step of 784-100-100-100-10, batch 1, within a factor of three, as dashboards/benchmarks has them."""
    head = "workload: {name: permuted_mnist, tasks: 2}\nnetwork: {width: 100, depth: 3}\n"
    spec = parse(f"{head}seeds: {members}\narms:\n  a: {{optimizer: {arm}}}\n", Path("wide.yaml"))
    [pack] = plan_packs(expand(spec), workers=1)
    each = placement.guessed_training(pack) / (members * pack.shape.steps)
    assert nanoseconds / 3 < 1e9 * each < nanoseconds * 3


def test_what_is_not_looked_at_takes_no_time(tmp_path: Any) -> None:
    changed = {"metrics": ["online_accuracy"], "figures": []}
    [*packs] = planning.plan("permuted_mnist", scale="smoke", changed=changed, storage=str(tmp_path)).packs
    assert packs and {placement.guessed_looks(pack) for pack in packs} == {0}
