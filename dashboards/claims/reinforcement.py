"""What Dohare et al. (2024), Nature 632:768, say of learners that act: proximal policy optimisation in changing worlds.

There an ant walks on ground whose friction changes; looked at in another world, it is a test of whether that is so
there too. Sentences are ours.
"""

from __future__ import annotations

from dataclasses import replace

from dashboards.claims.claim import Claim, with_method
from dashboards.claims.effects import Gain, Loss

ANT, POLE = "slippery_ant", "continual_control"
WORLDS = (ANT, POLE)

BETAS = {"optimizer__beta1": 0.9, "optimizer__beta2": 0.999}
EQUAL = {"optimizer__beta1": 0.99, "optimizer__beta2": 0.99}
STANDARD = replace(with_method("standard PPO", **BETAS), optimizer="adam")
EQUAL_BETAS = replace(with_method("PPO with equal betas", **EQUAL), optimizer="adam")
L2 = replace(with_method("PPO with L2", "l2", **EQUAL), optimizer="adam")
CONTINUAL_BACKPROP = replace(
    with_method("PPO with continual backprop", "continual_backprop", **EQUAL), optimizer="adam"
)
CONTINUAL_BACKPROP_AND_L2 = replace(
    with_method("PPO with continual backprop and L2", "continual_backprop", "l2", **EQUAL), optimizer="adam"
)

CLAIMS = (
    Claim(
        name="standard_ppo_declines",
        says="PPO with Adam's usual betas loses plasticity in a world that changes.",
        source="Fig. 3, on slippery ground",
        workloads=WORLDS,
        effect=Loss(learner=replace(STANDARD, furthest=True)),
        baseline=True,
    ),
    Claim(
        name="equal_betas_mitigate",
        says="With both betas alike PPO loses less: it ends ahead of standard PPO.",
        source="Fig. 3, on slippery ground",
        workloads=WORLDS,
        effect=Gain(learner=EQUAL_BETAS, over=STANDARD),
        moot_without_loss=True,
    ),
    Claim(
        name="l2_mitigates_in_ppo",
        says="With L2 beside it PPO ends ahead of the same without.",
        source="Fig. 3, on slippery ground",
        workloads=WORLDS,
        effect=Gain(learner=L2, over=EQUAL_BETAS),
        moot_without_loss=True,
    ),
    Claim(
        name="continual_backprop_with_l2_mitigates_in_ppo",
        says="With continual backprop in both networks, and a weak L2, PPO ends ahead of the same without.",
        source="Fig. 3, on slippery ground",
        workloads=(ANT,),
        effect=Gain(learner=CONTINUAL_BACKPROP_AND_L2, over=EQUAL_BETAS),
        moot_without_loss=True,
    ),
    Claim(
        name="continual_backprop_mitigates_in_ppo",
        says="With continual backprop in both networks PPO ends ahead of the same without.",
        source="Fig. 3, on slippery ground, with a weak L2 beside it",
        workloads=(POLE,),
        effect=Gain(learner=CONTINUAL_BACKPROP, over=EQUAL_BETAS),
        moot_without_loss=True,
    ),
)
