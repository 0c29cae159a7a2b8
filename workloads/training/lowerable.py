"""Whether the step of a trial can be written as C++ for lanes: by trying."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from workloads.engine.computing import computing
from workloads.engine.lanes import Lanes
from workloads.engine.layout import Tree, mapped, stacked
from workloads.engine.online_traced import TracedOnline
from workloads.engine.trace import NotLowered
from workloads.learner import Learner
from workloads.reinforcement.policies import policy_of
from workloads.reinforcement.worlds import World
from workloads.training.assembled import dtype_of, loss_of, network_of, ways_of_learning, workload_of
from workloads.training.loop import Training
from workloads.training.pack import Pack, PackMember


def not_lowered(config: Mapping[str, Any], path: str) -> str | None:
    """Why the step of trials like this one cannot be written as C++ for lanes or online; None where it can."""
    with computing():
        world = workload_of(config, 0)
        learner, hyper, state, x, y = of_actor(config, world) if isinstance(world, World) else of_stream(config)
        # Not by `build`, which wants a compiler: what plans a sweep need not have one.
        kind: type[Lanes] | type[TracedOnline] = Lanes if path == "lanes" else TracedOnline
        engine = kind(learner, hyper, torch.zeros(1, dtype=torch.int64))
        engine.load(state)
        try:
            engine.source(x, y)
        except NotLowered as error:
            return f"its step has {error}"
        except Exception as error:  # a user's code may fail in any way, and lifted may be able to run it
            said = (str(error).splitlines() or [""])[0][:80]
            return f"tracing its step failed ({type(error).__name__}: {said})"
    return None


def of_stream(config: Mapping[str, Any]) -> tuple[Learner, Tree, Tree, Tensor, Tensor]:
    """What learns in a trial, its hyperparameters and state as a pack of one has them, and a batch."""
    training = Training(Pack(id="", members=[PackMember("", config)], path="looped"))
    training.begin()
    x, y = (v[0, 0] for v in training.feed.batches(0, 1))
    return training.learner, training.hyper, training.engine.state(), x, y


def of_actor(config: Mapping[str, Any], world: World) -> tuple[Learner, Tree, Tree, Tensor, Tensor]:
    """The like of a learner that acts: its policy, and a minibatch as large as its own. No environment is made."""
    dtype = dtype_of(config)
    optimizer, methods = ways_of_learning(config)
    learner = Learner(network_of(config, world), loss_of(world), optimizer, methods)
    hyper = mapped(lambda v: torch.tensor(v, dtype=dtype), learner.hyper_of(optimizer[1], methods))
    params = mapped(lambda v: v.to(dtype), dict(learner.network.init(0)))
    zero = torch.zeros((), dtype=torch.float64)
    state = {"params": params, "state": learner.init(params), "loss": zero, "correct": zero.clone()}
    widths = world.inputs, policy_of(world.action).numbers + 2  # of targets: an action, its chance, its advantage
    x, y = (torch.zeros(world.batch, width, dtype=dtype) for width in widths)
    return learner, stacked([hyper]), stacked([state]), x, y
