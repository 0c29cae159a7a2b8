"""Gradient clipping: the gradient of the loss, over all parameters of a network, is at most so long.

    g ← g min(1, norm / ‖g‖)

Source: Pascanu, Mikolov, Bengio (2013), arXiv 1211.5063. As torch.nn.utils.clip_grad_norm_, which adds 1e-6 to ‖g‖. It
acts before the methods that add something to a gradient. Of learners that act, actor and critic have a norm each, where
implementations with one optimizer for both take one over both.
"""

from __future__ import annotations

import torch

from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.methods.config import GradientClippingConfig
from workloads.random import Draw


class GradientClipping(Method[GradientClippingConfig]):
    """No state."""

    def gradient(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """g, shorter where it is longer than the norm."""
        norm = torch.stack([(g * g).sum() for g in seen.grads.values()]).sum().sqrt()
        factor = (hyper["norm"] / norm).clamp(max=1.0)
        return {name: factor * g for name, g in seen.grads.items()}, state


METHODS = {"gradient_clipping": GradientClipping}
