"""What Rosseau, Müller, Nowé (2026), "Preserving plasticity in continual learning via dynamical isometry", say of it.

arXiv 2606.09762. Sentences are ours and follow its abstract; its tables of results and its grids are not known, so
no number here is theirs.
"""

from __future__ import annotations

from dashboards.claims.claim import ADAM, ADAM_AT_ITS_BEST, ADAMO, Claim, with_method
from dashboards.claims.effects import Gain, Loss

STREAMS = ("relabelled", "permuted_mnist")
ABSTRACT = "abstract"
L2 = with_method("L2 with Adam", "l2")
SHRINK_AND_PERTURB = with_method("shrink and perturb with Adam", "shrink_and_perturb")
CONTINUAL_BACKPROP = with_method("continual backprop with Adam", "continual_backprop")
BESIDE = "AdamO matches or beats {}: it ends no further behind than matters."


CLAIMS = (
    Claim(
        name="adam_declines",
        says="These streams cost plasticity: Adam, at the step size that gets furthest, ends worse than it was.",
        source=ABSTRACT,
        workloads=STREAMS,
        effect=Loss(learner=ADAM_AT_ITS_BEST),
        baseline=True,
    ),
    Claim(
        name="adamo_beats_adam",
        says="Adam with the decoupled pull to an isometry ends ahead of Adam alone.",
        source=ABSTRACT,
        workloads=STREAMS,
        effect=Gain(learner=ADAMO, over=ADAM),
        moot_without_loss=True,
    ),
    Claim(
        name="adamo_keeps",
        says="AdamO keeps its plasticity: it ends where it is best.",
        source=ABSTRACT,
        workloads=STREAMS,
        effect=Loss(learner=ADAMO),
        test="at most",
        moot_without_loss=True,
    ),
    *(
        Claim(
            name=f"adamo_matches_{name}",
            says=BESIDE.format(rival.label),
            source=ABSTRACT,
            workloads=STREAMS,
            effect=Gain(learner=rival, over=ADAMO),
            test="at most",
            optimizers=("adam",),
            moot_without_loss=True,
        )
        for name, rival in (
            ("l2", L2),
            ("shrink_and_perturb", SHRINK_AND_PERTURB),
            ("continual_backprop", CONTINUAL_BACKPROP),
        )
    ),
    Claim(
        name="adamo_is_nearer_an_isometry",
        says="AdamO's weights end nearer to an isometry than Adam's.",
        source="abstract; eq. 16",
        workloads=(*STREAMS, "slowly_changing_regression"),
        effect=Gain(learner=ADAMO, over=ADAM, metrics=("isometry_deviation",), lower=True, relative=True),
    ),
    Claim(
        name="adamo_revives_units",
        says="The pull revives dormant units: fewer are left than with Adam.",
        source=ABSTRACT,
        workloads=STREAMS,
        effect=Gain(learner=ADAMO, over=ADAM, metrics=("dormant_fraction",), lower=True),
    ),
)
