"""What is read off a network: which diagnostics exist, without importing torch. Each is one file.

dormant_fraction     share of units that are almost silent beside their layer (Sokar et al. 2023)
dead_fraction        share of units that are exactly zero on the whole probe; tells of relu only
effective_rank       exp of the entropy of the features' singular values (Roy and Vetterli 2007)
stable_rank          squared Frobenius norm of the features over their squared spectral norm
stable_rank_99       singular values that make 99 % of their sum: the papers' "stable rank" (Dohare et al. 2024)
rank_99              singular values that make 99 % of the features' squared Frobenius norm
weight_magnitude     mean |w| over all weight matrices
gradient_norm        L2 norm of the gradient of all parameters
isometry_deviation   summed squared distance of the weights' Gram matrices from the identity
singular_value_max   largest singular value of any weight matrix
singular_value_min   smallest singular value of any weight matrix
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BINS = 20  # of the curve within a task, the measures within_task/1 to within_task/20


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """A diagnostic's place in the registry."""

    name: str
    needs: Literal["features", "weights", "gradients"]
    semantics: int = 1  # raised whenever its values change; part of a trial's hash

    @property
    def per_layer(self) -> bool:
        """Whether it has a value for every hidden layer; such a diagnostic is absent where there is none."""
        return self.needs == "features"


DIAGNOSTICS: dict[str, Diagnostic] = {
    "dormant_fraction": Diagnostic(name="dormant_fraction", needs="features"),
    "dead_fraction": Diagnostic(name="dead_fraction", needs="features"),
    "effective_rank": Diagnostic(name="effective_rank", needs="features", semantics=2),
    "stable_rank": Diagnostic(name="stable_rank", needs="features", semantics=2),
    "stable_rank_99": Diagnostic(name="stable_rank_99", needs="features"),
    "rank_99": Diagnostic(name="rank_99", needs="features", semantics=2),
    "weight_magnitude": Diagnostic(name="weight_magnitude", needs="weights"),
    "gradient_norm": Diagnostic(name="gradient_norm", needs="gradients"),
    "isometry_deviation": Diagnostic(name="isometry_deviation", needs="weights"),
    "singular_value_max": Diagnostic(name="singular_value_max", needs="weights"),
    "singular_value_min": Diagnostic(name="singular_value_min", needs="weights"),
}
