"""An iteration's steps: every member acts by its policy as it is, and what came of it is kept.

What actions are drawn by is a function of (seed, environment, step), so that how a member acts depends on nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workloads.random import Int64
from workloads.reinforcement.policies import Policy
from workloads.reinforcement.worlds import Stepped, Worlds

Network = Callable[[Tensor], Tensor]  # what members' networks say of observations (M, N, inputs): (M, N, outputs)
Placed = Callable[[NDArray[Any]], Tensor]  # an array on the pack's device, floating-point numbers in its type


@dataclass(frozen=True, slots=True)
class Rollout:
    """T steps of E environments of M members."""

    seen: Tensor  # (T + 1, M, E, inputs): observations before every step, and after the last
    outputs: Tensor  # (T, M, E, outputs), of the policy that acted
    actions: Tensor  # (T, M, E, numbers)
    rewards: Tensor  # (T, M, E)
    terminated: Tensor  # (T, M, E)
    truncated: Tensor
    beyond: Tensor  # (T, M, E): the value of what was seen last where an episode was truncated, if asked for; else 0
    returned: NDArray[np.float64]  # (T, M, E): returns of the episodes that ended; NaN elsewhere


def noise_of(worlds: Worlds, policy: Policy, steps: int) -> NDArray[np.float64]:
    """(steps, M, E, numbers) by which the coming actions are drawn."""
    member, env = worlds.shape
    at: Int64 = worlds.steps[:, None] // env + np.arange(steps)
    counter = (np.arange(env, dtype=np.int64)[:, None] << 32) | at[:, None]  # (M, E, steps)
    drawn = policy.noise(worlds.seeds[:, None, None, None], "ppo/action", counter, policy.numbers)
    return np.ascontiguousarray(np.moveaxis(drawn, 2, 0), dtype=np.float64)


def rolled_out(
    worlds: Worlds, policy: Policy, actor: Network, critic: Network | None, steps: int, placed: Placed
) -> Rollout:
    """`steps` steps everywhere. `critic` is what values truncated episodes by; None where nothing is to follow them.

    An action that is no finite number, as of a member that diverged, is 0.
    """
    noise = placed(noise_of(worlds, policy, steps))
    seen = [observed(worlds.observe(), placed)]
    outputs: list[Tensor] = []
    actions: list[Tensor] = []
    beyond: list[Tensor] = []
    results = []
    for t in range(steps):
        outputs.append(actor(seen[t]))
        actions.append(torch.nan_to_num(policy.acted(outputs[t], noise[t]), posinf=0.0, neginf=0.0))
        stepped = worlds.step(policy.told(actions[t]))
        results.append((stepped.reward, stepped.terminated, stepped.truncated, stepped.returned))
        beyond.append(valued_beyond(stepped, critic, placed))
        seen.append(observed(stepped.now, placed))
    rewards, terminated, truncated, returned = (np.stack(part) for part in zip(*results, strict=True))
    return Rollout(
        torch.stack(seen),
        torch.stack(outputs),
        torch.stack(actions),
        placed(rewards),
        placed(terminated),
        placed(truncated),
        torch.stack(beyond),
        returned,
    )


def valued_beyond(stepped: Stepped, critic: Network | None, placed: Placed) -> Tensor:
    """(M, E): the value of what was seen last of episodes that were cut off, 0 elsewhere; asked where there are any."""
    if critic is None or not stepped.truncated.any():
        return placed(np.zeros(stepped.truncated.shape))
    last = critic(observed(stepped.following, placed))[..., 0]
    return torch.where(placed(stepped.truncated), last, 0)


def observed(observation: NDArray[np.float32], placed: Placed) -> Tensor:
    """(M, E, inputs) of what the worlds show."""
    return placed(observation).flatten(2)
