"""Promises of every registry entry: its config survives JSON, semantics is a number, results stay what they were."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import fingerprints
import pytest
from packs import Shape, distance

from workloads.diagnostics import DIAGNOSTICS
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.networks.config import NETWORKS
from workloads.streams import STREAMS

CONFIGS = {
    **{f"optimizer {name}": spec.config for name, spec in OPTIMIZERS.items()},
    **{f"method {name}": spec.config for name, spec in METHODS.items()},
    **{f"network {name}": spec.config for name, spec in NETWORKS.items()},
    **{f"stream {name}": kind.Config for name, kind in STREAMS.items()},
}
ENTRIES = [*OPTIMIZERS.values(), *METHODS.values(), *NETWORKS.values(), *STREAMS.values(), *DIAGNOSTICS.values()]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_config_reads_back_from_json(config: Any) -> None:
    default = config()
    assert config(**json.loads(json.dumps(dataclasses.asdict(default)))) == default


def test_semantics_are_whole_numbers() -> None:
    assert all(isinstance(entry.semantics, int) and entry.semantics >= 1 for entry in ENTRIES)


def test_every_entry_acts() -> None:
    now = list(fingerprints.computed().values())
    assert len(set(now)) == len(now), "two entries that come to the same number: one of them does nothing there"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * name.startswith("engine"))
        for name, case in fingerprints.cases().items()
        if isinstance(case.shape, Shape) and "=" not in name and not name.startswith("network")
    ],
)
def test_every_path_that_takes_a_fingerprints_case_comes_to_it(name: str) -> None:
    case = fingerprints.cases()[name]
    gaps = {path: distance(case.trained(), case.trained(path)) for path in case.paths()}
    assert "lifted" in gaps and max(gaps.values()) < 1e-10, gaps


def test_results_change_only_with_semantics() -> None:
    stored = json.loads(fingerprints.FILE.read_text())
    now = fingerprints.computed()
    changed = [key for key in stored if key in now and now[key] != pytest.approx(stored[key], rel=1e-8)]
    assert not changed, f"raise the semantics of {changed}, then: python tests/contracts/fingerprints.py"
    assert stored.keys() == now.keys(), "new entries or semantics: python tests/contracts/fingerprints.py"
