"""All diagnostics asked for, of all members of a pack at once; each decomposition is made once and shared.

A per-layer diagnostic `d` gives `d`, the mean over hidden layers, and, where there are two or more, `d/1`,
`d/2`, ... from the input up. Without hidden layers it gives nothing. What is undefined (NaN) in one layer is
so in the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import Tensor

from workloads.diagnostics import DIAGNOSTICS
from workloads.diagnostics.dormant import activity, dead_of_activity, dormant_of_activity
from workloads.diagnostics.effective_rank import effective_rank_of_spectrum
from workloads.diagnostics.gradient_norm import gradient_norm
from workloads.diagnostics.isometry import isometry_deviation, largest_of_spectra, smallest_of_spectra
from workloads.diagnostics.rank_99 import rank_99_of_spectrum
from workloads.diagnostics.spectrum import feature_values, singular_values
from workloads.diagnostics.stable_rank import stable_rank_of_spectrum
from workloads.diagnostics.stable_rank_99 import stable_rank_99_of_spectrum
from workloads.diagnostics.total import total
from workloads.diagnostics.weight_magnitude import weight_magnitude
from workloads.networks.base import Network
from workloads.registry import lookup

OF_ACTIVITY: dict[str, Callable[[Tensor], Tensor]] = {
    "dormant_fraction": dormant_of_activity,
    "dead_fraction": dead_of_activity,
}
OF_FEATURE_SPECTRUM: dict[str, Callable[[Tensor], Tensor]] = {
    "effective_rank": effective_rank_of_spectrum,
    "stable_rank": stable_rank_of_spectrum,
    "stable_rank_99": stable_rank_99_of_spectrum,
    "rank_99": rank_99_of_spectrum,
}
OF_WEIGHTS: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
    "weight_magnitude": weight_magnitude,
    "isometry_deviation": isometry_deviation,
}
OF_WEIGHT_SPECTRA: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
    "singular_value_max": largest_of_spectra,
    "singular_value_min": smallest_of_spectra,
}


def measure(
    names: Iterable[str],
    params: Mapping[str, Tensor],
    activations: Sequence[tuple[str, Tensor]],
    gradients: Mapping[str, Tensor] | None = None,
    *,
    network: Network,
) -> dict[str, Tensor]:
    """Metric name -> (P,) float64, for the diagnostics in `names`.

    params: (P, ...) each; a kernel counts as the matrix out x (in height width). activations: of the probe,
    (P, N, D) or (P, N, D, height, width) per hidden layer; of a picture every place counts as an example.
    gradients: (P, ...), as params. network: says which parameters are weight matrices. A member whose numbers
    are not finite gets NaN (or infinity) and leaves the others as they are. Raises InputError for an unknown
    name, and ValueError where gradient_norm is asked for without gradients.
    """
    asked = [lookup(DIAGNOSTICS, name, "diagnostic").name for name in names]
    measured = _of_activations(asked, [_as_rows(features) for _, features in activations])
    measured |= _of_weights(asked, [params[name].flatten(2) for name in network.weights])
    if "gradient_norm" in asked:
        if gradients is None:
            raise ValueError("gradient_norm needs gradients, and none were given")
        measured["gradient_norm"] = gradient_norm(list(gradients.values()), leading=1)
    return measured


def _as_rows(features: Tensor) -> Tensor:
    """(P, N, D, ...) -> (P, N x places, D)."""
    return features if features.ndim == 3 else features.movedim(2, -1).flatten(1, -2)


def _of_activations(asked: list[str], layers: list[Tensor]) -> dict[str, Tensor]:
    per_layer: dict[str, list[Tensor]] = {}
    for features in layers:
        for table, seen in ((OF_ACTIVITY, activity), (OF_FEATURE_SPECTRUM, feature_values)):
            wanted = [name for name in asked if name in table]
            values = seen(features) if wanted else features
            for name in wanted:
                per_layer.setdefault(name, []).append(table[name](values))
    measured = {}
    for name, by_layer in per_layer.items():
        measured[name] = total(by_layer) / len(by_layer)
        if len(by_layer) > 1:
            measured |= {f"{name}/{k}": value for k, value in enumerate(by_layer, start=1)}
    return measured


def _of_weights(asked: list[str], weights: list[Tensor]) -> dict[str, Tensor]:
    measured = {name: OF_WEIGHTS[name](weights) for name in asked if name in OF_WEIGHTS}
    spectral = [name for name in asked if name in OF_WEIGHT_SPECTRA]
    spectra = [singular_values(weight) for weight in weights] if spectral else []
    return measured | {name: OF_WEIGHT_SPECTRA[name](spectra) for name in spectral}
