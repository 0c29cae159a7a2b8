"""What optimizers and methods may be told, without importing torch: sweep files are checked before compute is spent.

`varies` names the scalars that may differ between the members of one pack; every other field is structure and splits
packs. `needs` says what a method must be given: "task_boundaries" (a stream that shows when its task changes), "units"
(a network that shows the units of its hidden layers), "layer_scales" (one whose hidden layers have learned scales).
`semantics` is raised whenever results change; it is part of every trial's hash. `paths`, `cost` and `copies` are what
planning goes by: which paths take it (see `workloads.paths`), how long a step takes, how much memory it asks for.
`products` is apart from `cost`, since products of matrices take the longer, beside a step of SGD, the wider they are.
All of them stand in this one file, long as it is: what a sweep file may say is read without the methods' own files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, get_args

from annotated_types import Ge, Gt, Le, Lt

from workloads.paths import RAREST, OnceOrRarely, Paths, Takes
from workloads.settings import Settings, later

Strength = Annotated[float, Ge(0)]
SCALE_PENALTY = 0.01  # of learned layer scales, unless told otherwise: of public code beside AdamO
Decay = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodSpec:
    """A method's place in a registry."""

    config: type[Settings]
    varies: tuple[str, ...]
    semantics: int = 1
    replaces: bool = False  # units: how many in each task is then recorded, the metric units_replaced
    ages: bool = False  # keeps the units' ages, which unit_age reads
    paths: Paths
    cost: float  # an optimizer's step, or what a method adds to one, in steps of plain SGD; `products` apart
    # Of every weight matrix with a square one of its smaller side, in the mean of steps; perhaps by the config
    products: float | Callable[[Any], float] = 0.0
    label: str = ""  # for people; its name in words where empty
    copies: float | Callable[[Any], float]  # of the weights, held as state and to work on; perhaps by the config

    def held(self, config: Settings) -> float:
        """`copies` under this config."""
        return self.copies(config) if callable(self.copies) else self.copies

    def multiplied(self, config: Settings) -> float:
        """`products` under this config."""
        return self.products(config) if callable(self.products) else self.products

    def steps(self, config: Settings, *, width: float, batch: int) -> float:
        """`cost` with `products` of layers of this width: a step of SGD is a multiply-add forward and two back."""
        return self.cost + self.multiplied(config) * width / (3 * batch)

    @property
    def step_sizes(self) -> tuple[str, ...]:
        """What a stream's schedule scales: `step_size`, unless the settings class names its own `step_sizes`."""
        named = getattr(self.config, "step_sizes", ("step_size",))
        return tuple(name for name in named if name in self.varies)

    @property
    def follows(self) -> Mapping[str, str]:
        """Scalar -> the one whose value it takes where it is null; as the settings class says in `follows`."""
        leaders: Mapping[str, str] = getattr(self.config, "follows", {})
        return leaders

    def needs(self, config: Settings) -> frozenset[str]:
        """What the method must be given under this config; it may depend on the config."""
        return frozenset(getattr(config, "needs", ()))


