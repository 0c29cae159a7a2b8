"""What Ash and Adams (2020), "On warm-starting neural network training", NeurIPS, say of training on more data later.

Sentences are ours.
"""

from __future__ import annotations

from dashboards.claims.claim import BACKPROP, SHRINK_AND_PERTURB, Claim, with_method
from dashboards.claims.effects import Gain

FRESH = with_method("a fresh start", "reset", reset__what="all")

CLAIMS = (
    Claim(
        name="warm_start_ends_below",
        says="A network trained on part of the data first ends below one that starts fresh on all of it.",
        source="Section 3",
        workloads=("warm_start",),
        effect=Gain(learner=FRESH, over=BACKPROP),
        baseline=True,
    ),
    Claim(
        name="perturbing_once_mends",
        says="Shrinking and perturbing the weights once, as the data comes, ends ahead of the plain warm start.",
        source="Section 4",
        workloads=("warm_start",),
        effect=Gain(learner=SHRINK_AND_PERTURB, over=BACKPROP),
        moot_without_loss=True,
    ),
)
