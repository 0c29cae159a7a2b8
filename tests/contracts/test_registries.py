"""Promises of every registry entry: its config survives JSON, semantics is a number, results stay what they were."""

from __future__ import annotations

import dataclasses
import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import fingerprints
import pytest
from packs import Shape, distance

import workloads
from workloads import metrics
from workloads.data.catalogue import DATASETS
from workloads.diagnostics import DIAGNOSTICS
from workloads.kinds import WORKLOADS
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.networks.base import offers_layers
from workloads.networks.config import NETWORKS, Activation, Initialisation
from workloads.networks.implementations import IMPLEMENTATIONS as NETWORK_IMPLEMENTATIONS
from workloads.streams import STREAMS

CONFIGS = {
    **{f"optimizer {name}": spec.config for name, spec in OPTIMIZERS.items()},
    **{f"method {name}": spec.config for name, spec in METHODS.items()},
    **{f"network {name}": spec.config for name, spec in NETWORKS.items()},
    **{f"workload {name}": kind.Config for name, kind in WORKLOADS.items()},
}
ENTRIES = [*OPTIMIZERS.values(), *METHODS.values(), *NETWORKS.values(), *WORKLOADS.values(), *DIAGNOSTICS.values()]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_config_reads_back_from_json(config: Any) -> None:
    default = config()
    assert config(**json.loads(json.dumps(dataclasses.asdict(default)))) == default


@pytest.mark.parametrize("name", NETWORKS)
def test_a_networks_entry_says_what_its_class_does(name: str) -> None:
    spec, kind = NETWORKS[name], NETWORK_IMPLEMENTATIONS[name]
    assert spec.layered == offers_layers(kind)
    # By these a user's subclass is planned.
    assert (spec.pictures, spec.convolutional) == (kind.pictures, kind.convolutional)


def test_semantics_are_whole_numbers() -> None:
    assert all(isinstance(entry.semantics, int) and entry.semantics >= 1 for entry in ENTRIES)


@pytest.mark.parametrize(
    "table, room, names",
    [
        ("OPTIMIZERS", "methods", OPTIMIZERS),
        ("METHODS", "methods", METHODS),
        ("NETWORKS", "networks", NETWORKS),
        ("STREAMS", "streams", STREAMS),
        ("DIAGNOSTICS", "diagnostics", DIAGNOSTICS),
    ],
)
def test_a_file_that_ships_says_what_it_adds_as_a_users_does(table: str, room: str, names: Any) -> None:
    modules = [file.stem for file in (Path(workloads.__file__).parent / room).glob("[!_]*.py")]
    tables = [
        getattr(import_module(f"workloads.{room}.{module}"), table, {})
        for module in modules
        if module not in ("config", "base", "implementations")  # which hold the whole registry
    ]
    assert sorted(name for found in tables for name in found) == sorted(names)


ROWS: dict[str, set[str]] = {
    "workloads": set(WORKLOADS),
    "images": set(DATASETS),
    "networks": {*NETWORKS, *get_args(Activation), *get_args(Initialisation)},
    "optimizers": set(OPTIMIZERS),
    "methods": set(METHODS),
    "measures": set(metrics.MEASURED),
    "diagnostics": set(DIAGNOSTICS),
}


@pytest.mark.parametrize("row", ROWS)
def test_the_readme_names_all_there_is(row: str) -> None:
    text = (Path(workloads.__file__).parents[1] / "README.md").read_text()
    [line] = [line for line in text.splitlines() if line.startswith(f"| {row} |")]
    said, whole = set(re.findall(r"\w+", line)), ""
    for name in re.findall(r"`(\w+)`", line):  # `_min` ends like the name before it
        whole = whole.rpartition("_")[0] + name if name.startswith("_") else name
        said.add(whole)
    assert ROWS[row] <= said


def test_every_entry_acts() -> None:
    now = list(fingerprints.computed().values())
    assert len(set(now)) == len(now), "two entries that come to the same number: one of them does nothing there"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name.startswith("engine") or name.endswith("layer_scale")))
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
