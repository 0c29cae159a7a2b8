"""One network and one way of learning, as pure functions of tensors: what every engine path runs.

A step is, in this order (Dohare et al. 2024): forward, loss, backward, gradient methods, optimizer, after-step
methods; the online loss and accuracy are those before the update. The functions are written for ONE network; the
engine batches them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.methods.implementations import IMPLEMENTATIONS
from workloads.networks.base import Network
from workloads.random import Draw

LossName = Literal["squared_error", "cross_entropy", "cross_entropy_of_seen"]


@dataclass(frozen=True, slots=True)
class Online:
    """What one step measured before its update: mean over the batch, 0-d. `correct` is 0 for regression."""

    loss: Tensor
    correct: Tensor


def of_seen(output: Tensor, seen: Tensor) -> Tensor:
    """Outputs (B, classes) with those of classes not seen yet, the `seen`-th and later ones (B,), at -infinity."""
    known = torch.arange(output.shape[-1], device=output.device) < seen.unsqueeze(-1)
    return torch.where(known, output, -torch.inf)


def example_losses(kind: LossName, output: Tensor, target: Tensor) -> Tensor:
    """(B,) losses: squared error summed over outputs, or cross-entropy with integer classes.

    Where only some classes were seen, targets (B, 2) are the class and how many classes there are so far.
    """
    if kind == "squared_error":
        return ((output - target) ** 2).sum(-1)
    if kind == "cross_entropy_of_seen":
        output, target = of_seen(output, target[..., 1]), target[..., 0]
    # A comparison with the class numbers instead of a gather: its backward is elementwise, not a scatter.
    chosen = target.unsqueeze(-1) == torch.arange(output.shape[-1], device=output.device)
    return -torch.where(chosen, functional.log_softmax(output, -1), 0).sum(-1)


def example_hits(kind: LossName, output: Tensor, target: Tensor) -> Tensor:
    """(B,) 1.0 where the class of the largest output is the target's; 0 for regression."""
    if kind == "squared_error":
        return torch.zeros_like(output[..., 0])
    if kind == "cross_entropy_of_seen":
        output, target = of_seen(output, target[..., 1]), target[..., 0]
    return (output.argmax(-1) == target).to(output.dtype)


