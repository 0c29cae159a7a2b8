"""What a claim is: a paper's sentence in our words, where it stands, and the test that decides it in a sweep."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dashboards.claims.effects import Effect
from dashboards.claims.evidence import Learner
from dashboards.claims.judging import Test
from sweep.errors import InputError

# The smallest effect that matters, by metric, in its unit. Ours: half a percentage point of online accuracy and one of
# test accuracy, whose tests have 200 images and more; a fiftieth of the regression's errors, which lie near 1; a return
# in the environment's reward. Diagnostics are read as shares: of units, or of what they were.
MATTERS = {
    "online_accuracy": 0.005,
    "test_accuracy": 0.01,
    "test_accuracy_max": 0.01,
    "online_error": 0.02,
    "average_return": 5.0,
    "dead_fraction": 0.02,
    "dormant_fraction": 0.02,
}
SHARE = 0.05  # of what is read relative to what it was or is beside

SGD_AND_ADAM = ("sgd", "adam")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement of a paper, with its test."""

    name: str
    says: str  # in our words, a sentence
    source: str  # where the paper says it
    workloads: tuple[str, ...]  # the streams on which it may be looked at
    effect: Effect
    test: Test = "more"
    times: float = 1.0  # of the smallest effect that matters: the effect it must have, or may have at most
    limit: float | None = None  # in its own unit, where that is no multiple of what matters
    optimizers: tuple[str, ...] = SGD_AND_ADAM  # with which learners that name none are looked at
    baseline: bool = False  # says that there is something to lose: others are moot where it does not hold
    moot_without_loss: bool = False  # says how loss is avoided, so it is decided only where the baseline loses

    def smallest(self, metric: str, *, relative: bool) -> float:
        """d of `judging`: the effect that matters, or the limit."""
        if self.limit is not None:
            return self.limit
        if relative:
            return self.times * SHARE
        if metric not in MATTERS:
            raise InputError(f"no smallest effect that matters is known of {metric}")
        return self.times * MATTERS[metric]

    @property
    def fixed(self) -> bool:
        """Whether its learners say their optimizers themselves."""
        return all(learner.optimizer or learner.linear for learner in self.effect.learners)


def with_method(label: str, *methods: str, **where: object) -> Learner:
    """A learner with these methods, whatever its optimizer."""
    return Learner(
        label=label, methods=frozenset(methods), where=tuple((k.replace("__", "."), v) for k, v in where.items())
    )


BACKPROP = Learner(label="backprop")
AT_ITS_BEST = replace(BACKPROP, furthest=True)
ADAM = Learner(label="Adam", optimizer="adam")
ADAM_AT_ITS_BEST = replace(ADAM, furthest=True)
ADAMO = Learner(label="AdamO", optimizer="adamo")
LINEAR = Learner(label="a linear learner", linear=True)
L2 = with_method("L2", "l2")
SHRINK_AND_PERTURB = with_method("shrink and perturb", "shrink_and_perturb")
CONTINUAL_BACKPROP = with_method("continual backprop", "continual_backprop")
