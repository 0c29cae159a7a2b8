"""The gradient of whatever a script differentiates with respect to what its layers were given in a forward pass."""

from __future__ import annotations

from torch import Tensor
from torch._C import _current_graph_task_id as current_graph


class Slopes:
    """Of each layer's last forward pass alone; summed where that was differentiated more than once."""

    def __init__(self) -> None:
        self.found: dict[str, Tensor] = {}  # layer -> the gradient, of its input's shape
        self._passes: dict[str, object] = {}  # layer -> its last forward pass

    def watch(self, name: str, given: Tensor) -> None:
        """Note the gradient with respect to what a layer was just given, once it is there."""
        if current_graph() == -1 or name not in self._passes:  # else a checkpoint repeats a pass in the backward pass
            self._passes[name] = object()
            self.found.pop(name, None)
        this = self._passes[name]

        def note(gradient: Tensor) -> None:
            if self._passes.get(name) is this:
                self.found[name] = self.found[name] + gradient if name in self.found else gradient

        if given.requires_grad:
            given.register_hook(note)  # type: ignore[no-untyped-call]

    def taken(self) -> dict[str, Tensor]:
        """What was found, which is then forgotten."""
        found, self.found, self._passes = self.found, {}, {}
        return found
