"""One network and one way of learning, as pure functions of tensors: what every engine path runs.

A step is, in this order (Dohare et al. 2024): methods of the inputs, forward, loss, backward, gradient methods,
optimizer, after-step methods; the online loss and accuracy are those before the update. The functions are written for
ONE network; the engine batches them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workloads.errors import InputError
from workloads.losses.implementations import IMPLEMENTATIONS as LOSSES
from workloads.losses.implementations import Loss
from workloads.methods.base import NOTHING, Hyper, Method, Params, Read, Seen, State
from workloads.methods.config import METHODS, OPTIMIZERS, no_scales, sorted_units
from workloads.methods.implementations import IMPLEMENTATIONS
from workloads.networks.base import TAP, Network
from workloads.networks.reading import check_readable, entering
from workloads.periods import Acting, Schedule
from workloads.random import Draw
from workloads.registry import lookup
from workloads.settings import Settings


@dataclass(frozen=True, slots=True)
class Online:
    """What one step measured before its update: mean over the batch, 0-d. `correct` is 0 for regression."""

    loss: Tensor
    correct: Tensor


@dataclass(frozen=True, slots=True)
class Gradients:
    """Of the mean loss over a batch and of the methods' terms; beside it what the forward pass showed."""

    grads: Params
    loss: Tensor  # the task's alone, 0-d
    output: Tensor  # (B, outputs)
    activations: dict[str, Tensor]  # hidden layer -> (B, units, ...)
    buffers: Params  # the network's, after the batch
    effects: dict[str, Tensor]  # hidden layer -> h ∂ℓ/∂h (B, units, ...), where a method reads it


