"""What torch's optimizers hold for every weight, under the names that methods know it by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from workloads.errors import InputError
from workloads.methods.base import State
from workloads.torch_optim.adamo import AdamO
from workloads.torch_optim.attached import INSTEAD
from workloads.torch_optim.restarts import RESTARTED, counting, restarts_of

ADAM = {"mean": "exp_avg", "square": "exp_avg_sq", "largest": "max_exp_avg_sq"}
# By type and not by base: a subclass may keep something else under the same name, or call its base's step in its own.
SLOTS: dict[type[Optimizer], dict[str, str]] = {
    SGD: {"momentum": "momentum_buffer"},
    Adam: ADAM,
    AdamW: ADAM,
    AdamO: ADAM,
}


class Slots:
    """An optimizer's state of some parameters, by name; read as methods expect it, written where they changed it."""

    def __init__(self, optimizer: Optimizer, parameters: Mapping[str, Tensor]) -> None:
        """Raises InputError where one of the parameters is not the optimizer's to move."""
        groups = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
        for name, parameter in parameters.items():
            if parameter not in groups or not parameter.requires_grad:
                raise InputError(f"{name} is not trained by the optimizer ({type(optimizer).__name__}); {INSTEAD}")
        self.optimizer, self.parameters = optimizer, parameters
        self.slots = SLOTS.get(type(optimizer), {})

    def read(self) -> State:
        """{"momentum": {name: ...}} of SGD; "mean", "square" and "steps" of Adam and its kin, steps per weight."""
        held = {name: self.optimizer.state.get(parameter, {}) for name, parameter in self.parameters.items()}
        state: State = {
            slot: {name: values[key] for name, values in held.items() if values.get(key) is not None}
            for slot, key in self.slots.items()
        }
        if "square" in self.slots:
            state["steps"] = {name: own_steps(self.parameters[name], values) for name, values in held.items() if values}
        return state

    def write(self, before: State, after: State) -> None:
        """What a method made of `before`, in place; `after` shares with it what did not change."""
        for slot, values in after.items():
            for name, value in values.items():
                if value is before[slot][name]:
                    continue
                state: dict[str, Any] = self.optimizer.state[self.parameters[name]]
                if slot == "steps":
                    state[RESTARTED] = {"step": state["step"].to(value) - value}
                else:
                    state[self.slots[slot]].copy_(value)


def own_steps(parameter: Tensor, state: dict[str, Any]) -> Tensor:
    """How many steps each weight's averages have seen, of a parameter's state of Adam; its shape."""
    taken: Tensor = state["step"].to(parameter.device, counting(parameter))
    return taken - restarts_of(parameter, state)
