"""The bench: what it offers, and that both sides of a ratio train what they claim to. Not how fast."""

from __future__ import annotations

import json

import pytest
import torch
from tiny import Command

from sweep import bench
from sweep.bench import ARMS, CASES, QUICK, Case, PlainLoop, config_of, selected
from sweep.errors import InputError
from workloads.pack import stream_of, ways_of_learning

KEYS = ["stream", "network", "batch", "arm", "members", "path", "ns_per_trial_step", "plain_ns", "ratio"]
KEYS += ["first_call_s", "peak_mb", "valid", "versions"]


def test_the_rows_that_were_promised_are_there() -> None:
    there = {(case.stream, case.arm, case.members) for case in CASES}
    for arm in ("sgd", "continual_backprop", "adam", "adamo"):
        assert {(bench.REGRESSION, arm, 3000), (bench.REGRESSION, arm, 30)} <= there
    assert {(bench.IMAGES, arm, 30) for arm in ("sgd", "continual_backprop")} <= there


def test_rows_are_chosen_by_stream_and_arm() -> None:
    assert selected(quick=True, stream=None, arm=None) == QUICK
    assert {c.arm for c in selected(quick=False, stream=bench.IMAGES, arm="sgd")} == {"sgd"}
    with pytest.raises(InputError, match="unknown arm 'sdg': did you mean 'sgd'"):
        selected(quick=False, stream=None, arm="sdg")
    with pytest.raises(InputError, match="unknown stream 'mnist'"):
        selected(quick=False, stream="mnist", arm=None)
    with pytest.raises(
        InputError, match="no such row among the quick ones; there is: sgd on slowly_changing_regression"
    ):
        selected(quick=True, stream=bench.IMAGES, arm=None)


@pytest.mark.parametrize("arm", ARMS)
def test_a_case_is_a_trial_the_engine_accepts(arm: str) -> None:
    config = config_of(Case(bench.REGRESSION, arm, 2, 3, 10, 10), seed=1, which=2)
    (name, optimizer), methods = ways_of_learning(config)
    assert name == ARMS[arm][0]["name"] and set(methods) == set(ARMS[arm][1])
    assert 0 < optimizer.step_size < 0.01 and config["seed"] == 1
    sizes = [config_of(Case(bench.REGRESSION, arm, 1, 3, 10, 10), 0, k)["optimizer"]["step_size"] for k in range(3)]
    assert len(set(sizes)) == 3


@pytest.mark.parametrize("arm", ARMS)
def test_the_plain_loop_learns(arm: str) -> None:
    config = config_of(Case(bench.REGRESSION, arm, 1, 1, 10, 10), 0, 0)
    torch.manual_seed(0)
    loop = PlainLoop(config, stream_of(config, 0))
    for start in range(0, 2000, 400):
        loop.run(start, 400)
    assert loop.losses[-1] < 0.8 * loop.losses[0]


@pytest.mark.slow
def test_a_measured_row_has_the_documented_keys(command: Command) -> None:
    said = command("bench", "--quick", "--json")
    assert said.code == 0, said.err
    rows = json.loads(said.out)
    assert [row["arm"] for row in rows] == ["sgd", "continual_backprop"]
    for row in rows:
        assert list(row) == KEYS
        assert (row["stream"], row["network"], row["batch"], row["members"]) == (bench.REGRESSION, "20-5-1", 1, 16)
        assert row["path"] == "lanes" and row["ratio"] > 1 and row["peak_mb"] > 50
        assert row["ratio"] == pytest.approx(row["plain_ns"] / row["ns_per_trial_step"], rel=0.02)
        assert {"pliant", "torch", "python"} <= set(row["versions"])