@dataclass(frozen=True, kw_only=True, slots=True)
class SGDConfig:
    """Stochastic gradient descent with PyTorch's momentum and coupled weight decay."""

    step_size: Annotated[float, Ge(0)] = 0.01  # per step
    momentum: Decay = 0.0  # how much of the last change goes on
    weight_decay: Strength = 0.0  # added to the gradient, every parameter


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamConfig:
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient, as in torch.optim.Adam."""

    step_size: Annotated[float, Ge(0)] = 1e-3  # per step
    beta1: Decay = 0.9  # decay of the mean of gradients
    beta2: Decay = 0.999  # decay of the mean of their squares
    eps: Annotated[float, Gt(0)] = 1e-8  # added to the root of that mean
    weight_decay: Strength = 0.0  # added to the gradient, every parameter


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamWConfig(AdamConfig):
    """AdamW (Loshchilov and Hutter 2019): weights shrink by step_size x weight_decay, apart from the moments."""

    weight_decay: Strength = 1e-2  # parameters shrink by step_size x this, apart from the moments


def needs_of_scales(penalty: float) -> tuple[str, ...]:
    """What a penalty of layer scales needs: at its default, which acts where there are scales, nothing."""
    return () if penalty == SCALE_PENALTY else ("layer_scales",)


def no_scales(name: str) -> str:
    """Why a penalty of layer scales is refused where there are none."""
    return f"{name}'s scale_penalty is of learned layer scales, and this network has none"


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamOConfig:
    """AdamO (Rosseau, Müller, Nowé 2026): Adam with a decoupled pull of every weight matrix towards an isometry."""

    step_sizes: ClassVar[tuple[str, ...]] = ("step_size", "isometry_step_size")
    follows: ClassVar[dict[str, str]] = {"isometry_step_size": "step_size"}

    step_size: Annotated[float, Ge(0)] = 1e-3  # per step
    beta1: Decay = 0.9  # decay of the mean of gradients
    beta2: Decay = 0.999  # decay of the mean of their squares
    eps: Annotated[float, Gt(0)] = 1e-8  # added to the root of that mean
    isometry_strength: Strength = 1e-3  # lambda; 0 is Adam
    isometry_step_size: Annotated[float, Ge(0)] | None = None  # per step; null follows step_size
    penalty: Literal["full", "half"] = "full"  # ||G - I||^2 (paper, eq. 16) or half of it (authors' code)
    order: Literal["simultaneous", "sequential"] = "simultaneous"  # eq. 20, or after the Adam step (code)
    scale_by_gram: bool = False  # divide each matrix's penalty by its Gram dimension
    # Pull the output layer too. Both public codes leave it out, the first author's for language (there the unembedding)
    # and one for reinforcement learning; the paper's rule is not known
    head: bool = True
    every: Annotated[int, Ge(1)] = 1  # apply at every k-th step, with k times the strength
    first: bool = later(True)  # pull the layer that sees the inputs too
    kernels: bool = later(True)  # pull convolutions too, each as a matrix out x (in h w)
    # W'W -> I (paper), or g^2 I for the gain g of the layer's activation, which keeps a signal's scale
    target: Literal["one", "gain_squared"] = later("one")
    # in the place of the pull: so many steps of Newton and Schulz to the nearest isometry; 0: the pull
    projection: Annotated[int, Ge(0), Le(20)] = later(0)
    # times sum log(alpha)^2 in the loss, of learned layer scales: where the network has layer_scale
    scale_penalty: Strength = later(SCALE_PENALTY)

    @property
    def needs(self) -> tuple[str, ...]:
        """A penalty that is asked for needs scales to act on."""
        return needs_of_scales(self.scale_penalty)


@dataclass(frozen=True, kw_only=True, slots=True)
class MuonConfig:
    """Muon (Jordan et al. 2024) for the hidden layers' matrices, Adam for the head, biases and norms."""

    step_sizes: ClassVar[tuple[str, ...]] = ("step_size", "rest_step_size")

    step_size: Annotated[float, Ge(0)] = 0.02  # of the matrices, per step
    momentum: Decay = 0.95  # decay of the running gradient
    nesterov: bool = True  # a step looks ahead along the running gradient
    iterations: Annotated[int, Ge(1), Le(20)] = 5  # of Newton and Schulz
    rest_step_size: Annotated[float, Ge(0)] = 3e-4  # of all else, by Adam, per step
    beta1: Decay = 0.9  # Adam's, of what is no hidden matrix
    beta2: Decay = 0.95  # Adam's, of what is no hidden matrix
    eps: Annotated[float, Gt(0)] = 1e-10  # Adam's, of what is no hidden matrix
    weight_decay: Strength = 0.0  # weights shrink by their step size x this, apart from momentum and moments
    isometry_strength: Strength = later(0.0)  # lambda: the pull of AdamO on the hidden layers' matrices, at step_size


@dataclass(frozen=True, kw_only=True, slots=True)
class UPGDConfig:
    """UPGD (Elsayed and Mahmood 2024): descent and noise, each the less the more useful a weight is.

    The defaults are those published for input-permuted MNIST, where with its weight decay it is called UPGD-W.
    """

    step_size: Annotated[float, Ge(0)] = 0.01  # per step
    utility_decay: Decay = 0.9999  # beta, of the trace of utilities
    perturb_scale: Strength = 0.1  # standard deviation of the noise that joins the gradient, before the step size
    weight_decay: Strength = 0.01  # weights shrink by step_size x this
    # The largest utility, which all are divided by: of bias-corrected traces (paper) or of traces (released code)
    maximum: Literal["corrected", "uncorrected"] = "corrected"


