"""A look at the networks of a pack on a probe: what diagnostics read, each part made when it is first asked for.

So several diagnostics share one forward pass and one decomposition, and what none of them needs is never made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from workloads.diagnostics.jacobians import jacobian_of, kernel_of
from workloads.diagnostics.spectrum import eigenvalues, feature_values, singular_values
from workloads.networks.base import Network
from workloads.settings import Settings

Tree = TypeVar("Tree")  # nested dicts and lists of tensors


class Look:
    """P members' networks on N examples each; every part keeps the members apart, on axis 0.

    `network` says what the parameters mean, the same for all members; `params` are (P, ...) each, buffers among them
    where there are any; `x` is (P, N, inputs).
    """

    def __init__(
        self,
        network: Network[Settings],
        params: Mapping[str, Tensor],
        x: Tensor,
        *,
        gradients: Mapping[str, Tensor] | None = None,
        activations: Mapping[str, Tensor] | None = None,
    ) -> None:
        """`gradients` of the loss, (P, ...) as params, where they are wanted; `activations` where they are known."""
        self.network = network
        self.params = params
        self.x = x
        self.known_gradients = gradients
        self.known_activations = activations

    @cached_property
    def activations(self) -> Mapping[str, Tensor]:
        """Of every hidden layer by name, as in evaluation: (P, N, D), or (P, N, D, height, width) of pictures."""
        if self.known_activations is not None:
            return self.known_activations
        return self.of_members(lambda params, x: dict(self.network.apply(params, x)[1]))

    @cached_property
    def features(self) -> list[Tensor]:
        """(P, N x places, D) per hidden layer: of a picture every place counts as an example."""
        return [_as_rows(hidden) for hidden in self.activations.values()]

    @cached_property
    def activity(self) -> list[Tensor]:
        """sum_n |h_nj|, (P, D) float64 per hidden layer."""
        return [activity(features) for features in self.features]

    @cached_property
    def feature_spectra(self) -> list[Tensor]:
        """Singular values of the features, (P, K) per hidden layer, descending; see `feature_values`."""
        return [feature_values(features) for features in self.features]

    @cached_property
    def weights(self) -> list[Tensor]:
        """(P, out, in) per weight matrix in forward order, the head last; a kernel is out x (in height width)."""
        return [self.params[name].flatten(2) for name in self.network.weights]

    @cached_property
    def weight_spectra(self) -> list[Tensor]:
        """Singular values of the weights, (P, K) per matrix, descending."""
        return [singular_values(weight) for weight in self.weights]

    @property
    def gradients(self) -> Mapping[str, Tensor]:
        """Of the loss on the probe, (P, ...) as params. Raises ValueError where nobody computed them."""
        if self.known_gradients is None:
            raise ValueError("a look without gradients was asked for them: they are made where `needs` names them")
        return self.known_gradients

    @cached_property
    def layer_jacobian_spectra(self) -> list[Tensor]:
        """Singular values of d h_l / d h_{l-1} at every example, (P, N, K) per hidden layer, descending.

        h_0 is the input; of a network that offers its layers one by one (`Network.layer`).
        """
        spectra, before = [], self.x
        for place, hidden in enumerate(self.activations.values()):

            def jacobian(params: Mapping[str, Tensor], before: Tensor, place: int = place) -> Tensor:
                return jacobian_of(lambda h: self.network.layer(params, place, h), before)

            spectra.append(feature_values(self.of_members(jacobian, before)))
            before = hidden
        return spectra

    @cached_property
    def input_output_jacobian_spectra(self) -> Tensor:
        """Singular values of d output / d x at every example, (P, N, K), descending; the network as in evaluation."""

        def jacobian(params: Mapping[str, Tensor], x: Tensor) -> Tensor:
            return jacobian_of(lambda x: self.network.apply(params, x)[0], x)

        return feature_values(self.of_members(jacobian, self.x))

    @cached_property
    def tangent_kernel_spectrum(self) -> Tensor:
        """Eigenvalues of J J^T, J = d outputs of all examples / d parameters, (P, N x outputs), descending, float64.

        The network as in evaluation. In float64 throughout: what is small beside the largest would be rounding.
        """
        buffers = set(self.network.buffers)

        def kernel(params: Mapping[str, Tensor], x: Tensor) -> Tensor:
            fixed = {name: value.double() for name, value in params.items() if name in buffers}
            learned = {name: value.double() for name, value in params.items() if name not in buffers}
            return kernel_of(lambda own: self.network.apply({**own, **fixed}, x.double())[0].flatten(), learned)

        return eigenvalues(self.of_members(kernel))

    def of_members(self, function: Callable[[Mapping[str, Tensor], Tensor], Tree], x: Tensor | None = None) -> Tree:
        """`function(params, x)`, written for one member, of all: its tensors with an axis of members in front.

        `x` (P, ...) is the probe unless given. A member by itself is not batched: that is how networks come that are
        so large that vmap only costs.
        """
        x = self.x if x is None else x
        if len(x) > 1:
            batched: Tree = torch.func.vmap(function)(dict(self.params), x)
            return batched
        alone = function({name: value[0] for name, value in self.params.items()}, x[0])
        whole: Tree = pytree.tree_map(lambda value: value[None], alone)
        return whole


def activity(features: Tensor) -> Tensor:
    """sum_n |h_nj|, (..., N, D) -> (..., D) float64: how much every unit is heard of."""
    return features.abs().sum(-2, dtype=torch.float64)


def _as_rows(features: Tensor) -> Tensor:
    """(P, N, D, ...) -> (P, N x places, D)."""
    return features if features.ndim == 3 else features.movedim(2, -1).flatten(1, -2)
