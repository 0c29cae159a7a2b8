"""One network, one step after the other: the readable meaning of training, and the oracle of every faster path."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workloads.learner import Learner
from workloads.methods.base import Hyper, Params, State
from workloads.random import Draw


@dataclass(slots=True)
class Trained:
    """A network after some steps, and its summed online loss and accuracy (float64)."""

    params: Params
    state: State
    loss: float
    correct: float


def train(
    learner: Learner,
    params: Params,
    state: State,
    hyper: dict[str, Hyper],
    x: Tensor,
    y: Tensor,
    seed: Tensor,
    start: int,
    *,
    loss: float = 0.0,
    correct: float = 0.0,
) -> Trained:
    """Train on x (count, B, ...), y (count, B, ...), whose first batch is step `start` of the trial.

    `loss` and `correct` are the sums so far: a step is added to them, not to a sum of this call, so that the way steps
    are split over calls changes no bit.
    """
    dtype = params[learner.network.head].dtype
    for k in range(len(x)):
        step = start + k
        draw = Draw(seed, torch.tensor(step, device=seed.device), dtype)
        acting = learner.acting(step)
        # A copy: last bits of a product depend on where in memory its factors begin, and so on who shares the examples.
        params, state, online = learner.step(params, state, hyper, x[k].clone(), y[k], draw, acting=acting)
        params, state = repaired(learner, params, state, hyper, draw)
        loss += float(online.loss)
        correct += float(online.correct)
    return Trained(params, state, loss, correct)


def repaired(
    learner: Learner, params: Params, state: State, hyper: dict[str, Hyper], draw: Draw
) -> tuple[Params, State]:
    """The network after the rare events that its last step counted."""
    for method in learner.rare:
        for place, due in enumerate(state[method]["due"].tolist()):
            for _ in range(due):
                params, state = learner.repair(params, state, hyper, draw, method=method, place=place)
    return params, state