@dataclass(frozen=True, kw_only=True, slots=True)
class L2Config:
    """L2 regularisation: strength x parameter is added to the gradient of every parameter, biases included."""

    strength: Strength = 1e-4  # times every parameter, added to its gradient


@dataclass(frozen=True, kw_only=True, slots=True)
class L2InitConfig:
    """L2 towards the weights of the trial's beginning (Kumar et al. 2023), but for a norm's scale and shift."""

    strength: Strength = 1e-2  # lambda: the best on permuted MNIST in the paper, of 1e-2 to 1e-5
    form: Literal["coupled", "decoupled"] = "coupled"  # in the gradient (published), or after the optimizer's step
    penalty: Literal["half", "full"] = "half"  # lambda / 2 ||w - w0||^2 (released code) or lambda ||w - w0||^2 (paper)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShrinkAndPerturbConfig:
    """Shrink and perturb: L2 in the gradient and normal noise on every parameter (Dohare et al. 2024)."""

    strength: Strength = 1e-4  # the shrinking: L2 added to the gradient
    perturb_scale: Strength = 1e-5  # standard deviation of the noise, not its variance
    when: Literal["step", "task"] = "step"  # perturb after every step (paper) or when a task begins
    # lazy: where a path can let a weight sleep, its noise is drawn once for all the steps it slept: equal in
    # distribution, not in bits; what a measurement reads of it is what training goes on from. All other paths, and
    # dense, draw every weight in every step.
    noise: Literal["lazy", "dense"] = "lazy"

    @property
    def needs(self) -> tuple[str, ...]:
        """Perturbing at task changes needs a stream that shows them."""
        return ("task_boundaries",) if self.when == "task" else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CoupledIsometryConfig:
    """The isometry penalty inside the loss: its gradient passes through the optimizer's moments."""

    strength: Strength = 1e-3  # times the penalty's gradient, added to the loss's
    penalty: Literal["full", "half"] = "full"  # ||G - I||^2, or half of it
    scale_by_gram: bool = False  # divide each matrix's penalty by its Gram dimension
    head: bool = True  # the output layer too, which both public codes leave out; the paper's rule is not known
    first: bool = later(True)  # as AdamO's
    kernels: bool = later(True)  # convolutions too, each as a matrix out x (in h w)
    # What Gram matrices are pulled to, times I: 1, or the activation's gain squared
    target: Literal["one", "gain_squared"] = later("one")
    scale_penalty: Strength = later(SCALE_PENALTY)  # of learned layer scales, where there are any

    @property
    def needs(self) -> tuple[str, ...]:
        """As AdamO's."""
        return needs_of_scales(self.scale_penalty)


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsevalConfig:
    """Parseval regularisation (Chung et al. 2024): hidden W W' -> s I, in the gradient; coupled_isometry's, published.

    With `scale_by_width: false` and relu the same as coupled_isometry with `head: false` and `target: gain_squared`.
    """

    strength: Strength = 1e-3  # the released code's for MetaWorld and gridworld; 1e-4 for two other worlds
    target: Annotated[float, Gt(0)] = 2.0  # s: the square of the code's initial gain, whatever the activation
    scale_by_width: bool = True  # strength x (64 / units)^2, as in the released code, since it was found at width 64


@dataclass(frozen=True, kw_only=True, slots=True)
class SpectralRegularisationConfig:
    """Largest singular values near 1, biases near 0, norms' gains near 1, in the gradient (Lewandowski et al. 2025)."""

    strength: Strength = 1e-3  # times all penalties
    head: bool = True  # the output layer too; the variant WSN leaves it out
    biases: bool = True  # biases and norms too; WSN has neither
    target: Literal["one", "gain_squared"] = "one"  # of the largest squared: 1, or that of the activation (relu: 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientClippingConfig:
    """The gradient of a network at most so long, as torch.nn.utils.clip_grad_norm_ does it."""

    norm: Annotated[float, Gt(0)] = 0.5  # Euclidean, over all of a network's parameters


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightClippingConfig:
    """After each step no weight exceeds a multiple of 1 / sqrt(fan_in), torch's initial bound (Elsayed et al. 2024)."""

    bound: Annotated[float, Gt(0)] = 1.0  # kappa, that multiple; the paper searched 1 to 5
    head: bool = True  # clip the output layer too, as published


