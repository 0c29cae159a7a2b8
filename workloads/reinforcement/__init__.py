"""Learners that make their own data: what they act on, one file each, and the loop of such a trial."""

from __future__ import annotations

from typing import Any

from workloads.reinforcement.continual_control import ContinualControl
from workloads.reinforcement.continual_minatar import ContinualMinAtar
from workloads.reinforcement.locomotion import Ant, HalfCheetah, Hopper, SlipperyAnt, Walker

CONTROLS: dict[str, type[Any]] = {
    "continual_control": ContinualControl,
    "continual_minatar": ContinualMinAtar,
    "slippery_ant": SlipperyAnt,
    "ant": Ant,
    "hopper": Hopper,
    "walker": Walker,
    "half_cheetah": HalfCheetah,
}
