"""What a network may be told, without importing torch: a sweep file is checked before compute is spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

SMALL = 4096  # parameters up to which a pack keeps its members side by side in memory, one SIMD lane each

Activation = Literal["relu", "leaky_relu", "tanh", "sigmoid", "elu", "swish", "selu", "linear"]
Initialisation = Literal["kaiming", "lecun", "xavier", "default", "orthogonal"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MLPConfig:
    """A multilayer perceptron; `depth: 0` is the linear model, where width and activation mean nothing."""

    width: Annotated[int, Ge(1)] | None = 100  # units per hidden layer
    depth: Annotated[int, Ge(0)] = 1  # hidden layers
    activation: Activation | None = "relu"
    initialisation: Initialisation = "kaiming"
    biases: bool = True

    def __post_init__(self) -> None:
        if self.depth == 0:
            # Axes over width and activation collapse to one linear model instead of many equal ones.
            object.__setattr__(self, "width", None)
            object.__setattr__(self, "activation", None)
        elif self.width is None or self.activation is None:
            raise ValueError("width and activation may be null only where depth is 0")
        if self.activation == "selu":
            # Its fixed point needs lecun weights: other schemes would be the same trial by another name.
            object.__setattr__(self, "initialisation", "lecun")

    def parameters(self, inputs: int, outputs: int) -> int:
        """How many weights and biases such a network has; for memory and time before anything is built."""
        sizes = [inputs, *[self.width or 0] * self.depth, outputs]
        return sum((a + self.biases) * b for a, b in zip(sizes, sizes[1:], strict=False))


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSpec:
    """A network's place in the registry: its config and the number that changes when its meaning does."""

    config: type
    semantics: int
    liftable: bool = True  # whether vmap can batch it over members


NETWORKS: dict[str, NetworkSpec] = {"mlp": NetworkSpec(config=MLPConfig, semantics=1)}