@dataclass(frozen=True, kw_only=True, slots=True)
class NormaliseAndProjectConfig:
    """Hidden weight matrices keep the Frobenius norm they began with (Lyle et al. 2024); pair it with plain layer norm.

    That is `network: {normalisation: layer_plain, biases: false}`.
    """

    every: Annotated[int, Ge(1)] = 1  # project after every k-th step


@dataclass(frozen=True, kw_only=True, slots=True)
class FIREConfig:
    """As a task begins every weight matrix becomes the nearest isometry, times sqrt(out / in) (Han et al. 2026)."""

    iterations: Annotated[int, Ge(1), Le(100)] = 10  # of Newton and Schulz
    # Forget the optimizer's state too: the released script begins every task with a new optimizer, in all its arms
    optimizer: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """It acts when a task begins."""
        return ("task_boundaries",)


Preset = Literal["official", "paper", "official_conv", "official_resnet"]


@dataclass(frozen=True, kw_only=True, slots=True)
class InputNormaliserConfig:
    """Every input minus its moving mean, over its moving standard deviation, before the network sees it."""

    decay: Decay = 0.99  # of the moving statistics, per step


Utility = Literal[
    "weight",
    "contribution",
    "adaptation",
    "zero_contribution",
    "adaptable_contribution",
    "feature_by_input",
    "random",
    "taylor_loss",  # |h dL/dh|: to first order, by how much the loss changes without the unit
    "taylor_output",  # |h| x the root mean square of df/dh over outputs: by how much the outputs do
]
# Utilities that go by the effect on the whole network -> what of a step they read
GLOBAL: dict[str, Literal["loss_effects", "output_effects"]] = {
    "taylor_loss": "loss_effects",
    "taylor_output": "output_effects",
}


def as_preset(config: Settings, defaults: Mapping[str, Any]) -> None:
    """Give the fields of a frozen config that are null what its preset says of them."""
    for name, value in defaults.items():
        if getattr(config, name) is None:
            object.__setattr__(config, name, value)


