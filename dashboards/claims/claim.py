"""What a claim is: a paper's sentence in our words, where it stands, and the test that decides it in a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dashboards.claims.effects import Effect, Reading
from dashboards.claims.evidence import Learner
from dashboards.claims.judging import Test
from sweep.results.verdicts import MATTERS as SHARE
from sweep.results.verdicts import smallest_effect

# The smallest effect that matters, where it is not what leaderboards take (`verdicts.smallest_effect`): the published
# differences between methods on permuted MNIST, over 60,000 images a task, are below one in a hundred.
MATTERS = {"online_accuracy": 0.005}

MILLION = 1_000_000

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
    # workload -> after how many million steps, to the nearest, its source shows it: shorter trials cannot tell
    millions: Mapping[str, int] = field(default_factory=dict)

    def too_short(self, workload: str, steps: int) -> str:
        """How long trials are and how long they must be to tell of it, where that is longer; else nothing."""
        millions = self.millions.get(workload, 0)
        if round(steps / MILLION) >= millions:
            return ""
        return f"{steps:,} steps here, and it takes {millions:,} million"

    def of(self, reading: Reading) -> float:
        """What the test takes: the smallest effect that matters, or what the effect may be at most."""
        if self.limit is not None:
            return self.limit
        if reading.relative:
            return self.times * SHARE
        return self.times * MATTERS.get(reading.metric, smallest_effect(reading.metric, reading.beside))

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
