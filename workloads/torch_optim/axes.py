"""Whether the units of a layer keep their axis and their order on the way to the next one: by shapes in a graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.autograd.graph import Node

Layer = nn.Linear | nn.Conv2d


@dataclass(frozen=True, slots=True)
class Axes:
    """Where the units of one layer lie, in whatever stands between it and the layer it feeds."""

    units: int
    inputs: int  # of the layer that is fed
    rows: int  # examples, of a convolution
    axis: int  # of channels, after a convolution; −1, the last, after a linear layer
    flattened: bool  # pictures for a linear layer

    @classmethod
    def of(cls, made: Sequence[int], layer: Layer, following: Layer) -> Axes:
        """Of a layer whose output has shape `made`."""
        axis = len(made) - 3 if isinstance(layer, nn.Conv2d) else -1
        units, inputs = layer.weight.shape[0], following.weight.shape[1]
        return cls(units, inputs, math.prod(made[: max(axis, 0)]), axis, axis >= 0 and isinstance(following, nn.Linear))

    def keeps(self, shape: Sequence[int]) -> bool:
        """Whether a view of that shape has the units in order: whole rows before channels, or a row of units last."""
        if self.axis < 0:
            return any(math.prod(shape[k:]) in (self.units, self.inputs) for k in range(len(shape)))
        return any(math.prod(shape[:k]) == self.rows for k in range(len(shape)))

    def has_units(self, shape: Sequence[int]) -> bool:
        """Whether something of that shape holds a number per unit, and is not one of a mean over them."""
        return self.units == 1 or not shape or shape[min(self.axis, len(shape) - 1)] != 1

    def is_reduced(self, node: Node) -> bool:
        """Whether the axis of the units is gone: summed, averaged or maximised over."""
        if getattr(node, "_saved_keepdim", True):
            return False
        dims = node._saved_dim if isinstance(node._saved_dim, tuple) else (node._saved_dim,)  # type: ignore[attr-defined]
        axes = len(shape_of(node)) + len(dims)
        # Autograd gives a negative axis back as an unsigned number.
        return self.axis % axes in [(d - 2**64 if d >= 2**63 else d) % axes for d in dims]

    def fit(self, given: Sequence[int]) -> bool:
        """Whether the layer that is fed takes every row of a flattened picture whole."""
        return not self.flattened or math.prod(given[:-1]) == self.rows


def shape_of(node: Node) -> tuple[int, ...]:
    """Of what a node computed."""
    return tuple(node._input_metadata[0].shape)