@dataclass(frozen=True, kw_only=True, slots=True)
class ContinualBackpropConfig:
    """Continual backprop (Dohare, Sutton, Mahmood 2021; Dohare et al. 2024, Algorithm 1).

    `preset` sets what the paper and its released codes decide differently, unless a field says otherwise:
    `official` (code for linear layers as used for regression and reinforcement learning: no bias transfer, one unit
    with probability rate x eligible; its MNIST script asks for `replacement: accumulate`), `paper` (the contribution
    of a replaced unit moves to the next bias, fractions of units accumulate), `official_conv` (code for convolutional
    networks: fractions of rate x all units accumulate, fresh kernels have torch's default bound), `official_resnet`
    (code for ResNets: as official_conv, and the utility is outgoing weight x a sum of magnitudes that never decays and
    is never reset; fresh kernels are drawn as at initialisation).
    """

    preset: Preset = "official"  # what is null below: as in the released codes, or as in the paper
    replacement_rate: Annotated[float, Ge(0), Le(1)] = 1e-4  # share of the eligible (or of all) units, per step
    maturity_threshold: Annotated[int, Ge(0)] = 100  # steps; only older units may be replaced
    utility_decay: Decay = 0.99  # 0 is the instantaneous utility
    utility: Utility = "adaptable_contribution"  # what units are ranked by
    replacement: Literal["accumulate", "stochastic"] | None = None  # null: as the preset
    bias_transfer: bool | None = None  # null: as the preset
    share_of: Literal["eligible", "all"] | None = None  # the units that the rate is a share of; null: as the preset
    # decaying: the utility is a running mean, as published for all networks. summed: that of the released ResNet
    # code, outgoing weight x the sum of the magnitudes of all steps, whoever was the unit then. null: as the preset
    magnitudes: Literal["decaying", "summed"] | None = None
    # Zero the optimizer's state of a replaced unit, element by element: always, never, or (adam) Adam's and its kin's
    # alone, so that SGD's momentum stays, as in the released codes. null: as the preset; paper, which is silent: always
    reset_optimizer: Literal[True, False, "adam"] | None = None
    # Of convolutions: drawn as the layer was (initial), or uniform in torch's default bound, 1 / sqrt(fan_in), whatever
    # the initialisation (default), as in the released convolutional code. null: as the preset
    fresh_kernels: Literal["initial", "default"] | None = None
    # A fresh unit's incoming weights: a draw as the layer's were (published); without its projection on the layer's
    # other rows; or at the layer's scale on the data, with the bias that centres it (scaled), with which SGD diverges
    # where inputs stand still for long: in 19 of 20 runs on the slowly-changing regression at step size 0.01. See
    # generators.py
    feature_generator: Literal["initial", "orthogonal", "scaled"] = later("initial")

    @property
    def needs(self) -> tuple[str, ...]:
        """A network with hidden layers must show their units; a linear model has none to replace."""
        return ("units",)

    def __post_init__(self) -> None:
        convolutional = self.preset.startswith("official_")
        defaults = {
            "replacement": "stochastic" if self.preset == "official" else "accumulate",
            "bias_transfer": self.preset == "paper",
            "share_of": "all" if convolutional else "eligible",
            "magnitudes": "summed" if self.preset == "official_resnet" else "decaying",
            "reset_optimizer": {"paper": True, "official_resnet": False}.get(self.preset, "adam"),
            "fresh_kernels": "default" if self.preset == "official_conv" else "initial",
        }
        as_preset(self, defaults)
        if self.magnitudes == "summed" and self.utility not in ("contribution", "weight"):
            raise ValueError("magnitudes: summed, as released, knows the utilities contribution and weight alone")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReDoConfig:
    """ReDo (Sokar et al. 2023): every so many steps, all units that have gone dormant are recycled.

    `preset` sets what sources decide differently, unless a field says otherwise: `published` (paper and released code:
    every 1000 steps, biases 0, an optimizer's averages 0 and its step counts kept; the score is taken over the whole
    period, which at batch 1 is the only sound one), `reinforcement` (the comparison of Dohare et al. 2024 in
    reinforcement learning: every 100 steps, scored by the batch, the optimizer left alone).
    """

    # What is null below: as published, or as in a later code for agents
    preset: Literal["published", "reinforcement"] = "published"
    threshold: Strength = 0.1  # tau: dormant is a unit of at most this share of its layer's mean |h|; in Atari 0.025
    period: Annotated[int, Ge(1)] | None = None  # steps from one look at the units to the next; null: as the preset
    score: Literal["period", "batch"] | None = None  # mean |h| over the steps since the last look, or over one batch
    bias: Literal["zero", "initial"] | None = None  # of a recycled unit: 0, or drawn as at initialisation
    # What begins anew with a unit: an optimizer's averages (moments), its step counts too (all), or nothing
    reset_optimizer: Literal["moments", "all", "none"] | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """A network with hidden layers must show their units; a linear model has none to recycle."""
        return ("units",)

    def __post_init__(self) -> None:
        published = self.preset == "published"
        defaults = {
            "period": 1000 if published else 100,
            "score": "period" if published else "batch",
            "bias": "zero",
            "reset_optimizer": "moments" if published else "none",
        }
        as_preset(self, defaults)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResetConfig:
    """At the beginning of every task but the first, the head, the whole network or the optimizer alone starts anew."""

    what: Literal["head", "all", "optimizer"] = "head"  # the last: no weight, but all of the optimizer's state
    to: Literal["initial", "zero"] = "initial"  # weights drawn as at initialisation, or (the head only) all 0
    optimizer: bool = False  # forget the optimizer's state of what is reset; the released codes keep it

    @property
    def needs(self) -> tuple[str, ...]:
        """It acts when a task begins."""
        return ("task_boundaries",)

    def __post_init__(self) -> None:
        if self.what == "all" and self.to == "zero":
            raise ValueError("a network of zeros cannot learn; to: zero is for what: head")
        if self.what == "optimizer" and self.to == "zero":
            raise ValueError("what: optimizer resets no weights; to: zero is for what: head")


def sorted_units(method: str, group: int) -> str:
    """Why a method that renews units is refused where groups of neighbours are sorted."""
    return f"{method} renews units one by one, and where groups of {group} are sorted no activation is one unit's own"


