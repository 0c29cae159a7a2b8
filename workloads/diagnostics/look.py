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

from workloads.diagnostics import LANCZOS_STEPS
from workloads.diagnostics.derivatives import hessian_product_of, jacobian_of
from workloads.diagnostics.fitting import losses_of_fit, random_change
from workloads.diagnostics.kernel import kernel_of
from workloads.diagnostics.lanczos import iterated, start_of, tridiagonal, whole_of
from workloads.diagnostics.quadrature import EXACT, starts_of, sums, sums_of_whole
from workloads.diagnostics.spectrum import eigenvalues, feature_values, signed_eigenvalues, singular_values
from workloads.losses.implementations import Loss
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
        targets: Tensor | None = None,
        loss: Loss | None = None,
        before: Look | None = None,
        initial: Look | None = None,
        ages: Mapping[str, Tensor] | None = None,
    ) -> None:
        """`gradients` of the loss, (P, ...) as params, where they are wanted; `activations` where they are known.

        `targets` (P, N, ...) of x, and the `loss` of outputs and targets, where there are any. `before` and `initial`
        look at the same examples through the members as they were when they were last looked at, and as they began;
        `ages` (P, units) are hidden layers', where a method keeps them.
        """
        self.network = network
        self.params = params
        self.x = x
        self.known_gradients = gradients
        self.known_activations = activations
        self.targets = targets
        self.loss = loss
        self.before = before
        self.initial = initial
        self.known_ages = ages or {}

    @property
    def ages(self) -> list[Tensor]:
        """Steps since each unit was made, (P, units) float64 per hidden layer; none where nobody counts them."""
        return [value.double() for value in self.known_ages.values()]

    @cached_property
    def _evaluation(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs and activations."""

        def evaluation(params: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            outputs, activations = self.network.apply(params, x)
            return outputs, dict(activations)

        return self.of_members(evaluation)

    @property
    def outputs(self) -> Tensor:
        """As in evaluation, (P, N, outputs)."""
        return self._evaluation[0]

    @property
    def outputs_before(self) -> Tensor:
        """On the same examples, as they were when the members were last looked at."""
        return self._past(self.before).outputs

    @property
    def activations(self) -> Mapping[str, Tensor]:
        """Of every hidden layer by name, as in evaluation: (P, N, D), or (P, N, D, height, width) of pictures."""
        return self._evaluation[1] if self.known_activations is None else self.known_activations

    @cached_property
    def features(self) -> list[Tensor]:
        """(P, N x places, D) per hidden layer: of a picture every place counts as an example."""
        return [_as_rows(hidden) for hidden in self.activations.values()]

    @cached_property
    def activity(self) -> list[Tensor]:
        """sum_n |h_nj|, (P, D) float64 per hidden layer."""
        return [activity(features) for features in self.features]

    @cached_property
    def presence(self) -> list[Tensor]:
        """Share of examples on which a unit is not zero, (P, D) float64 per hidden layer; NaN: not all are finite."""
        return [presence(features) for features in self.features]

    @cached_property
    def feature_spectra(self) -> list[Tensor]:
        """Singular values of the features, (P, K) per hidden layer, descending; see `feature_values`."""
        return [feature_values(features) for features in self.features]

    @cached_property
    def weights(self) -> list[Tensor]:
        """(P, out, in) per weight matrix in forward order, the head last; a kernel is out x (in height width)."""
        return [self.params[name].flatten(2) for name in self.network.weights]

    @property
    def weights_before(self) -> list[Tensor]:
        """As `weights`, when the members were last looked at."""
        return self._past(self.before).weights

    @property
    def initial_weights(self) -> list[Tensor]:
        """As `weights`, when the members began."""
        return self._past(self.initial).weights

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

        def kernel(params: Mapping[str, Tensor], x: Tensor) -> Tensor:
            outputs, learned = self._outputs(params)
            return kernel_of(outputs, learned, x.double())

        return eigenvalues(self.of_members(kernel))

    @cached_property
    def gradient_covariance_spectrum(self) -> Tensor:
        """Eigenvalues of the covariance of the examples' gradients, (P, N), descending, float64; the rest are 0.

        Of the loss of each example by all parameters, the network as in evaluation, without terms that methods add.
        """

        def covariance(params: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            losses, learned = self._losses(params)
            kernel = kernel_of(losses, learned, x.double(), y.double() if y.is_floating_point() else y)
            centred = kernel - kernel.mean(0, keepdim=True)
            return (centred - centred.mean(1, keepdim=True)) / len(kernel)

        return eigenvalues(self.of_members(covariance, self.x, self._targets))

    @cached_property
    def hessian_spectrum(self) -> Tensor:
        """Of the Hessian of the mean loss by all parameters what Lanczos' iteration sees, (P, STEPS), descending.

        The first is the largest eigenvalue, from below. The network as in evaluation, without terms that methods add.
        Rounded as float32 is: the iteration multiplies what float64 rounds, which differs with who is looked at beside.
        """
        start = start_of(self.network.parameter_count()).to(self.x.device)

        def seen(params: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return tridiagonal(self._hessian(params, x, y), start)

        return signed_eigenvalues(self.of_members(seen, self.x, self._targets)).float().double()

    @cached_property
    def hessian_largest(self) -> Tensor:
        """Of the same Hessian the eigenvalues that Lanczos' iteration finds, each once, (P, STEPS), descending.

        Its directions are kept orthogonal, so that none comes twice; member by member. All there are up to EXACT.
        """
        count = self.network.parameter_count()
        start = start_of(count).to(self.x.device)

        def exact(params: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return whole_of(self._hessian(params, x, y), start)

        def seen(params: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return iterated(self._hessian(params, x, y), start, LANCZOS_STEPS)[0]

        found = self.of_each(exact if count <= EXACT else seen, self.x, self._targets)
        return signed_eigenvalues(found).float().double()

    @cached_property
    def hessian_sums(self) -> Tensor:
        """Of the same Hessian's eigenvalues l sum |l| and sum |l| log |l|, (P, 2), float64.

        Exact up to EXACT parameters, above that by random directions; see `quadrature`. Those are followed member by
        member: late in an iteration the last bits decide, and they would differ with who is looked at beside.
        """
        count = self.network.parameter_count()
        starts = starts_of(count).to(self.x.device)

        def exact(params: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return sums_of_whole(self._hessian(params, x, y), starts)

        def seen(params: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return sums(self._hessian(params, x, y), starts)

        if count <= EXACT:
            return self.of_members(exact, self.x, self._targets).float().double()
        return self.of_each(seen, self.x, self._targets)

    @cached_property
    def losses_of_fit(self) -> Tensor:
        """Of a copy that learns a random change of the outputs, before and after, (P, 2), float64; see `fitting`.

        Rounded as float32 is, as its steps, like those of the iterations above, multiply what float64 rounds.
        """

        change = random_change(*self.outputs.shape[1:]).to(self.x.device)

        def losses(params: Mapping[str, Tensor], x: Tensor) -> Tensor:
            outputs, learned = self._outputs(params)
            return losses_of_fit(lambda own: outputs(own, x.double()), learned, change)

        return self.of_members(losses).float().double()

    @staticmethod
    def _past(look: Look | None) -> Look:
        if look is None:
            raise ValueError("a look without a past was asked for it: it is kept where `needs` names it")
        return look

    @property
    def _targets(self) -> Tensor:
        if self.targets is None or self.loss is None:
            raise ValueError("a look without targets was asked for the loss of its examples")
        return self.targets

    def _hessian(self, params: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
        """Products with the Hessian of a member's mean loss."""
        losses, learned = self._losses(params)
        x, y = x.double(), y.double() if y.is_floating_point() else y
        return hessian_product_of(lambda own: losses(own, x, y).mean(), learned)

    def _losses(self, params: Mapping[str, Tensor]) -> tuple[Callable[..., Tensor], dict[str, Tensor]]:
        """A member's losses (N,) as a function of its parameters and of examples x, y, and those, in float64."""
        assert self.loss is not None
        outputs, learned = self._outputs(params)
        example_losses = self.loss.example_losses
        return lambda own, x, y: example_losses(outputs(own, x), y), learned

    def _outputs(self, params: Mapping[str, Tensor]) -> tuple[Callable[..., Tensor], dict[str, Tensor]]:
        """A member's outputs (N, outputs) as a function of its parameters and of x, and those, in float64."""
        buffers = set(self.network.buffers)
        fixed = {name: value.double() for name, value in params.items() if name in buffers}
        learned = {name: value.double() for name, value in params.items() if name not in buffers}
        return lambda own, x: self.network.apply({**own, **fixed}, x)[0], learned

    def of_each(self, function: Callable[..., Tensor], *given: Tensor) -> Tensor:
        """As `of_members`, one after the other, to the same bits whoever is beside: from copies that lie alike."""
        found = []
        for place in range(len(self.x)):
            params = {name: value[place].clone() for name, value in self.params.items()}
            found.append(function(params, *(each[place].clone() for each in given)))
        return torch.stack(found)

    def of_members(self, function: Callable[..., Tree], *given: Tensor) -> Tree:
        """`function(params, *given)`, written for one member, of all: its tensors with an axis of members in front.

        `given`, (P, ...) each, is the probe unless there is any. A member by itself is not batched: that is how
        networks come that are so large that vmap only costs.
        """
        given = given or (self.x,)
        if len(given[0]) > 1:
            batched: Tree = torch.func.vmap(function)(dict(self.params), *given)
            return batched
        own = (each[0] for each in given)
        alone = function({name: value[0] for name, value in self.params.items()}, *own)
        whole: Tree = pytree.tree_map(lambda value: value[None], alone)
        return whole


def activity(features: Tensor) -> Tensor:
    """sum_n |h_nj|, (..., N, D) -> (..., D) float64: how much every unit is heard of."""
    return features.abs().sum(-2, dtype=torch.float64)


def presence(features: Tensor) -> Tensor:
    """Share of examples on which a unit is not zero, (..., N, D) -> (..., D) float64; NaN where not all are finite."""
    share = (features != 0).to(torch.float64).mean(-2)
    return torch.where(features.isfinite().all(-2), share, torch.nan)


def _as_rows(features: Tensor) -> Tensor:
    """(P, N, D, ...) -> (P, N x places, D)."""
    return features if features.ndim == 3 else features.movedim(2, -1).flatten(1, -2)
