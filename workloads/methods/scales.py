"""The penalty of learned layer scales, in the loss: strength x Σ log(α)², α the scale of a hidden layer.

It holds scales near 1; α and 1/α cost the same. Source: public code for reinforcement learning with AdamO
(bordeauxred/rejax, "Scale-AdaMO", with strength 0.01); that the paper has it is not known. The gradient is written out:

    ∂/∂α (log |α|)² = 2 log |α| / α

A step may take α through 0, to where the layer's sign is turned; there the penalty is that of |α|. Near 0 its slope
grows without bound, and one such gradient would fill Adam's second moment for long: for |α| < 0.01 it is that at ±0.01,
and at 0 that of the positive side, so that a layer of scale 0 comes back. This bound is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.methods.base import Params
from workloads.networks.base import Network
from workloads.settings import Settings

SMALLEST = 0.01  # |α| below which the slope grows no further


def scale_gradient(scale: Tensor) -> Tensor:
    """∂/∂α (log |α|)² of scales, same shape; see above for those near 0."""
    size = scale.abs().clamp(min=SMALLEST)
    slope = 2 * torch.log(size) / size
    return torch.where(scale < 0, -slope, slope)


def with_scale_penalty(grads: Params, params: Params, network: Network[Settings], strength: float) -> Params:
    """Gradients by which the network's layer scales are penalised; those of all else as they were."""
    return {**grads, **{name: grads[name] + strength * scale_gradient(params[name]) for name in network.scales}}
