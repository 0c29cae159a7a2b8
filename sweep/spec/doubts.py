"""What a sweep is allowed to say and hardly means: methods that cannot act within their stream, decay that rounds away.

Each doubt is a sentence that `sweep plan` and `sweep run` show before compute is spent. Pure, and without torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweep.packing import PlannedPack, Shape, looking, sizes_of
from sweep.results.naming import number
from workloads.diagnostics import DIAGNOSTICS
from workloads.diagnostics.costs import costliest
from workloads.methods.config import METHODS
from workloads.networks.config import MLPConfig
from workloads.registry import fields_of

OF_DEVIATION = ("zero_contribution", "adaptable_contribution", "feature_by_input")  # utilities that hold |h - f|
LONG = 1e10  # weights times steps of a trial, some ten seconds: what takes less is not worth a word
HALF_A_PLACE = 2.0**-24  # of a float32: a smaller share, taken from it, leaves it as it was


Doubt = tuple[str, float]  # a sentence, with {} for the number that is doubted and may differ between settings


def doubts(packs: Sequence[PlannedPack]) -> list[str]:
    """One sentence per doubt, with the arms it is about."""
    by_sentence: dict[str, tuple[dict[str, None], set[float]]] = {}
    for pack in packs:
        for trial in {trial.group: trial for trial in pack.trials}.values():
            for sentence, value in of_trial(trial.config, pack.shape, pack.path):
                arms, values = by_sentence.setdefault(sentence, ({}, set()))
                arms.update(dict.fromkeys(trial.arms))
                values.add(value)
    return [
        f"arm {', '.join(arms)}: {sentence.format(', '.join(map(number, sorted(values))))}"
        for sentence, (arms, values) in by_sentence.items()
    ]


def of_trial(config: Mapping[str, Any], shape: Shape, path: str) -> Iterator[Doubt]:
    """The doubts about one setting."""
    methods = config["methods"]
    if "continual_backprop" in methods:
        yield from of_replacement(methods["continual_backprop"], config["network"], shape)
    if "redo" in methods:
        yield from of_recycling(methods["redo"], config["network"], shape)
    yield from of_hidden_matrices(methods, config["network"])
    if config["network"].get("layer_scale") and config["network"].get("normalisation", "none").startswith("layer"):
        yield "layer_scale acts before layer norm, which takes it back: only its size beside the biases is left", 0
    if shape.tasks == 1:
        for name, settings in methods.items():
            if "task_boundaries" in METHODS[name].needs(METHODS[name].config(**settings)):
                yield f"{name} acts as a new task begins, and this stream has only one task", 0
    ratio = looking(config, shape) / shape.updates
    if ratio > 1 and ratio * shape.updates * shape.parameters > LONG:
        sentence = "looking at the networks takes about {} times as long as training them with plain SGD: a larger"
        looks = [name for name in config["metrics"] if name in DIAGNOSTICS]
        dearest = costliest(looks, sizes_of(config, shape))
        yield (
            f"{sentence} diagnostics.every looks less often, and the dearest is {dearest}",
            float(f"{ratio:.1g}"),
        )
    if path != "online" and config["dtype"] != "float64":
        yield from of_decay(config, path)


def of_replacement(settings: Mapping[str, Any], network: Mapping[str, Any], shape: Shape) -> Iterator[Doubt]:
    """Continual backprop that replaces nothing, or always the same unit."""
    rate, threshold = settings["replacement_rate"], settings["maturity_threshold"]
    name, fields = fields_of(network)
    units = sum(MLPConfig(**fields).hidden) if name == "mlp" else None
    if units == 0:
        yield "continual_backprop has no unit to replace in a network without hidden layers", 0
    elif rate > 0 and threshold >= shape.updates:
        sentence = "continual_backprop replaces nothing: no unit is older than maturity_threshold {}"
        yield f"{sentence} in {shape.updates:,} steps", threshold
    elif rate > 0 and units is not None and rate * units * (shape.updates - threshold) < 1:
        sentence = "continual_backprop at replacement_rate {} comes to less than one"
        yield f"{sentence} of {units:,} units in {shape.updates:,} steps", rate
    if rate == 0 or shape.batch > 1 or units == 0 or settings["utility"] not in OF_DEVIATION:
        return
    if settings["utility_decay"] == 0:
        yield (
            f"continual_backprop's utility {settings['utility']} is 0 for every unit at batch 1 with utility_decay 0,"
            " so the first unit is always replaced: take utility contribution, or a decay above 0",
            0,
        )
    elif threshold == 0:
        yield (
            f"at batch 1 a unit's utility {settings['utility']} is 0 but for rounding in its first step, so with"
            " maturity_threshold {} rounding decides which unit is replaced, on every path otherwise",
            threshold,
        )


def of_recycling(settings: Mapping[str, Any], network: Mapping[str, Any], shape: Shape) -> Iterator[Doubt]:
    """ReDo that never looks at the units, or by a single example."""
    if network["name"] == "mlp" and network["depth"] == 0:
        yield "redo has no unit to recycle in a network without hidden layers", 0
    elif settings["period"] >= shape.updates:
        yield f"redo recycles nothing: its period {{}} is not over within {shape.updates:,} steps", settings["period"]
    elif settings["score"] == "batch" and shape.batch == 1:
        yield (
            "redo with score batch at batch {} recycles what one example leaves silent, about every second relu: score"
            " period takes the mean over all steps since the last look",
            1,
        )


def of_hidden_matrices(methods: Mapping[str, Any], network: Mapping[str, Any]) -> Iterator[Doubt]:
    """What acts on hidden weight matrices where there is none, or where their size has a say in what is computed."""
    linear = network["name"] == "mlp" and network["depth"] == 0
    for name in ("parseval", "normalise_and_project"):
        if name in methods and linear:
            yield f"{name} has no weight matrix to act on in a network without hidden layers", 0
    bare = network["name"] in ("mlp", "convnet") and network.get("normalisation", "none") == "none"
    if "normalise_and_project" in methods and bare and not linear:
        yield (
            "normalise_and_project without norms rescales what the network computes: the paper projects networks that"
            " are normalised before every nonlinearity, here mlp with normalisation layer_plain and biases false",
            0,
        )


def of_decay(config: Mapping[str, Any], path: str) -> Iterator[Doubt]:
    """Decay that a weight without a gradient does not feel in float32."""
    optimizer, methods = config["optimizer"], config["methods"]
    strengths = []
    if optimizer["name"] in ("sgd", "adamw"):
        strengths.append(optimizer["weight_decay"])
    if optimizer["name"] == "sgd":
        strengths += [methods[name]["strength"] for name in ("l2", "shrink_and_perturb") if name in methods]
    strength = sum(strengths)
    if 0 < optimizer["step_size"] * strength < HALF_A_PLACE:
        yield (
            f"on path {path} a float32 weight that gets no gradient does not decay by step_size x strength = {{}},"
            " less than half its last place: dtype float64 keeps it",
            optimizer["step_size"] * strength,
        )
