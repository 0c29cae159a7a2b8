"""The size of activations: mean |h| of every hidden layer.

In a sweep file:

    code: [activation_size.py]
    metrics: [online_error, activation_size]
"""

from workloads.diagnostics.base import Diagnostic


class ActivationSize(Diagnostic):
    """Mean |h| over the units of a hidden layer and the examples of the probe.

    The first line is what `sweep describe` says of it. Members of a pack are axis 0 of everything; keep them apart.
    """

    needs = ("features",)  # what it reads of a look: workloads.diagnostics.look says what there is
    per_layer = True  # a tensor (P,) per hidden layer, else one
    semantics = 1  # raise it when its values change: it is part of every trial's name

    def measure(self, look):
        return [features.abs().mean((1, 2)) for features in look.features]


DIAGNOSTICS = {"activation_size": ActivationSize}
