"""Trained networks: the weights that were kept, in a network that can be called."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import sweep
from sweep.errors import InputError, StorageError
from sweep.ledger.ledger import Ledger
from sweep.service import execute, plan


def a_trial(storage: Path) -> str:
    return Ledger(storage).sweep("tiny", "full").trials[0].id


def test_a_kept_network_is_a_function_of_its_inputs(ran: Path) -> None:
    trained = sweep.load(a_trial(ran)[:8], storage=str(ran))
    assert trained.trial == a_trial(ran)
    assert trained.config["optimizer"]["step_size"] == 0.01
    weights = trained.params
    assert weights["layers.0.weight"].shape == (3, 20) and weights["layers.1.weight"].shape == (1, 3)
    x = torch.ones(4, 20)
    hidden = torch.relu(x @ weights["layers.0.weight"].T + weights["layers.0.bias"])
    torch.testing.assert_close(trained.activations(x)["layers.0"], hidden)
    torch.testing.assert_close(trained(x), hidden @ weights["layers.1.weight"].T + weights["layers.1.bias"])
    assert trained(x).shape == (4, 1)


def test_training_changed_it(ran: Path) -> None:
    trained = sweep.load(a_trial(ran), storage=str(ran))
    before = trained.network.init(trained.config["seed"])
    assert (trained.params["layers.1.bias"] - before["layers.1.bias"]).abs().max() > 0.01


def test_what_was_not_kept_is_said(ran: Path) -> None:
    with pytest.raises(InputError, match=r"has no weights for 1; kept: final"):
        sweep.load(a_trial(ran), task=1, storage=str(ran))
    with pytest.raises(InputError, match="no trial begins with 'zz'"):
        sweep.load("zz", storage=str(ran))


def test_a_policy_is_a_function_of_states(tmp_path: Path, alone: None, uncompiled: None) -> None:
    file = tmp_path / "poles.yaml"
    file.write_text(
        "workload: {name: continual_control, tasks: 1, steps_per_task: 512, rollout: 64, minibatches: 1}\n"
        "network: {width: 2}\narms: {a: {optimizer: sgd, step_size: 0.001}}\nmetrics: [average_return]\nkeep: final\n"
    )
    planned = plan(file, storage=str(tmp_path / "storage"))
    execute(planned, listener=lambda progress: None, inline=True)
    policy = sweep.load(planned.trials[0].id, storage=planned.storage)
    weights, x = policy.params, torch.ones(3, 4)
    hidden = torch.relu(x @ weights["layers.0.weight"].T + weights["layers.0.bias"])
    torch.testing.assert_close(policy(x), hidden @ weights["layers.1.weight"].T + weights["layers.1.bias"])
    assert policy(x).shape == (3, 2)


def test_a_damaged_file_is_said(ran: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(ran, storage)
    for file in storage.rglob("weights-*.pt"):
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(StorageError, match="missing or damaged"):
        sweep.load(a_trial(storage), storage=str(storage))


def test_weights_on_the_way_and_none(tmp_path: Path, alone: None, uncompiled: None) -> None:
    def run(keep: str) -> str:
        file = tmp_path / "kept.yaml"
        file.write_text(
            "workload: {name: slowly_changing_regression, tasks: 3, period: 10}\nnetwork: {width: 2}\n"
            f"arms: {{a: {{optimizer: sgd}}}}\nmetrics: [online_error]\nkeep: {keep}\n"
        )
        planned = plan(file, storage=str(tmp_path / "storage"))
        execute(planned, listener=lambda progress: None, inline=True)
        return planned.trials[0].id

    trial = run("{every: 2}")
    at_two = sweep.load(trial, task=2, storage=str(tmp_path / "storage"))
    at_end = sweep.load(trial, storage=str(tmp_path / "storage"))
    assert not torch.equal(at_two.params["layers.0.weight"], at_end.params["layers.0.weight"])
    with pytest.raises(InputError, match="has no weights for final; kept: nothing: its sweep says `keep: none`"):
        sweep.load(run("none"), storage=str(tmp_path / "storage"))
