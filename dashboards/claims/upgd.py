"""What Elsayed and Mahmood (2024), "Addressing loss of plasticity and catastrophic forgetting in continual learning",
say of UPGD.

ICLR 2024, arXiv 2404.00781. Sentences are ours and follow its abstract.
"""

from __future__ import annotations

from dashboards.claims.claim import ADAM, Claim
from dashboards.claims.effects import Gain, Loss
from dashboards.claims.evidence import Learner

UPGD = Learner(label="UPGD", optimizer="upgd")
STREAMS = ("permuted_mnist",)
ABSTRACT = "abstract"

CLAIMS = (
    Claim(
        name="adam_declines",
        says="Over hundreds of tasks Adam's online accuracy falls: it ends worse than it was.",
        source=ABSTRACT,
        workloads=STREAMS,
        effect=Loss(learner=ADAM),
        baseline=True,
    ),
    Claim(
        name="upgd_beats_adam",
        says="UPGD ends ahead of Adam.",
        source=ABSTRACT,
        workloads=STREAMS,
        effect=Gain(learner=UPGD, over=ADAM),
    ),
    Claim(
        name="upgd_keeps",
        says="UPGD goes on improving: it ends where it is best.",
        source=ABSTRACT,
        workloads=STREAMS,
        effect=Loss(learner=UPGD),
        test="at most",
    ),
)
