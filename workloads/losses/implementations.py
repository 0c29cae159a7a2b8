"""Losses as objects: of every example by itself, and which examples are hits. Traceable torch, for one network."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from workloads.losses import LossName


class Loss(ABC):
    """A loss by its name. `output` is (B, outputs); `target` as `workloads.losses.LossSpec` says."""

    name: str

    @abstractmethod
    def example_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """(B,); a step descends their mean."""

    def example_hits(self, output: Tensor, target: Tensor) -> Tensor:
        """(B,) 1.0 where the class of the largest output is the target's; 0 where there are no classes."""
        return torch.zeros_like(output[..., 0])


class SquaredError(Loss):
    """Summed over outputs."""

    name = "squared_error"

    def example_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """(B,) from targets (B, outputs)."""
        return ((output - target) ** 2).sum(-1)


class CrossEntropy(Loss):
    """Of class numbers (B,)."""

    name: LossName = "cross_entropy"

    def example_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """(B,) −log softmax(output) at the target's class."""
        # A comparison with the class numbers instead of a gather: its backward is elementwise, not a scatter.
        chosen = target.unsqueeze(-1) == torch.arange(output.shape[-1], device=output.device)
        return -torch.where(chosen, functional.log_softmax(output, -1), 0).sum(-1)

    def example_hits(self, output: Tensor, target: Tensor) -> Tensor:
        """(B,) 1.0 where the class of the largest output is the target's."""
        return (output.argmax(-1) == target).to(output.dtype)


class CrossEntropyOfSeen(CrossEntropy):
    """The same among the classes seen so far; targets (B, 2) are the class and how many there are."""

    name = "cross_entropy_of_seen"

    def example_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """(B,); the outputs of classes not seen yet are −infinity."""
        return super().example_losses(of_seen(output, target[..., 1]), target[..., 0])

    def example_hits(self, output: Tensor, target: Tensor) -> Tensor:
        """(B,) 1.0 where the largest output among seen classes is the target's."""
        return super().example_hits(of_seen(output, target[..., 1]), target[..., 0])


def of_seen(output: Tensor, seen: Tensor) -> Tensor:
    """Outputs (B, classes) with those of classes not seen yet, the `seen`-th and later ones (B,), at -infinity."""
    admitted = torch.arange(output.shape[-1], device=output.device) < seen.unsqueeze(-1)
    return torch.where(admitted, output, -torch.inf)


IMPLEMENTATIONS: dict[str, Loss] = {loss.name: loss for loss in (SquaredError(), CrossEntropy(), CrossEntropyOfSeen())}
