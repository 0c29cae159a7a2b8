"""What Rosseau, Müller, Nowé (2026), "Preserving plasticity in continual learning via dynamical isometry", say of it.

arXiv 2606.09762. Sentences are ours and follow its abstract; its tables of results and its grids are not known, so
no number here is theirs. Where the source says "derived", the sentence is not the paper's: it follows from the penalty.
"""

from __future__ import annotations

from dataclasses import replace

from dashboards.claims.claim import ADAM, ADAM_AT_ITS_BEST, ADAMO, Claim, with_method
from dashboards.claims.effects import Gain, Goes, Level, Loss
from dashboards.claims.evidence import Learner

IMAGES = ("relabelled", "permuted_mnist")
# Games of the last differ by what they earn: in the paper's twenty cycles a tenth of the tasks is two of them, whole.
STREAMS = (*IMAGES, "continual_minatar")
TWENTY_CYCLES = {"continual_minatar": 1195}  # millions of steps of their sequence; from when on it tells is not known
REGRESSION = "slowly_changing_regression"
ABSTRACT = "abstract"
L2 = with_method("L2 with Adam", "l2")
SHRINK_AND_PERTURB = with_method("shrink and perturb with Adam", "shrink_and_perturb")
L2_INIT = with_method("L2-Init with Adam", "l2_init")
CONTINUAL_BACKPROP = with_method("continual backprop with Adam", "continual_backprop")
COUPLED = Learner(
    label="the isometry penalty in Adam's gradient", optimizer="adam", methods=frozenset({"coupled_isometry"})
)
ADAMW = Learner(label="AdamW", optimizer="adamw")
RIVALS = {
    "l2": L2,
    "shrink_and_perturb": SHRINK_AND_PERTURB,
    "continual_backprop": CONTINUAL_BACKPROP,
    "l2_init": L2_INIT,
    "redo": with_method("ReDo with Adam", "redo"),
    "parseval": with_method("Parseval regularisation with Adam", "parseval"),
    "spectral_regularisation": with_method("spectral regularisation with Adam", "spectral_regularisation"),
    "weight_clipping": with_method("weight clipping with Adam", "weight_clipping"),
    "fire": with_method("FIRE with Adam", "fire"),
    "muon": Learner(label="Muon", optimizer="muon"),
}
FUNCTIONS = "lipschitz_regression"
FREE_RELU = Learner(label="a free network of ReLUs", optimizer="adam", where=(("network.activation", "relu"),))
ISOMETRIC_RELU, ISOMETRIC_GROUPSORT = (
    Learner(
        label=f"a network of isometries with {name}",
        optimizer="adamo",
        where=(("network.activation", activation), ("optimizer.projection", 3)),
    )
    for activation, name in (("relu", "ReLUs"), ("groupsort_2", "MaxMin"))
)
REVIVED = ("revived_fraction",)
WAYS = {  # network.killed -> how units were silenced, in a sentence
    "flipped": "by rows made negative",
    "bias": "by biases as far as their rows reach",
    "step": "by one step that is too large",
}
BEYOND = {  # and why the pull cannot help there
    "zero_row": ("rows of zeros", "derived from eq. 16: the penalty's gradient is 0 for such a row"),
    "far_bias": ("biases out of reach", "derived from eq. 16: it has no biases, and no row of norm 1 reaches so far"),
}
FEW_UNITS = 0.05
CLOSELY = 0.5  # a rank correlation
BESIDE = "AdamO matches or beats {}: it ends no further behind than matters."


def silenced(learner: Learner, way: str, **where: object) -> Learner:
    """A learner whose network began with units silenced in a way."""
    settings = tuple((name.replace("__", "."), value) for name, value in where.items())
    return replace(learner, where=(("network.killed", way), *settings))


