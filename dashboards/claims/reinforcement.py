"""What Dohare et al. (2024), Nature 632:768, say of learners that act: proximal policy optimisation in changing worlds.

There an ant walks on ground whose friction changes; looked at in another world, it is a test of whether that is so
there too. Sentences are ours.
"""

from __future__ import annotations

from dataclasses import replace

from dashboards.claims.claim import Claim, with_method
from dashboards.claims.effects import Gain, Loss
from dashboards.claims.evidence import Learner

ANT, POLE = "slippery_ant", "continual_control"
WORLDS = (ANT, POLE)

SOURCE = "Fig. 3, on slippery ground"

EQUAL = {"optimizer__beta1": 0.99, "optimizer__beta2": 0.99}


def ppo(label: str, *methods: str, **where: object) -> Learner:
    """PPO with Adam, these methods and settings."""
    return replace(with_method(label, *methods, **where), optimizer="adam")


STANDARD = ppo("standard PPO", optimizer__beta1=0.9, optimizer__beta2=0.999)
EQUAL_BETAS = ppo("PPO with equal betas", **EQUAL)
L2 = ppo("PPO with L2", "l2", **EQUAL)
CONTINUAL_BACKPROP = ppo("PPO with continual backprop", "continual_backprop", **EQUAL)
CONTINUAL_BACKPROP_AND_L2 = ppo("PPO with continual backprop and L2", "continual_backprop", "l2", **EQUAL)


def mitigates(
    name: str,
    says: str,
    learner: Learner,
    over: Learner = EQUAL_BETAS,
    *,
    workloads: tuple[str, ...] = WORLDS,
    source: str = SOURCE,
) -> Claim:
    """That a learner ends ahead of another, where anything is lost."""
    effect = Gain(learner=learner, over=over)
    return Claim(name=name, says=says, source=source, workloads=workloads, effect=effect, moot_without_loss=True)


CLAIMS = (
    Claim(
        name="standard_ppo_declines",
        says="PPO with Adam's usual betas loses plasticity in a world that changes.",
        source=SOURCE,
        workloads=WORLDS,
        effect=Loss(learner=replace(STANDARD, furthest=True)),
        baseline=True,
    ),
    mitigates(
        "equal_betas_mitigate",
        "With both betas alike PPO loses less: it ends ahead of standard PPO.",
        EQUAL_BETAS,
        STANDARD,
    ),
    mitigates("l2_mitigates_in_ppo", "With L2 beside it PPO ends ahead of the same without.", L2),
    mitigates(
        "continual_backprop_with_l2_mitigates_in_ppo",
        "With continual backprop in both networks, and a weak L2, PPO ends ahead of the same without.",
        CONTINUAL_BACKPROP_AND_L2,
        workloads=(ANT,),
    ),
    mitigates(
        "continual_backprop_mitigates_in_ppo",
        "With continual backprop in both networks PPO ends ahead of the same without.",
        CONTINUAL_BACKPROP,
        workloads=(POLE,),
        source=f"{SOURCE}, with a weak L2 beside it",
    ),
)
