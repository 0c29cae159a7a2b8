"""What Dohare et al. (2024), "Loss of plasticity in deep continual learning", Nature 632:768, say of streams.

Of the supervised ones, that is. Sentences are ours; sources name the figure that shows it. Diagnostics inside networks
are shown there on permuted MNIST and class-incremental CIFAR-100; read on the regression they are the paper's account
of why, looked at where it is cheap.
"""

from __future__ import annotations

from dataclasses import replace

from dashboards.claims.claim import (
    ADAM_AT_ITS_BEST,
    AT_ITS_BEST,
    BACKPROP,
    CONTINUAL_BACKPROP,
    L2,
    LINEAR,
    SHRINK_AND_PERTURB,
    Claim,
    with_method,
)
from dashboards.claims.effects import Gain, Level, Loss, Move, Slope

REGRESSION, MNIST = "slowly_changing_regression", "permuted_mnist"
IMAGENET, CIFAR = "continual_imagenet", "incremental_cifar"
STREAMS = (REGRESSION, MNIST, IMAGENET)

RETRAINED = with_method("a network retrained from scratch", "reset", reset__what="all")
HEAD_RESET = with_method("resetting the head", "reset", reset__what="head")
DROPOUT = with_method("backprop with dropout", "dropout")
ONLINE = with_method("backprop with online normalisation", "online_normalisation")
BY_EFFECT = with_method(
    "continual backprop by the effect on the loss", "continual_backprop", continual_backprop__utility="taylor_loss"
)
BY_CONTRIBUTION = with_method(
    "continual backprop by the published utility",
    "continual_backprop",
    continual_backprop__utility="adaptable_contribution",
)
UNKNOWN = "Extended Data Fig. 4a; how online normalisation is meant, and all settings, are ours"
DEAD = ("dead_fraction", "dormant_fraction")
FEW_UNITS = 0.05  # of all: the paper shows about none on permuted MNIST and 1.5 % on CIFAR-100

