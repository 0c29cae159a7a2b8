"""What can be read of a network's steps beside the gradient: what enters a hidden layer, and what its units do."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from workloads.errors import InputError
from workloads.networks.base import TAP, Network
from workloads.settings import Settings


def entering(network: Network[Settings], x: Tensor, activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Hidden layer -> what its weights are multiplied by, (B, columns) of a matrix, (B, channels, places) of a kernel.

    x (B, inputs) is what the network is shown. Hidden layers follow one another: into each goes what the one before
    shows. Raises InputError where that does not fit the weights.
    """
    shapes, found, before = network.parameter_shapes(), {}, x
    for site in network.sites:
        columns, places = shapes[site.weight][1], shapes[site.weight][2:]
        given = before.shape[1] if places and before.ndim > 2 else before[0].numel()
        if given != columns and (not places or before.ndim > 2 or given % columns):
            raise InputError(
                f"{site.name} takes {columns} columns, and the layer before shows {given}: not one another's"
            )
        found[site.name] = before.reshape(len(before), columns, -1) if places else before.flatten(1)
        before = activations[site.name]
    return found


def check_readable(network: Network[Settings], reads: Mapping[str, str]) -> None:
    """Raises InputError where a network does not offer what is read of its steps; `reads`: what -> by which method."""
    if "entering" in reads:
        params, x = network.blank()
        entering(network, x, dict(network.apply(params, x)[1]))
    asked = next((read for read in ("loss_effects", "output_effects") if read in reads), None)
    if asked and (untapped := [site.name for site in network.sites if site.name not in tapped_layers(network)]):
        raise InputError(
            f"{reads[asked]}, as set here, goes by the gradient with respect to the activations of "
            f"{', '.join(untapped)}: {type(network).__name__}.apply must pass them through `tapped` of "
            "workloads.networks.base"
        )


def tapped_layers(network: Network[Settings]) -> set[str]:
    """The layers whose activations the network's `apply` passes through `tapped`, found by watching it."""
    asked: set[str] = set()

    class Watched(dict[str, Tensor]):
        def get(self, key: str, default: Tensor | None = None) -> Tensor | None:  # type: ignore[override]
            if key.startswith(TAP):
                asked.add(key.removeprefix(TAP))
            return super().get(key, default)

    params, x = network.blank()
    network.apply(Watched(params), x)
    return asked
