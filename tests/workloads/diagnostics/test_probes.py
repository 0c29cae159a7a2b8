"""What a pack looks at before a task: every stream's probe once, and each member on its own."""

from __future__ import annotations

from typing import Any

import configs
import pytest
import torch

from workloads.diagnostics import DIAGNOSTICS
from workloads.streams.slowly_changing_regression import SlowlyChangingRegression
from workloads.training import feed, probes
from workloads.training.loop import Training
from workloads.training.pack import Pack, PackMember

SEEDS = (5, 4, 6, 5, 4, 5)


def training(*seeds: int, dtype: str = "float64") -> Training:
    """A pack of untrained members, one per seed, each of another step size."""
    network = {"name": "mlp", "width": 4, "depth": 2}
    config = configs.small(network=network, metrics=sorted(DIAGNOSTICS), probe=16, dtype=dtype)
    members = [PackMember(f"t{i}", {**config, "seed": seed}) for i, seed in enumerate(seeds)]
    made = Training(Pack(id="p", members=members, path="looped"))
    made.begin()
    return made


def measured(pack: Training) -> dict[str, list[float]]:
    """Metric -> a value per member, in the pack's order."""
    with torch.no_grad():
        pack.diagnose(1)
    rows = pack.table.take()
    found: dict[str, list[float]] = {}
    for metric, member, value in zip(rows.metric, rows.member, rows.value, strict=True):
        assert member == len(found.setdefault(rows.names[metric], []))
        found[rows.names[metric]].append(float(value))
    return found


@pytest.mark.parametrize("room", [feed.CHUNK_BYTES, 40_000, 1000])  # room for all members, for two, for one
def test_members_of_several_streams_in_any_order_are_measured_on_their_own(
    monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    asked: list[tuple[int, int]] = []
    probe = SlowlyChangingRegression.probe

    def counted(self: Any, task: int, count: int) -> Any:
        asked.append((task, count))
        return probe(self, task, count)

    alone = {seed: measured(training(seed)) for seed in set(SEEDS)}
    monkeypatch.setattr(SlowlyChangingRegression, "probe", counted)
    monkeypatch.setattr(probes, "CHUNK_BYTES", room)
    pack = training(*SEEDS)
    found = measured(pack)
    own = {spec.probe for spec in DIAGNOSTICS.values()} - {None, 16}
    assert sorted(asked) == sorted((1, count) for count in (16, *own) for _ in range(3))  # once per stream and size
    if room < feed.CHUNK_BYTES:
        assert pack.probes.together(["gradient_norm"], 16) == {40_000: 2, 1000: 1}[room]
    for place, seed in enumerate(SEEDS):
        for name, values in found.items():
            assert values[place] == pytest.approx(alone[seed][name][0], rel=1e-12), name