CLAIMS = (
    Claim(
        name="backprop_declines",
        says="Backprop loses plasticity: at the step size with which it gets furthest, it ends worse than it was.",
        source="Fig. 1b; Extended Data Figs. 2, 3b",
        workloads=STREAMS,
        effect=Loss(learner=AT_ITS_BEST),
        optimizers=("sgd",),
        baseline=True,
    ),
    Claim(
        name="retrained_is_ahead",
        says="A network trained on and on ends below one that is retrained from scratch on the same classes.",
        source="Fig. 2a",
        workloads=(CIFAR,),
        effect=Gain(learner=RETRAINED, over=BACKPROP),
        optimizers=("sgd",),
        baseline=True,
    ),
    Claim(
        name="larger_steps_decline_faster",
        says="The larger its steps, the more of its best plain backprop loses.",
        source="Fig. 1b; Extended Data Figs. 2, 3b",
        workloads=STREAMS,
        effect=Slope(learner=BACKPROP, axis="optimizer.step_size"),
        optimizers=("sgd",),
    ),
    Claim(
        name="wider_networks_decline_slower",
        says="The wider the network, the less of its best it loses.",
        source="Extended Data Fig. 3b",
        workloads=(MNIST,),
        effect=Slope(learner=BACKPROP, axis="network.width", shrinking=True),
        optimizers=("sgd",),
    ),
    Claim(
        name="faster_changes_decline_faster",
        says="The longer the data stays the same, the less a network loses over as many examples.",
        source="Extended Data Fig. 3b",
        workloads=(MNIST,),
        effect=Slope(learner=BACKPROP, axis="workload.examples_per_task", shrinking=True),
        optimizers=("sgd",),
    ),
    Claim(
        name="adam_declines",
        says="Adam loses plasticity too.",
        source="Extended Data Fig. 4a",
        workloads=(REGRESSION, MNIST),
        effect=Loss(learner=ADAM_AT_ITS_BEST),
    ),
    *(
        Claim(
            name=f"{name}_declines",
            says=f"With {name.replace('_', ' ')} backprop loses plasticity too.",
            source=UNKNOWN,
            workloads=(MNIST,),
            effect=Loss(learner=replace(learner, furthest=True)),
            optimizers=("sgd",),
        )
        for name, learner in (("dropout", DROPOUT), ("online_normalisation", ONLINE))
    ),
    Claim(
        name="dropout_is_behind",
        says="Backprop with dropout ends behind plain backprop.",
        source=UNKNOWN,
        workloads=(MNIST,),
        effect=Gain(learner=BACKPROP, over=DROPOUT),
        optimizers=("sgd",),
    ),
    Claim(
        name="deep_falls_to_linear",
        says="The network that got furthest ends no further than a linear learner, which has no features to lose.",
        source="Fig. 1b; Extended Data Fig. 2",
        workloads=(REGRESSION, IMAGENET),
        effect=Gain(learner=AT_ITS_BEST, over=LINEAR),
        test="at most",
        optimizers=("sgd",),
    ),
    Claim(
        name="l2_mitigates",
        says="L2 mitigates the loss: it ends ahead of plain backprop.",
        source="Fig. 1c; Extended Data Fig. 4a",
        workloads=STREAMS,
        effect=Gain(learner=L2, over=BACKPROP),
        moot_without_loss=True,
    ),
    Claim(
        name="shrink_and_perturb_mitigates",
        says="Shrink and perturb ends ahead of plain backprop.",
        source="Figs. 1c, 2a; Extended Data Fig. 4a",
        workloads=(*STREAMS, CIFAR),
        effect=Gain(learner=SHRINK_AND_PERTURB, over=BACKPROP),
        moot_without_loss=True,
    ),
    Claim(
        name="shrink_and_perturb_nearly_keeps",
        says="With shrink and perturb nearly nothing is lost: at most twice the smallest loss that matters.",
        source="Fig. 1c; Extended Data Fig. 4a",
        workloads=STREAMS,
        effect=Loss(learner=SHRINK_AND_PERTURB),
        test="at most",
        times=2.0,
        moot_without_loss=True,
    ),
    Claim(
        name="continual_backprop_keeps",
        says="Continual backprop keeps its plasticity: it ends where it is best.",
        source="Fig. 1c; Extended Data Fig. 4a",
        workloads=STREAMS,
        effect=Loss(learner=CONTINUAL_BACKPROP),
        test="at most",
        moot_without_loss=True,
    ),
    Claim(
        name="continual_backprop_beats_backprop",
        says="Continual backprop ends ahead of plain backprop.",
        source="Figs. 1c, 2a; Extended Data Fig. 4a",
        workloads=(*STREAMS, CIFAR),
        effect=Gain(learner=CONTINUAL_BACKPROP, over=BACKPROP),
        moot_without_loss=True,
    ),
    Claim(
        name="continual_backprop_beats_l2",
        says="Continual backprop ends ahead of L2.",
        source="Fig. 1c; Extended Data Fig. 4a",
        workloads=(MNIST, IMAGENET),
        effect=Gain(learner=CONTINUAL_BACKPROP, over=L2),
        moot_without_loss=True,
    ),
    Claim(
        name="continual_backprop_beats_shrink_and_perturb",
        says="Continual backprop ends ahead of shrink and perturb.",
        source="Figs. 1c, 2a; Extended Data Fig. 4a",
        workloads=(MNIST, IMAGENET, CIFAR),
        effect=Gain(learner=CONTINUAL_BACKPROP, over=SHRINK_AND_PERTURB),
        moot_without_loss=True,
    ),
    Claim(
        name="continual_backprop_is_insensitive",
        says="Its replacement rate may be ten times larger or smaller than its best: that costs next to nothing.",
        source="Extended Data Fig. 4b",
        workloads=(MNIST,),
        effect=Move(learner=CONTINUAL_BACKPROP, axis="continual_backprop.replacement_rate"),
        test="at most",
        times=2.0,
    ),
    Claim(
        name="global_utility_is_ahead",
        says="Continual backprop that goes by a unit's effect on the loss ends ahead of one that goes by the utility "
        "published.",
        source="an open question of the authors' talk, which names a global utility as future work; |h dL/dh| is ours",
        workloads=(REGRESSION, MNIST),
        effect=Gain(learner=BY_EFFECT, over=BY_CONTRIBUTION),
    ),
    Claim(
        name="continual_backprop_has_few_dead_units",
        says="With continual backprop next to no units are dead.",
        source="Fig. 2c; Extended Data Fig. 4a",
        workloads=(MNIST, CIFAR),
        effect=Level(learner=CONTINUAL_BACKPROP, metrics=DEAD),
        test="at most",
        limit=FEW_UNITS,
    ),
    Claim(
        name="continual_backprop_has_higher_rank",
        says="Continual backprop's features use more directions than plain backprop's.",
        source="Fig. 2d; Extended Data Fig. 4a",
        workloads=(MNIST, CIFAR),
        effect=Gain(
            learner=CONTINUAL_BACKPROP,
            over=BACKPROP,
            metrics=("effective_rank", "stable_rank_99"),
            relative=True,
        ),
    ),
    Claim(
        name="units_die",
        says="As plain backprop goes on, more and more of its units are silent.",
        source="Fig. 2c; Extended Data Fig. 3c",
        workloads=(REGRESSION, MNIST, CIFAR),
        effect=Loss(learner=AT_ITS_BEST, metrics=DEAD, rising=True),
        optimizers=("sgd",),
    ),
    Claim(
        name="effective_rank_falls",
        says="As plain backprop goes on, its features use fewer directions.",
        source="Fig. 2d; Extended Data Fig. 3c",
        workloads=(REGRESSION, MNIST, CIFAR),
        effect=Loss(learner=AT_ITS_BEST, metrics=("effective_rank", "stable_rank_99"), relative=True),
        optimizers=("sgd",),
    ),
    Claim(
        name="weights_grow",
        says="As plain backprop goes on, its weights grow.",
        source="Extended Data Fig. 3c",
        workloads=(REGRESSION, MNIST),
        effect=Loss(learner=AT_ITS_BEST, metrics=("weight_magnitude",), rising=True, relative=True),
        optimizers=("sgd",),
    ),
    Claim(
        name="head_reset_mitigates",
        says="Resetting the head alone gives back a part of what is lost.",
        source="Fig. 2a",
        workloads=(CIFAR,),
        effect=Gain(learner=HEAD_RESET, over=BACKPROP),
        moot_without_loss=True,
    ),
    Claim(
        name="continual_backprop_matches_retraining",
        says="Continual backprop ends no further below a network retrained from scratch than matters.",
        source="Fig. 2a",
        workloads=(CIFAR,),
        effect=Gain(learner=RETRAINED, over=CONTINUAL_BACKPROP),
        test="at most",
        moot_without_loss=True,
    ),
)