CLAIMS = (
    Claim(
        name="adam_declines",
        says="These streams cost plasticity: Adam, at the step size that gets furthest, ends worse than it was.",
        source=ABSTRACT,
        workloads=STREAMS,
        millions=TWENTY_CYCLES,
        effect=Loss(learner=ADAM_AT_ITS_BEST),
        baseline=True,
    ),
    Claim(
        name="adamo_beats_adam",
        says="Adam with the decoupled pull to an isometry ends ahead of Adam alone.",
        source=ABSTRACT,
        workloads=STREAMS,
        millions=TWENTY_CYCLES,
        effect=Gain(learner=ADAMO, over=ADAM),
        moot_without_loss=True,
    ),
    Claim(
        name="adamo_keeps",
        says="AdamO keeps its plasticity: it ends where it is best.",
        source=ABSTRACT,
        workloads=STREAMS,
        millions=TWENTY_CYCLES,
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
            millions=TWENTY_CYCLES,
            effect=Gain(learner=rival, over=ADAMO),
            test="at most",
            optimizers=("adam",),
            moot_without_loss=True,
        )
        for name, rival in RIVALS.items()
    ),
    Claim(
        name="plasticity_follows_the_kernel",
        says="Who keeps the effective rank of the empirical neural tangent kernel keeps learning.",
        source=ABSTRACT,
        workloads=IMAGES,
        effect=Goes(metrics=("ntk_effective_rank",)),
        limit=CLOSELY,
    ),
    Claim(
        name="plasticity_follows_the_kernels_condition",
        says="Who keeps the empirical neural tangent kernel well conditioned keeps learning.",
        source=ABSTRACT,
        workloads=IMAGES,
        effect=Goes(metrics=("ntk_condition",), lower=True),
        limit=CLOSELY,
    ),
    Claim(
        name="plasticity_follows_isometry",
        says="Whose weights stay near an isometry keeps learning.",
        source="abstract; eq. 16",
        workloads=IMAGES,
        effect=Goes(metrics=("isometry_deviation",), lower=True),
        limit=CLOSELY,
    ),
    Claim(
        name="isometries_are_expressive",
        says="A network of isometries that keeps its gradients fits no worse than a free one of as many parameters.",
        source="abstract: isometric almost everywhere, and approximates every Lipschitz function",
        workloads=(FUNCTIONS,),
        effect=Gain(learner=FREE_RELU, over=ISOMETRIC_GROUPSORT),
        test="at most",
    ),
    Claim(
        name="relu_is_no_isometry",
        says="Layers that are isometries need an activation that is one: with MaxMin they fit better than with ReLUs.",
        source="abstract",
        workloads=(FUNCTIONS,),
        effect=Gain(learner=ISOMETRIC_GROUPSORT, over=ISOMETRIC_RELU),
    ),
    Claim(
        name="isometries_hold_their_bound",
        says="Held at isometries, a network's Lipschitz bound stays at 1.",
        source="derived: the product of layers' largest singular values",
        workloads=(FUNCTIONS,),
        effect=Level(learner=ISOMETRIC_GROUPSORT, metrics=("lipschitz_bound",)),
        test="at most",
        limit=1.001,
    ),
    Claim(
        name="adamo_is_nearer_an_isometry",
        says="AdamO's weights end nearer to an isometry than Adam's.",
        source="abstract; eq. 16",
        workloads=(*IMAGES, REGRESSION),
        effect=Gain(learner=ADAMO, over=ADAM, metrics=("isometry_deviation",), lower=True, relative=True),
    ),
    Claim(
        name="adamo_revives_units",
        says="The pull revives dormant units: fewer are left than with Adam.",
        source=ABSTRACT,
        workloads=IMAGES,
        effect=Gain(learner=ADAMO, over=ADAM, metrics=("dormant_fraction",), lower=True),
    ),
    *(
        Claim(
            name=f"adamo_revives_{way}",
            says=f"The pull revives units that were silenced {how}: more of them speak again than with Adam.",
            source=ABSTRACT,
            workloads=(REGRESSION,),
            effect=Gain(learner=silenced(ADAMO, way), over=silenced(ADAM, way), metrics=REVIVED),
        )
        for way, how in WAYS.items()
    ),
    *(
        Claim(
            name=f"{name}_leaves_{way}",
            says=f"Units that were silenced by {how} stay silent under {learner.label}.",
            source=source,
            workloads=(REGRESSION,),
            effect=Level(learner=silenced(learner, way), metrics=REVIVED),
            test="at most",
            limit=FEW_UNITS,
        )
        for way, (how, source) in BEYOND.items()
        for name, learner in (("adamo", ADAMO), ("coupled_isometry", COUPLED))
    ),
    Claim(
        name="weight_decay_revives_none",
        says="AdamW revives next to none of the units that were silenced by rows made negative: it pulls their weights"
        " to 0.",
        source="derived: decay turns no row",
        workloads=(REGRESSION,),
        effect=Level(learner=silenced(ADAMW, "flipped"), metrics=REVIVED),
        test="at most",
        limit=FEW_UNITS,
    ),
    Claim(
        name="quoted_strength_is_slow",
        says="At step size 1e-3 and strength 1e-3 the pull takes longer than this to revive units.",
        source="derived: a step of it moves a singular value s by 4e-6 s (s² - 1)",
        workloads=(REGRESSION,),
        effect=Level(
            learner=silenced(ADAMO, "flipped", optimizer__step_size=1e-3, optimizer__isometry_strength=1e-3),
            metrics=REVIVED,
        ),
        test="at most",
        limit=FEW_UNITS,
    ),
    Claim(
        name="coupled_isometry_revives_more",
        says="In Adam's gradient, which makes a full step of the weakest pull, the penalty revives more units than"
        " decoupled.",
        source="derived: with no task gradient Adam divides the penalty's by its own size",
        workloads=(REGRESSION,),
        effect=Gain(learner=silenced(COUPLED, "flipped"), over=silenced(ADAMO, "flipped"), metrics=REVIVED),
    ),
)
