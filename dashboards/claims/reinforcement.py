"""What Dohare et al. (2024), Nature 632:768, say of learners that act: proximal policy optimisation in changing worlds.

There an ant walks on ground whose friction changes (Fig. 3: 20 million steps, ten frictions), or does not (Fig. 4: 50
million), as a hopper and a walker do (Extended Data Fig. 5a: 100 and 50 million), and what is lost is lost after
millions of steps. On ground that stays standard PPO is best on an ant at some 3 million and below no return at some 18
million, equal betas fall to none at 35 to 40 million, and the others keep on to the end: as read off its picture.
Shorter trials see how agents begin to walk, and are too short to tell. Looked at in another world, where no length is
published, a claim is a test of whether that is so there too. Sentences are ours. Left out is that utilities need no
running mean (Extended Data Fig. 5d), for which no study has an arm.
"""

from __future__ import annotations

from dataclasses import replace

from dashboards.claims.claim import Claim, with_method
from dashboards.claims.effects import Gain, Loss
from dashboards.claims.evidence import Learner

SLIPPERY, ANT, POLE = "slippery_ant", "ant", "continual_control"
HOPPER, WALKER = "hopper", "walker"
CHANGING = (SLIPPERY, POLE)

FRICTIONS = "Fig. 3, on slippery ground"
STAYING = "Fig. 4, on ground that stays"
BOTH = "Fig. 3, on slippery ground; Fig. 4, on ground that stays"
OTHERS = "Extended Data Fig. 5a, on ground that stays"
BESIDE_REDO = "Extended Data Fig. 5b, on ground that stays"

TEN_FRICTIONS = {SLIPPERY: 20}  # millions of steps
FALLEN = {ANT: 18}  # when standard PPO has lost all
TO_THE_END = {ANT: 50, HOPPER: 100, WALKER: 50}
CHANGES = {ANT: 20}  # in the picture of weights' changes: 20 points of 500 iterations

EQUAL = {"optimizer__beta1": 0.99, "optimizer__beta2": 0.99}


def ppo(label: str, *methods: str, **where: object) -> Learner:
    """PPO with Adam, these methods and settings."""
    return replace(with_method(label, *methods, **where), optimizer="adam")


STANDARD = ppo("standard PPO", optimizer__beta1=0.9, optimizer__beta2=0.999)
EQUAL_BETAS = ppo("PPO with equal betas", **EQUAL)
L2 = ppo("PPO with L2", "l2", **EQUAL)
CONTINUAL_BACKPROP = ppo("PPO with continual backprop", "continual_backprop", **EQUAL)
CONTINUAL_BACKPROP_AND_L2 = ppo("PPO with continual backprop and L2", "continual_backprop", "l2", **EQUAL)
REDO_AND_L2 = ppo("PPO with ReDo and L2", "redo", "l2", **EQUAL)


def mitigates(
    name: str,
    says: str,
    learner: Learner,
    over: Learner = EQUAL_BETAS,
    *,
    workloads: tuple[str, ...] = (*CHANGING, ANT),
    source: str = BOTH,
) -> Claim:
    """That a learner ends ahead of another, where anything is lost."""
    return Claim(
        name=name,
        says=says,
        source=source,
        workloads=workloads,
        effect=Gain(learner=learner, over=over),
        moot_without_loss=True,
        millions=TEN_FRICTIONS | TO_THE_END,
    )


CLAIMS = (
    Claim(
        name="standard_ppo_declines",
        says="PPO with Adam's usual betas loses plasticity in a world that changes.",
        source=FRICTIONS,
        workloads=CHANGING,
        effect=Loss(learner=replace(STANDARD, furthest=True)),
        baseline=True,
        millions=TEN_FRICTIONS,
    ),
    Claim(
        name="standard_ppo_falls_where_nothing_changes",
        says="PPO with Adam's usual betas loses what it has learned though its task stays the same.",
        source=STAYING,
        workloads=(ANT,),
        effect=Loss(learner=replace(STANDARD, furthest=True)),
        baseline=True,
        millions=FALLEN,
    ),
    Claim(
        name="standard_ppo_falls_on_other_robots",
        says="On a hopper and a walker too, PPO with Adam's usual betas loses what it has learned.",
        source=OTHERS,
        workloads=(HOPPER, WALKER),
        effect=Loss(learner=replace(STANDARD, furthest=True)),
        baseline=True,
        millions=TO_THE_END,
    ),
    mitigates(
        "equal_betas_mitigate",
        "With both betas alike PPO loses less: it ends ahead of standard PPO.",
        EQUAL_BETAS,
        STANDARD,
        workloads=CHANGING,
        source=FRICTIONS,
    ),
    Claim(
        name="equal_betas_fall_later",
        says="With both betas alike PPO falls later: over all that it learns it is ahead of standard PPO.",
        source=STAYING,
        workloads=(ANT,),
        effect=Gain(learner=EQUAL_BETAS, over=STANDARD, throughout=True),
        moot_without_loss=True,
        millions=FALLEN,
    ),
    mitigates("l2_mitigates_in_ppo", "With L2 beside it PPO ends ahead of the same without.", L2),
    mitigates(
        "continual_backprop_with_l2_mitigates_in_ppo",
        "With continual backprop in both networks, and a weak L2, PPO ends ahead of the same without.",
        CONTINUAL_BACKPROP_AND_L2,
        workloads=(SLIPPERY, ANT),
    ),
    Claim(
        name="continual_backprop_with_l2_keeps_in_ppo",
        says="With continual backprop in both networks, and a weak L2, PPO ends where it is best.",
        source=f"{STAYING}; Extended Data Fig. 5a",
        workloads=(ANT, HOPPER, WALKER),
        effect=Loss(learner=CONTINUAL_BACKPROP_AND_L2),
        test="at most",
        moot_without_loss=True,
        millions=TO_THE_END,
    ),
    Claim(
        name="l2_falls_on_a_hopper",
        says="With L2 beside it PPO still loses on a hopper what it has learned.",
        source=OTHERS,
        workloads=(HOPPER,),
        effect=Loss(learner=replace(L2, furthest=True)),
        millions=TO_THE_END,
    ),
    Claim(
        name="redo_with_l2_falls_in_ppo",
        says="With ReDo in both networks, and a weak L2, PPO loses what it has learned.",
        source=BESIDE_REDO,
        workloads=(ANT,),
        effect=Loss(learner=replace(REDO_AND_L2, furthest=True)),
        millions=TO_THE_END,
    ),
    mitigates(
        "continual_backprop_beats_redo_in_ppo",
        "Both with a weak L2, PPO with continual backprop ends ahead of PPO with ReDo.",
        CONTINUAL_BACKPROP_AND_L2,
        REDO_AND_L2,
        workloads=(ANT,),
        source=BESIDE_REDO,
    ),
    Claim(
        name="standard_adam_moves_weights_further",
        says="With Adam's usual betas the policy's weights change more than with both alike.",
        source="Extended Data Fig. 5c, on ground that stays, by the sum over an iteration",
        workloads=(ANT,),
        effect=Gain(learner=STANDARD, over=EQUAL_BETAS, metrics=("weight_change",), relative=True, throughout=True),
        millions=CHANGES,
    ),
    mitigates(
        "continual_backprop_mitigates_in_ppo",
        "With continual backprop in both networks PPO ends ahead of the same without.",
        CONTINUAL_BACKPROP,
        workloads=(POLE,),
        source=f"{FRICTIONS}, with a weak L2 beside it",
    ),
)