class Learner:
    """A network, a loss, one optimizer and any methods. What may vary in a pack is an argument, not a field.

    `hyper` everywhere is {"optimizer": {...}, method name: {...}} of 0-d tensors, made by `hyper_of`.
    """

    def __init__(
        self, network: Network, loss: LossName, optimizer: tuple[str, Any], methods: Mapping[str, Any]
    ) -> None:
        """`optimizer` is (name, config), `methods` maps names to configs, in the order they act."""
        self.network = network
        self.loss = loss
        self.optimizer = IMPLEMENTATIONS[optimizer[0]](optimizer[1], network)
        self.optimizer_spec = OPTIMIZERS[optimizer[0]]
        self.methods: dict[str, Method] = {n: IMPLEMENTATIONS[n](c, network) for n, c in methods.items()}
        self.rare = [n for n, m in self.methods.items() if m.acts and type(m).repair is not Method.repair]
        self.period = math.lcm(self.optimizer.period, *[m.period for m in self.methods.values()])

    @property
    def acts_at_tasks(self) -> bool:
        """Whether any method does something as a task begins."""
        return any("at_task" in m.acts for m in self.methods.values())

    def acting(self, phase: int) -> tuple[bool, ...]:
        """Which scheduled parts act in a step of this phase; steps that agree here are the same program."""
        parts = [self.optimizer, *self.methods.values()]
        return tuple(phase % part.period == 0 for part in parts if part.period > 1)

    def hyper_of(self, optimizer: Any, methods: Mapping[str, Any]) -> dict[str, dict[str, float]]:
        """The varying scalars of one member's configs, as plain numbers."""
        scalars = {name: getattr(optimizer, name) for name in self.optimizer_spec.varies}
        if scalars.get("isometry_step_size", 0.0) is None:
            scalars["isometry_step_size"] = scalars["step_size"]
        hyper = {"optimizer": {name: float(value) for name, value in scalars.items()}}
        for method, config in methods.items():
            hyper[method] = {name: float(getattr(config, name)) for name in METHODS[method].varies}
        return hyper

    def init(self, params: Params) -> State:
        """The state before the first step: {"optimizer": ..., method name: ...}, and "buffers" where there are any.

        Where a method has rare events, "replaced" counts them, 0-d: units replaced, since somebody set it to 0.
        """
        state: State = {"optimizer": self.optimizer.init(params, per_element=bool(self.rare))}
        for name, method in self.methods.items():
            state[name] = method.init(params, per_element=bool(self.rare))
        if self.rare:
            state["replaced"] = params[self.network.head].new_zeros((), dtype=torch.int64)
        if self.network.buffers:
            state["buffers"] = self.network.initial_buffers(params[self.network.head])
        return state

    def gradients(
        self, params: Params, hyper: Mapping[str, Hyper], x: Tensor, y: Tensor, buffers: Params
    ) -> tuple[Params, Tensor, Tensor, dict[str, Tensor], Params]:
        """Gradient of the mean loss on (x (B, ...), y (B, ...)).

        Beside it the task's loss, the output, the hidden activations and the network's buffers after the batch.
        """

        def objective(params: Params) -> tuple[Tensor, tuple[Tensor, Tensor, dict[str, Tensor], Params]]:
            output, activations, after = self.network.apply_training({**params, **buffers}, x)
            loss = example_losses(self.loss, output, y).mean()
            total = loss
            for name, method in self.methods.items():
                if "loss" in method.acts:
                    total = total + method.loss(params, hyper[name])
            return total, (loss, output, dict(activations), after)

        grads, (loss, output, activations, after) = torch.func.grad(objective, has_aux=True)(params)
        return grads, loss.detach(), output.detach(), {k: v.detach() for k, v in activations.items()}, after

    def step(
        self,
        params: Params,
        state: State,
        hyper: Mapping[str, Hyper],
        x: Tensor,
        y: Tensor,
        draw: Draw,
        *,
        phase: int,
    ) -> tuple[Params, State, Online]:
        """One update on the batch (x, y). Rare events are counted in the state; `repair` carries them out."""
        grads, loss, output, activations, buffers = self.gradients(params, hyper, x, y, state.get("buffers", {}))
        for name, method in self.methods.items():
            if "gradient" in method.acts:
                grads = method.gradient(params, grads, hyper[name])

        def seen_by(part: Method) -> Seen:
            return Seen(grads=grads, activations=activations, phase=phase % part.period)

        state = {**state, "buffers": buffers} if buffers else dict(state)
        seen = seen_by(self.optimizer)
        params, state["optimizer"] = self.optimizer.optimizer(params, state["optimizer"], hyper["optimizer"], seen)
        for name, method in self.methods.items():
            if "after_step" in method.acts:
                seen = seen_by(method)
                params, state[name] = method.after_step(params, state[name], hyper[name], seen, draw)
        return params, state, Online(loss, example_hits(self.loss, output, y).mean())

    def at_task(self, params: Params, state: State, hyper: Mapping[str, Hyper], draw: Draw) -> tuple[Params, State]:
        """What the methods do before the first step of a new task."""
        state = dict(state)
        for name, method in self.methods.items():
            if "at_task" in method.acts:
                params, state[name] = method.at_task(params, state[name], hyper[name], draw)
                state["optimizer"] = method.restarted(state["optimizer"])
        return params, state

    def repair(
        self, params: Params, state: State, hyper: Mapping[str, Hyper], draw: Draw, *, method: str, place: int
    ) -> tuple[Params, State]:
        """One rare event of `method` at `place`; call only where `state[method]["due"][place]` is positive."""
        mended, own, optimizer = self.methods[method].repair(
            {**params, **state.get("buffers", {})}, state[method], state["optimizer"], hyper[method], place, draw
        )
        state = {**state, method: own, "optimizer": optimizer, "replaced": state["replaced"] + 1}
        if self.network.buffers:
            state["buffers"] = {name: mended.pop(name) for name in self.network.buffers}
        return mended, state