ADAM_WRITTEN: Takes = {"step_size": True, "beta1": True, "beta2": True, "eps": True, "weight_decay": True}
ADAMO_WRITTEN: Takes = {
    "step_size": True,
    "beta1": True,
    "beta2": True,
    "eps": True,
    "isometry_strength": True,
    "isometry_step_size": True,
    "penalty": ("full", "half"),
    "order": ("simultaneous", "sequential"),
    "scale_by_gram": (True, False),
    "head": (True, False),
    "every": True,
    "first": (True, False),
    "kernels": True,  # there are none
    "target": ("one", "gain_squared"),
    "projection": True,
    "scale_penalty": True,  # there are no scales
}
ADAMO_ONLINE: Takes = {
    **{own.name: True for own in fields(AdamOConfig)},
    "order": ("simultaneous",),  # what a loop knows is the pull at the weights that a step begins with, in every step
    "every": (1,),
    "projection": (0,),
}
UPGD_WRITTEN: Takes = {
    "step_size": True,
    "utility_decay": True,
    "perturb_scale": True,
    "weight_decay": True,
    "maximum": ("corrected", "uncorrected"),
}
CONTINUAL_BACKPROP_WRITTEN: Takes = {  # not what the released convolutional codes do otherwise
    "preset": ("official", "paper", "official_conv", "official_resnet"),
    "replacement_rate": True,
    "maturity_threshold": True,
    "utility_decay": True,
    "utility": (
        *("weight", "contribution", "adaptation", "zero_contribution", "adaptable_contribution", "feature_by_input"),
        "random",
    ),
    "replacement": ("accumulate", "stochastic"),
    "bias_transfer": True,
    "share_of": ("eligible",),
    "magnitudes": ("decaying",),
    "reset_optimizer": (True, False, "adam"),
    "fresh_kernels": True,  # there are none
    "feature_generator": ("initial",),
}
CONTINUAL_BACKPROP_ONLINE: Takes = {
    **{own.name: True for own in fields(ContinualBackpropConfig)},
    # A second backward pass in every step is what no loop over sparse rows has.
    "utility": tuple(name for name in get_args(Utility) if name != "taylor_output"),
}

REDO_ONLINE: Takes = {
    "preset": ("published", "reinforcement"),
    "threshold": True,
    "period": range(RAREST, 1 << 40),
    "score": ("period", "batch"),
    "bias": ("zero", "initial"),
    "reset_optimizer": ("moments", "all", "none"),
}

OPTIMIZERS: dict[str, MethodSpec] = {
    "sgd": MethodSpec(
        label="SGD",
        config=SGDConfig,
        varies=("step_size", "weight_decay"),
        semantics=2,
        paths=Paths(lanes=True, online=True, written={"step_size": True, "momentum": (0.0,), "weight_decay": True}),
        cost=1.0,
        copies=lambda config: 1 if config.momentum else 0,
    ),
    "adam": MethodSpec(
        label="Adam",
        config=AdamConfig,
        varies=("step_size", "weight_decay"),
        paths=Paths(lanes=True, online=True, written=ADAM_WRITTEN),
        cost=4.0,
        copies=3,  # two moments, and steps of single weights where units are replaced
    ),
    "adamw": MethodSpec(
        label="AdamW",
        config=AdamWConfig,
        varies=("step_size", "weight_decay"),
        semantics=2,
        paths=Paths(lanes=True, online=True, written=ADAM_WRITTEN),
        cost=4.0,
        copies=3,
    ),
    "adamo": MethodSpec(
        label="AdamO",
        config=AdamOConfig,
        varies=("step_size", "isometry_strength", "isometry_step_size"),
        paths=Paths(lanes=True, online=ADAMO_ONLINE, written=ADAMO_WRITTEN),
        cost=4.2,
        products=lambda config: 2 * (config.projection or 1) / config.every,
        copies=4,  # as adam, and the isometry's gradient
    ),
    "muon": MethodSpec(
        label="Muon",
        config=MuonConfig,
        varies=("step_size", "rest_step_size", "weight_decay"),
        paths=Paths(lanes=True, online=False),
        cost=6.0,
        products=lambda config: 3 * config.iterations + (2 if config.isometry_strength else 0),
        copies=4,
    ),
    "upgd": MethodSpec(
        label="UPGD",
        config=UPGDConfig,
        varies=("step_size", "perturb_scale", "weight_decay"),
        paths=Paths(lanes=True, online=False, written=UPGD_WRITTEN),
        cost=25.0,  # a normal number for every weight: 14 of SGD's steps, 57 of those that skip silent rows
        copies=3,  # utilities, steps of single weights where units are replaced, and the noise
    ),
}

