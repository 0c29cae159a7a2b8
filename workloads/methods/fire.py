"""FIRE, Frobenius-isometry reinitialisation: as a task begins every weight matrix becomes the nearest isometry.

    X ← W / ‖W‖_F,    ten times  X ← 3/2 X − 1/2 X Xᵀ X,    W ← √(out / in) X

Source: Han et al. (2026), "FIRE: Frobenius-isometry reinitialization for balancing the stability-plasticity tradeoff",
ICLR, arXiv 2602.08040, and its released code. The iteration, of Newton and Schulz, ends at the polar factor U Vᵀ of W =
U S Vᵀ, of all matrices with equal singular values the nearest to W but for its size. It lifts a small value by half of
it a time: after ten those below some 2 % of ‖W‖_F have not arrived, and 0 stays 0.

Every matrix, the head too; biases and norms stay as they are. A kernel (out, in, h, w) is h w matrices out x in, one
for each place, each divided by h w besides. Not at a trial's first task, which its initial weights begin.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from workloads.methods.base import Hyper, Method, Params, State
from workloads.methods.config import FIREConfig
from workloads.methods.isometry import newton_schulz
from workloads.methods.lengths import frobenius, or_one
from workloads.random import Draw


def polar(matrices: Tensor, iterations: int) -> Tensor:
    """Matrices (..., out, in) after so many iterations towards their polar factors; 0 where they are 0."""
    return newton_schulz(matrices / or_one(frobenius(matrices))[..., None, None], iterations)


def isometric(weight: Tensor, iterations: int) -> Tensor:
    """A matrix (out, in) or kernel (out, in, h, w) at the scale of an isometry, same shape."""
    out, inp = weight.shape[:2]
    places = weight.reshape(out, inp, -1).movedim(-1, 0)
    scale = math.sqrt(out / inp) / len(places)
    return (scale * polar(places, iterations)).movedim(0, -1).reshape(weight.shape)


class FIRE(Method[FIREConfig]):
    """No state."""

    def at_task(self, params: Params, state: State, hyper: Hyper, draw: Draw) -> tuple[Params, State]:
        """Isometries in the place of the weight matrices, before the first step of a task."""
        nearest = {name: isometric(params[name], self.config.iterations) for name in self.network.weights}
        return {**params, **nearest}, state

    def restarted(self, optimizer: State) -> State:
        """The optimizer's state as at the beginning, all 0, where that is asked for."""
        if not self.config.optimizer:
            return optimizer
        zeroed: State = pytree.tree_map(torch.zeros_like, optimizer)
        return zeroed


METHODS = {"fire": FIRE}
