"""A learner whose replacements of units can be compared with an oracle's."""

from __future__ import annotations

from typing import Any

import torch

from workloads.learner import Learner
from workloads.methods.base import Params, State
from workloads.random import Draw


class Watched(Learner):
    """A learner that notes which units are replaced, and checks the age rule while it is at it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.events: list[Any] = []  # step, layer (see `called`), unit

    def called(self, place: int) -> Any:
        """What a hidden layer is called in the events."""
        return place

    def repair(
        self, params: Params, state: State, hyper: Any, draw: Draw, *, method: str, place: int
    ) -> tuple[Params, State]:
        site = self.network.sites[place].name
        before = state[method]["age"][site]
        params, state = super().repair(params, state, hyper, draw, method=method, place=place)
        (unit,) = torch.nonzero((before != 0) & (state[method]["age"][site] == 0)).flatten().tolist()
        assert before[unit] > hyper[method]["maturity_threshold"]
        self.events.append((int(draw.step), self.called(place), unit))
        return params, state
