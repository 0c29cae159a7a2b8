"""Trained networks out of the ledger, for trials whose weights were kept."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sweep.errors import InputError
from sweep.ledger.ledger import Ledger
from sweep.repeat import located
from workloads.engine.layout import mapped
from workloads.extensions import load_code
from workloads.learner import Learner
from workloads.training.assembled import loss_of, network_of, ways_of_learning, workload_of


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A network with its weights. `network(x)` is its output; `activations(x)` what its hidden layers do."""

    trial: str
    config: dict[str, Any]
    network: Any  # of workloads.networks
    params: dict[str, Tensor]
    shown: Callable[[Tensor], Tensor]  # what the network is shown of x: its methods may change inputs

    def __call__(self, x: Tensor) -> Tensor:
        """x (B, inputs) -> (B, outputs)."""
        output: Tensor = self.network.apply(self.params, self.shown(x))[0]
        return output

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """Hidden layer -> (B, units)."""
        return dict(self.network.apply(self.params, self.shown(x))[1])


def load(trial: str, *, task: int | None, storage: str) -> TrainedNetwork:
    """The network of a trial (an id or its beginning), final or after `task` tasks. Raises InputError."""
    ledger = Ledger(storage)
    trial_id = ledger.find_trial(trial)
    kept = dict(ledger.weights(trial_id))
    label = "final" if task is None else task
    if label not in kept:
        have = ", ".join(map(str, kept)) or "nothing: its sweep says `keep: none`"
        raise InputError(f"trial {trial_id} has no weights for {label}; kept: {have}")
    held = torch.load(io.BytesIO(kept[label]), weights_only=True)
    config = json.loads(held["config"])
    if config["code"]:
        load_code(dict(located(ledger, trial_id)[0].manifest["code"]))
    workload = workload_of(config, config["seed"])
    network, (optimizer, methods) = network_of(config, workload), ways_of_learning(config)
    learner = Learner(network, loss_of(workload), optimizer, methods)
    hyper = mapped(torch.tensor, learner.hyper_of(optimizer[1], methods))
    state = held.get("inputs", {})
    return TrainedNetwork(trial_id, config, network, held["params"], lambda x: learner.shown(x, state, hyper))