class Learner:
    """A network, a loss, one optimizer and any methods. What may vary in a pack is an argument, not a field.

    `hyper` everywhere is {"optimizer": {...}, method name: {...}} of 0-d tensors, made by `hyper_of`.
    """

    def __init__(
        self,
        network: Network[Settings],
        loss: str | Loss,
        optimizer: tuple[str, Settings],
        methods: Mapping[str, Settings],
    ) -> None:
        """`loss` is a name of `workloads.losses`, or one that is nobody's choice but its workload's.

        `optimizer` is (name, config), `methods` maps names to configs, in the order they act. Raises InputError for a
        period that is none, for methods that renew units where activations are sorted, for a penalty of layer scales
        where there are none, and for what a method reads of a step and the network does not offer.
        """
        self.network = network
        self.loss = loss if isinstance(loss, Loss) else lookup(LOSSES, loss, "loss")
        self.optimizer = IMPLEMENTATIONS[optimizer[0]](optimizer[1], network)
        self.optimizer_spec = OPTIMIZERS[optimizer[0]]
        self.methods: dict[str, Method[Settings]] = {n: IMPLEMENTATIONS[n](c, network) for n, c in methods.items()}
        self.rare = [n for n, m in self.methods.items() if m.acts and type(m).repair is not Method.repair]
        self.renewing = [n for n, m in self.methods.items() if m.acts and type(m).renew is not Method.renew]
        group = max((site.group for site in network.sites), default=1)
        for name in (*self.rare, *self.renewing) if group > 1 else ():
            raise InputError(sorted_units(name, group))
        for name, config in (optimizer, *methods.items()):
            if "layer_scales" in getattr(config, "needs", ()) and not network.scales:
                raise InputError(no_scales(name))
        self.smoothing = [n for n, m in self.methods.items() if "inputs" in m.acts]
        self.reads = {read: n for n, m in self.methods.items() for read in sorted(m.reads) if m.acts}
        check_readable(network, self.reads)
        parts = {optimizer[0]: self.optimizer, **self.methods}
        for name, part in parts.items():
            if type(part.period) is not int or part.period < 1:
                raise InputError(f"{name}: period is {part.period!r}, and must be a whole number of steps from 1 on")
        self.schedule = Schedule.of(part.period for part in parts.values())

    @property
    def acts_at_tasks(self) -> bool:
        """Whether any method does something as a task begins."""
        return any("at_task" in m.acts for m in self.methods.values())

    @property
    def replaces(self) -> bool:
        """Whether any method replaces units, one by one or many at once."""
        return bool(self.rare or self.renewing)

    def acting(self, step: int) -> Acting:
        """Which scheduled parts act in a step; steps that agree here are the same program."""
        return self.schedule.acting(step)

    def hyper_of(self, optimizer: Settings, methods: Mapping[str, Settings]) -> dict[str, dict[str, float]]:
        """The varying scalars of one member's configs, as plain numbers."""
        scalars = {name: getattr(optimizer, name) for name in self.optimizer_spec.varies}
        for name, other in self.optimizer_spec.follows.items():
            scalars[name] = scalars[other] if scalars[name] is None else scalars[name]
        hyper = {"optimizer": {name: float(value) for name, value in scalars.items()}}
        for method, config in methods.items():
            hyper[method] = {name: float(getattr(config, name)) for name in METHODS[method].varies}
        return hyper

    def init(self, params: Params) -> State:
        """The state before the first step: {"optimizer": ..., method name: ...}, and "buffers" where there are any.

        Where a method replaces units, "replaced" counts them, 0-d, since somebody set it to 0.
        """
        state: State = {"optimizer": self.optimizer.init(params, per_element=self.replaces)}
        for name, method in self.methods.items():
            state[name] = method.init(params, per_element=self.replaces)
        if self.replaces:
            state["replaced"] = params[self.network.head].new_zeros((), dtype=torch.int64)
        if self.network.buffers:
            state["buffers"] = self.network.initial_buffers(params[self.network.head])
        return state

    def shown(self, x: Tensor, state: State, hyper: Mapping[str, Hyper]) -> Tensor:
        """What the network is shown of x (B, ...): of a batch, a probe, a test. Changes nothing."""
        for name in self.smoothing:
            x = self.methods[name].inputs(x, state[name], hyper[name])
        return x

    def observed(self, x: Tensor, state: State, hyper: Mapping[str, Hyper]) -> State:
        """The state once the methods that change inputs have seen a training batch x (B, ...)."""
        state = dict(state)
        for name in self.smoothing:
            state[name] = self.methods[name].observed(x, state[name], hyper[name])
            x = self.methods[name].inputs(x, state[name], hyper[name])
        return state

    def gradients(
        self,
        params: Params,
        state: State,
        hyper: Mapping[str, Hyper],
        x: Tensor,
        y: Tensor,
        draw: Draw | None = None,
        *,
        acting: Acting,
    ) -> Gradients:
        """The gradient of the mean loss on (x (B, ...), y (B, ...)) and of the methods' terms of the loss.

        `draw` is that of a step, for a network that leaves something to chance; None where it is only looked at.
        """
        buffers, x = state.get("buffers", {}), self.shown(x, state, hyper)

        def objective(params: Params, taps: Params) -> tuple[Tensor, tuple[Tensor, Tensor, dict[str, Tensor], Params]]:
            output, activations, after = self.network.apply_training({**params, **buffers, **taps}, x, draw)
            loss = self.loss.example_losses(output, y).mean()
            total = self.penalized(loss, params, state, hyper, acting=acting)
            return total, (loss, output, dict(activations), after)

        taps = self.taps(params, len(x)) if "loss_effects" in self.reads else {}
        derived: Any = torch.func.grad(objective, (0, 1), has_aux=True)
        (grads, by_tap), (loss, output, activations, after) = derived(params, taps)
        activations = {name: value.detach() for name, value in activations.items()}
        effects = {name: len(x) * activations[name] * by_tap[TAP + name] for name in (activations if taps else ())}
        return Gradients(grads, loss.detach(), output.detach(), activations, after, effects)

    def penalized(
        self, loss: Tensor, params: Params, state: State, hyper: Mapping[str, Hyper], *, acting: Acting
    ) -> Tensor:
        """A loss, 0-d, with the terms that the methods add to it: to be differentiated, whoever made the loss."""
        for name, method in self.methods.items():
            if "loss" in method.acts and self.schedule.acts(method.period, acting):
                loss = loss + method.loss(params, state[name], hyper[name])
        return loss

    def taps(self, params: Params, batch: int) -> Params:
        """Zeros to be added to all activations of a batch, for the gradient with respect to them."""
        like, shapes = params[self.network.head], self.network.activation_shapes
        return {TAP + name: like.new_zeros((batch, *shape)) for name, shape in shapes.items()}

    def output_effects(
        self, params: Params, state: State, x: Tensor, hidden: Mapping[str, Tensor], draw: Draw
    ) -> Params:
        """Hidden layer -> h vᵀ ∂f/∂h (B, units, ...), by one more backward pass, of x as the network is shown it.

        Its size is in the mean |h| times the root mean square of ∂f/∂h over outputs: for every example v is normal with
        variance π / (2 outputs), as the mean of |vᵀ a| is then ‖a‖ / √outputs. Of one output there is nothing to draw.
        """
        buffers, count = state.get("buffers", {}), self.network.outputs

        def outputs(taps: Params) -> Tensor:
            return self.network.apply_training({**params, **buffers, **taps}, x, draw)[0]

        output, pulled, *_ = torch.func.vjp(outputs, self.taps(params, len(x)))
        direction = torch.ones_like(output)
        if count > 1:
            drawn = draw.normal("output_effects", output.numel()).view(output.shape)
            direction = math.sqrt(math.pi / (2 * count)) * drawn
        (by_tap,) = pulled(direction)
        return {name: value * by_tap[TAP + name] for name, value in hidden.items()}

    def read(
        self, params: Params, state: State, hyper: Mapping[str, Hyper], x: Tensor, backward: Gradients, draw: Draw
    ) -> Read:
        """What methods ask to be shown of a step; `state` is the one of the forward pass."""
        asked, hidden = self.reads.keys() & {"output_effects", "entering"}, backward.activations
        shown = self.shown(x, state, hyper) if asked else x
        return Read(
            loss_effects=backward.effects,
            output_effects=self.output_effects(params, state, shown, hidden, draw) if "output_effects" in asked else {},
            entering=entering(self.network, shown, hidden) if "entering" in asked else {},
        )

    def update(
        self,
        params: Params,
        state: State,
        hyper: Mapping[str, Hyper],
        grads: Params,
        activations: dict[str, Tensor],
        draw: Draw,
        *,
        acting: Acting,
        read: Read = NOTHING,
    ) -> tuple[Params, State]:
        """What methods and optimizer make of a gradient, wherever it comes from; rare events are counted only.

        `activations`: hidden layer -> (B, units, ...), of the forward pass that the gradient is of; `read` what else
        methods read of it.
        """

        def seen_by(part: Method[Settings]) -> Seen:
            acts = self.schedule.acts(part.period, acting)
            return Seen(grads=grads, activations=activations, acts=acts, read=read)

        state = dict(state)
        for name, method in self.methods.items():
            if "gradient" in method.acts:
                grads, state[name] = method.gradient(params, state[name], hyper[name], seen_by(method), draw)
        params, state["optimizer"] = self.optimizer.optimizer(
            params, state["optimizer"], hyper["optimizer"], seen_by(self.optimizer), draw
        )
        for name, method in self.methods.items():
            if "after_step" in method.acts:
                params, state[name] = method.after_step(params, state[name], hyper[name], seen_by(method), draw)
            if name in self.renewing and self.schedule.acts(method.period, acting):
                params, state = self.renew(params, state, hyper, draw, method=name)
        return params, state

    def step(
        self,
        params: Params,
        state: State,
        hyper: Mapping[str, Hyper],
        x: Tensor,
        y: Tensor,
        draw: Draw,
        *,
        acting: Acting,
    ) -> tuple[Params, State, Online]:
        """One update on the batch (x, y). Rare events are counted in the state; `repair` carries them out."""
        state = self.observed(x, state, hyper)
        backward = self.gradients(params, state, hyper, x, y, draw, acting=acting)
        read = self.read(params, state, hyper, x, backward, draw)
        if backward.buffers:
            state = {**state, "buffers": backward.buffers}
        params, state = self.update(
            params, state, hyper, backward.grads, backward.activations, draw, acting=acting, read=read
        )
        return params, state, Online(backward.loss, self.loss.example_hits(backward.output, y).mean())

    def at_task(self, params: Params, state: State, hyper: Mapping[str, Hyper], draw: Draw) -> tuple[Params, State]:
        """What the methods do before the first step of a new task."""
        state = dict(state)
        for name, method in self.methods.items():
            if "at_task" in method.acts:
                params, state[name] = method.at_task(params, state[name], hyper[name], draw)
                state["optimizer"] = method.restarted(state["optimizer"])
        return params, state

    def ages(self, state: State) -> dict[str, Tensor]:
        """Hidden layer -> the steps since its units were made, of one network or of many; empty where none are kept."""
        return {layer: age for name, method in self.methods.items() for layer, age in method.ages(state[name]).items()}

    def repair(
        self, params: Params, state: State, hyper: Mapping[str, Hyper], draw: Draw, *, method: str, place: int
    ) -> tuple[Params, State]:
        """One rare event of `method` at `place`; call only where `state[method]["due"][place]` is positive."""
        mended, own, optimizer = self.methods[method].repair(
            {**params, **state.get("buffers", {})}, state[method], state["optimizer"], hyper[method], place, draw
        )
        return self.mended(mended, {**state, method: own, "optimizer": optimizer}, 1)

    def renew(
        self, params: Params, state: State, hyper: Mapping[str, Hyper], draw: Draw, *, method: str
    ) -> tuple[Params, State]:
        """All that `method` replaces at once in a step in which it acts."""
        mended, own, optimizer, count = self.methods[method].renew(
            {**params, **state.get("buffers", {})}, state[method], state["optimizer"], hyper[method], draw
        )
        return self.mended(mended, {**state, method: own, "optimizer": optimizer}, count)

    def mended(self, mended: Params, state: State, count: Tensor | int) -> tuple[Params, State]:
        """Parameters and state after `count` units were replaced, given parameters and buffers in one dict."""
        state = {**state, "replaced": state["replaced"] + count}
        if self.network.buffers:
            state["buffers"] = {name: mended.pop(name) for name in self.network.buffers}
        return mended, state