METHODS: dict[str, MethodSpec] = {
    # First of all: what others add to a gradient is not shortened with it, as in torch, whose optimizers decay weights.
    "gradient_clipping": MethodSpec(
        config=GradientClippingConfig, varies=("norm",), paths=Paths(lanes=True, online=True), cost=0.3, copies=0
    ),
    "l2": MethodSpec(
        label="L2",
        config=L2Config,
        varies=("strength",),
        paths=Paths(lanes=True, online=True, written={"strength": True}),
        cost=0.2,
        copies=0,
    ),
    "l2_init": MethodSpec(
        label="L2 towards the initial weights",
        config=L2InitConfig,
        varies=("strength",),
        paths=Paths(lanes=True, online=True),
        cost=0.3,
        copies=1,
    ),
    "shrink_and_perturb": MethodSpec(
        config=ShrinkAndPerturbConfig,
        varies=("strength", "perturb_scale"),
        semantics=2,
        paths=Paths(
            lanes=True,
            # A draw for every weight of every step is what no traced loop takes.
            online={"strength": True, "perturb_scale": True, "when": ("task",), "noise": ("lazy", "dense")},
            written={"strength": True, "perturb_scale": True, "when": ("step", "task"), "noise": ("lazy", "dense")},
        ),
        cost=6.0,
        copies=0,
    ),
    "input_normaliser": MethodSpec(
        config=InputNormaliserConfig, varies=("decay",), paths=Paths(lanes=True, online=True), cost=0.3, copies=0
    ),
    "coupled_isometry": MethodSpec(
        config=CoupledIsometryConfig,
        varies=("strength",),
        paths=Paths(lanes=True, online=True),
        cost=0.2,
        products=2,
        copies=1,
    ),
    "parseval": MethodSpec(
        label="Parseval",
        config=ParsevalConfig,
        varies=("strength",),
        paths=Paths(lanes=True, online=True),
        cost=0.2,
        products=2,
        copies=1,
    ),
    "spectral_regularisation": MethodSpec(
        config=SpectralRegularisationConfig,
        varies=("strength",),
        paths=Paths(lanes=True, online=True),
        cost=1.3,  # two products with vectors and one of vectors: four passes over weights of which SGD has three
        copies=1,
    ),
    "weight_clipping": MethodSpec(
        config=WeightClippingConfig, varies=("bound",), paths=Paths(lanes=True, online=True), cost=0.3, copies=0
    ),
    "normalise_and_project": MethodSpec(
        config=NormaliseAndProjectConfig,
        varies=(),
        paths=Paths(lanes=True, online={"every": OnceOrRarely()}),
        cost=0.5,
        copies=0,
    ),
    "fire": MethodSpec(
        label="FIRE",
        config=FIREConfig,
        varies=(),
        paths=Paths(lanes=True, online=True, written={"iterations": True, "optimizer": True}),
        cost=0.0,
        copies=2,  # as a task begins
    ),
    "reset": MethodSpec(
        config=ResetConfig,
        varies=(),
        paths=Paths(
            lanes=True,
            online=True,
            written={"what": ("head", "all", "optimizer"), "to": ("initial", "zero"), "optimizer": True},
        ),
        cost=0.0,
        copies=0,
    ),
    "continual_backprop": MethodSpec(
        config=ContinualBackpropConfig,
        varies=("replacement_rate", "maturity_threshold"),
        semantics=2,
        replaces=True,
        ages=True,
        paths=Paths(lanes=True, online=CONTINUAL_BACKPROP_ONLINE, written=CONTINUAL_BACKPROP_WRITTEN),
        cost=1.0,
        copies=0,
    ),
    "redo": MethodSpec(
        label="ReDo",
        config=ReDoConfig,
        varies=("threshold",),
        replaces=True,
        paths=Paths(lanes=True, online=REDO_ONLINE),
        cost=0.3,
        copies=1,
    ),
}
