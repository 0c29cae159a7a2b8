"""Learners that make their own data: what they act on, one file each, and the loop of such a trial."""

from __future__ import annotations

from workloads.reinforcement.changing_control import ChangingControl

CONTROLS = {"changing_control": ChangingControl}
