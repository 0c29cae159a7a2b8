"""Sweep files: what is understood, and the sentence every mistake is answered with."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.errors import SpecError
from sweep.spec.model import Spec
from sweep.spec.reading import STUDIES, parse
from sweep.spec.studies import load
from sweep.trials import expand

REGRESSION = "workload: {name: slowly_changing_regression, tasks: 4}\n"
ARMS = "arms:\n  sgd: {optimizer: sgd, step_size: 0.1}\n"
PLAIN = REGRESSION + ARMS  # three lines


def read(text: str, scale: str | None = None) -> Spec:
    return parse(textwrap.dedent(text), Path("mine.yaml"), scale=scale)


def refused(text: str) -> list[str]:
    """The lines of the error that `text` meets."""
    with pytest.raises(SpecError) as caught:
        read(text)
    return str(caught.value).splitlines()


def arm(fields: str) -> str:
    return f"{REGRESSION}arms:\n  a: {{{fields}}}\n"


def searched(step_size: str, search: str = "trials: 8") -> str:
    """A sweep whose one arm is searched, on line 4."""
    return f"{REGRESSION}search: {{{search}}}\narms:\n  a: {{optimizer: sgd, step_size: {step_size}}}\n"


def test_everything_but_workload_and_arms_has_a_default() -> None:
    spec = read(PLAIN)
    assert (spec.name, spec.scale, spec.scales) == ("mine", "full", ("full",))
    assert (spec.seeds, spec.dtype, spec.keep, spec.every, spec.probe) == ((0,), "float32", "none", 10, 256)
    assert spec.metrics == ("dormant_fraction", "effective_rank", "online_error", "weight_magnitude")
    assert (spec.track.points, spec.track.metrics, spec.track.trials) == (50, 6, True)
    assert spec.figures == ("arms",)
    assert spec.size == 1
    assert spec.workload.settings[0]["period"] == 10_000
    assert spec.arms[0].network.settings[0] == {
        "name": "mlp",
        "width": 100,
        "depth": 1,
        "activation": "relu",
        "initialisation": "kaiming",
        "biases": True,
    }


def test_a_list_is_an_axis_and_numbers_are_yaml_1_2() -> None:
    spec = read(arm("optimizer: sgd, step_size: [1e-4, 0.0001, 1], l2: {strength: [0, 1e-3]}"))
    (only,) = spec.arms
    # 1e-4 is a number, equal settings are one, and a whole number in a float field is a float.
    assert [s["step_size"] for s in only.optimizer.settings] == [1e-4, 1.0]
    assert [type(s["strength"]) for s in only.methods[0].settings] == [float, float]
    assert only.optimizer.axes == ("step_size",)
    assert spec.size == 4


def test_negative_zero_is_zero() -> None:
    spec = read(arm("optimizer: sgd, l2: {strength: -0.0}"))
    assert str(spec.arms[0].methods[0].settings[0]["strength"]) == "0.0"


def test_null_means_a_methods_defaults() -> None:
    spec = read(arm("optimizer: sgd, continual_backprop: null"))
    settings = spec.arms[0].methods[0].settings
    assert len(settings) == 1
    assert (settings[0]["maturity_threshold"], settings[0]["replacement"]) == (100, "stochastic")


def test_an_arm_changes_the_network_and_a_linear_model_has_no_width() -> None:
    spec = read(
        REGRESSION
        + """network: {width: [5, 10], activation: [relu, tanh]}
arms:
  deep: {optimizer: sgd, network: {depth: 2}}
  linear: {optimizer: sgd, network: {depth: 0}}
"""
    )
    deep, linear = spec.arms
    assert [(s["width"], s["activation"]) for s in deep.network.settings] == [
        (5, "relu"),
        (5, "tanh"),
        (10, "relu"),
        (10, "tanh"),
    ]
    assert {s["depth"] for s in deep.network.settings} == {2}
    assert [(s["width"], s["activation"]) for s in linear.network.settings] == [(None, None)]


def test_scales_override_dotted_paths_and_laptop_is_the_default() -> None:
    text = (
        PLAIN
        + "  adam: {optimizer: adam, continual_backprop: null}\n"
        + """seeds: 30
scales:
  smoke: {seeds: [7], arms.sgd.step_size: [0.5, 0.25], arms.adam: null}
  laptop:
    network.width: 3
    arms.adam.continual_backprop.replacement_rate: 0.5
"""
    )
    full, laptop, smoke = (read(text, scale) for scale in ("full", None, "smoke"))
    assert full.size == 60 and full.scales == ("full", "smoke", "laptop")
    assert laptop.scale == "laptop"
    assert laptop.arms[0].network.settings[0]["width"] == 3
    assert laptop.arms[1].methods[0].settings[0]["replacement_rate"] == 0.5
    assert full.arms[1].methods[0].settings[0]["replacement_rate"] == 1e-4
    assert smoke.seeds == (7,)
    assert [a.label for a in smoke.arms] == ["sgd"]
    assert [s["step_size"] for s in smoke.arms[0].optimizer.settings] == [0.5, 0.25]


def test_a_section_in_a_scale_is_merged_into_the_files() -> None:
    text = (
        REGRESSION
        + """network: {width: 100, depth: 2, activation: tanh}
arms:
  cbp: {optimizer: sgd, step_size: 0.1, continual_backprop: {replacement_rate: 0.5, maturity_threshold: 7}}
  sgd: {optimizer: sgd}
scales:
  smoke:
    network: {width: 5}
    workload: {period: 50}
    arms: {sgd: null, cbp: {step_size: [1, 2], continual_backprop: {replacement_rate: 0.25}}}
"""
    )
    smoke = read(text, "smoke")
    assert [(s["width"], s["depth"], s["activation"]) for s in smoke.arms[0].network.settings] == [(5, 2, "tanh")]
    assert (smoke.workload.settings[0]["tasks"], smoke.workload.settings[0]["period"]) == (4, 50)
    (cbp,) = smoke.arms
    assert [s["step_size"] for s in cbp.optimizer.settings] == [1.0, 2.0]
    settings = cbp.methods[0].settings[0]
    assert (settings["replacement_rate"], settings["maturity_threshold"]) == (0.25, 7)


def test_a_section_of_another_name_replaces_the_files() -> None:
    text = "workload: {name: relabelled, dataset: mnist}\nnetwork: {name: mlp, width: 5, depth: 2}\n" + ARMS
    network = read(text + "scales: {small: {network: {name: convnet, width: 2}}}\n", "small").arms[0].network
    assert (network.name, network.settings[0]["width"]) == ("convnet", 2)


def test_anchors_and_merges_are_yamls() -> None:
    text = (
        REGRESSION
        + """arms:
  a: &base {optimizer: sgd, step_size: 0.5, l2: &pull {strength: 0.25}}
  b: {<<: *base, step_size: 1}
  c: {<<: [{step_size: 3}, *base], l2: {<<: *pull}}
"""
    )
    arms = {
        a.label: (a.optimizer.settings[0]["step_size"], a.methods[0].settings[0]["strength"]) for a in read(text).arms
    }
    assert arms == {"a": (0.5, 0.25), "b": (1.0, 0.25), "c": (3.0, 0.25)}
    wrong = text.replace("step_size: 1}", "step_size: -1}").replace("step_size: 0.5", "step_size: -2")
    assert [line.split(": must")[0] for line in refused(wrong)] == [
        "mine.yaml:3: arms.a.step_size = -2",
        "mine.yaml:4: arms.b.step_size = -1",
    ]


def as_mapping() -> dict[str, Any]:
    return {
        "name": "mine",
        "workload": {"name": "slowly_changing_regression", "tasks": 4},
        "arms": {"sgd": {"optimizer": "sgd", "step_size": 0.1}},
    }


def test_a_mapping_is_a_sweep_too() -> None:
    spec = load(as_mapping())
    assert (spec.name, spec.scale) == ("mine", "full")
    assert [trial.id for trial in expand(spec)] == [trial.id for trial in expand(read(PLAIN))]
    rates = np.array([1e-5, 0.1])
    axis = load(as_mapping() | {"arms": {"a": {"optimizer": "sgd", "step_size": rates}}, "seeds": range(2)})
    assert [s["step_size"] for s in axis.arms[0].optimizer.settings] == [1e-5, 0.1] and axis.seeds == (0, 1)
    assert read_again(axis).arms == axis.arms, "the text that is kept is the same sweep"


def read_again(spec: Spec) -> Spec:
    return parse(spec.text, Path(spec.file))


NO_SWEEPS: dict[str, tuple[Any, str]] = {
    "a list": ([1], "a sweep is a path, a shipped study's name or a mapping of its keys, not [1]"),
    "no name": ({"workload": {}}, "a sweep given as a mapping needs a name"),
    "a mistake": (as_mapping() | {"sed": 3}, "mine: sed: unknown key; did you mean 'seeds'?"),
    "an object": (as_mapping() | {"seeds": len}, "mine: seeds = <built-in function len> is no text"),
    "a key that is a number": (as_mapping() | {"seeds": {3: 1}}, "mine: seeds: keys must be text, not 3"),
    "no number": (as_mapping() | {"arms": {"a": {"optimizer": "sgd", "step_size": [math.nan]}}}, "step_size[0] = nan"),
}


@pytest.mark.parametrize("sweep, said", NO_SWEEPS.values(), ids=NO_SWEEPS)
def test_what_is_no_sweep_is_explained(sweep: Any, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(sweep)
    assert said in str(caught.value)


def test_the_question_is_the_opening_comment() -> None:
    spec = read("# Does it\n# learn?    sweep run mine\n# More words.\n" + PLAIN)
    assert spec.question == "Does it learn?"
    assert read(PLAIN + "question: Why?\n").question == "Why?"


def test_the_online_metric_is_always_recorded() -> None:
    assert read(PLAIN + "metrics: [dead_fraction]\n").metrics == ("dead_fraction", "online_error")


def test_a_tested_stream_always_records_what_its_figures_show() -> None:
    spec = read("workload: {name: continual_imagenet, dataset: glyphs}\n" + ARMS + "metrics: [effective_rank]\n")
    assert spec.metrics == ("effective_rank", "online_accuracy", "test_accuracy")


def test_a_fresh_network_is_compared_with_as_often_as_asked() -> None:
    text = PLAIN + "metrics: [plasticity_gap]\n"
    assert read(text).fresh_every == 10 and read(text + "diagnostics: {fresh_every: 3}\n").fresh_every == 3
    assert expand(read(text + "diagnostics: {fresh_every: 3}\n"))[0].config["fresh_every"] == 3
    assert "fresh_every" not in expand(read(PLAIN))[0].config  # what is not used is no part of a trial


def test_keep_and_diagnostics() -> None:
    spec = read(PLAIN + "keep: {every: 10}\ndiagnostics: {every: 3}\n")
    assert (spec.keep, spec.every, spec.probe) == ({"every": 10}, 3, 256)


MISTAKES = {
    "unknown key": (PLAIN + "seed: 3\n", "mine.yaml:4: seed: unknown key; did you mean 'seeds'?"),
    "unknown key inside": (
        PLAIN + "track: {pionts: 3}\n",
        "mine.yaml:4: track.pionts: unknown key; did you mean 'points'? allowed: points, metrics, trials",
    ),
    "duplicate key": (
        PLAIN + "seeds: 1\nseeds: 2\n",
        "mine.yaml:5: seeds: duplicate key, first given on line 4",
    ),
    "misspelt method": (
        arm("optimizer: sgd, shrink_and_pertrub: null"),
        "mine.yaml:3: arms.a.shrink_and_pertrub: unknown field of sgd or method; did you mean 'shrink_and_perturb'?",
    ),
    "misspelt optimizer": (
        arm("optimizer: adm"),
        "mine.yaml:3: arms.a.optimizer = \"adm\": unknown optimizer; did you mean 'adam'? allowed: sgd, adam, adamw",
    ),
    "misspelt stream": (
        "workload: {name: permuted_minst}\n" + ARMS,
        "mine.yaml:1: workload.name = \"permuted_minst\": unknown workload; did you mean 'permuted_mnist'?",
    ),
    "misspelt network": (
        PLAIN + "network: {name: mpl}\n",
        "mine.yaml:4: network.name = \"mpl\": unknown network; did you mean 'mlp'? allowed: mlp",
    ),
    "a network of pictures without pictures": (
        PLAIN + "network: {name: convnet}\n",
        "mine.yaml:4: network: convnet needs pictures, which slowly_changing_regression does not show; networks for",
    ),
    "pictures too small": (
        "workload: {name: relabelled, dataset: digits}\n" + ARMS + "network: {name: convnet}\n",
        "mine.yaml:4: network: convnet needs pictures of at least 24 x 24, not 8 x 8",
    ),
    "layers of a network that does not offer them": (
        "workload: {name: continual_imagenet, dataset: glyphs}\n" + ARMS + "network: {name: convnet}\n"
        "metrics: [dormant_fraction, layer_jacobian_min]\n",
        'mine.yaml:5: metrics[1] = "layer_jacobian_min": layer_jacobian_min needs a network\'s layers one by one, '
        "which convnet does not offer; networks for it: mlp",
    ),
    "ages that no arm's method keeps": (
        PLAIN + "metrics: [weight_magnitude, unit_age]\n",
        'metrics[1] = "unit_age": unit_age is recorded of arms whose method keeps the units\' ages, and none has '
        "continual_backprop",
    ),
    "an objective of layers that a network does not offer": (
        "workload: {name: continual_imagenet, dataset: glyphs}\n" + ARMS + "network: {name: convnet}\n"
        "seeds: {select: 1, evaluate: 1, objective: layer_jacobian_max}\n",
        "mine.yaml:5: seeds.objective",
    ),
    "fresh seeds past the largest": (
        PLAIN + "seeds: {select: [4294967295], evaluate: 2}\n",
        "evaluate: ",
    ),
    "what a learner that makes its own data does not measure": (
        "workload: {name: continual_control}\n" + ARMS + "metrics: [plasticity_gap, gradient_norm]\n",
        'mine.yaml:4: metrics[0] = "plasticity_gap": continual_control does not measure it; its online metric is '
        "average_return",
    ),
    "what is of a loss of examples, of a learner from rewards": (
        "workload: {name: continual_control}\n" + ARMS + "metrics: [ntk_max, hessian_max]\n",
        'mine.yaml:4: metrics[1] = "hessian_max": continual_control does not measure it',
    ),
    "a test without test examples": (
        PLAIN + "metrics: [test_accuracy]\n",
        'mine.yaml:4: metrics[0] = "test_accuracy": slowly_changing_regression holds no examples out to test on',
    ),
    "misspelt metric": (
        PLAIN + "metrics: [dormant_fractoin]\n",
        "mine.yaml:4: metrics = [\"dormant_fractoin\"]: unknown metric 'dormant_fractoin'; "
        "did you mean 'dormant_fraction'?",
    ),
    "misspelt figure": (
        PLAIN + "figures: [arm]\n",
        "unknown figure 'arm'; did you mean 'arms'? allowed: error_over_time, arms, four_axes",
    ),
    "misspelt choice": (
        PLAIN + "network: {activation: [relu, tahn]}\n",
        'mine.yaml:4: network.activation[1] = "tahn": must be one of relu, leaky_relu, tanh',
    ),
    "another workload's metric": (
        PLAIN + "metrics: [online_accuracy]\n",
        'mine.yaml:4: metrics[0] = "online_accuracy": this workload\'s online metric is online_error',
    ),
    "empty axis": (
        arm("optimizer: sgd, step_size: []"),
        "mine.yaml:3: arms.a.step_size = []: an axis needs at least one value",
    ),
    "negative step size": (
        arm("optimizer: sgd, step_size: [0.1, -0.1]"),
        "mine.yaml:3: arms.a.step_size[1] = -0.1: must be greater than or equal to 0",
    ),
    "nan": (arm("optimizer: sgd, step_size: .nan"), "arms.a.step_size = NaN: must be a finite number"),
    "infinity": (
        arm("optimizer: sgd, step_size: .inf"),
        "arms.a.step_size = Infinity: must be a finite number",
    ),
    "bool for a number": (
        arm("optimizer: sgd, step_size: true"),
        "arms.a.step_size = true: must be a number",
    ),
    "bool for a count": (PLAIN + "network: {width: true}\n", "network.width = true: must be a whole number"),
    "text for a number": (
        arm("optimizer: sgd, step_size: '0.1'"),
        'arms.a.step_size = "0.1": must be a number; this is text, remove the quotes',
    ),
    "fraction for a count": (
        PLAIN + "network: {width: 2.5}\n",
        "network.width = 2.5: must be a whole number",
    ),
    "float for a count": (
        PLAIN + "network: {width: 1e2}\n",
        "network.width = 100.0: must be a whole number, written 100",
    ),
    "a method's field on the arm": (
        arm("optimizer: sgd, replacement_rate: 1e-4"),
        "mine.yaml:3: arms.a.replacement_rate: belongs inside a method: "
        "write continual_backprop: {replacement_rate: ...}",
    ),
    "a field of several methods": (
        arm("optimizer: sgd, strength: 1e-4"),
        "write l2: {strength: ...} or l2_init: {strength: ...} or shrink_and_perturb: {strength: ...} or ",
    ),
    "another optimizer's field": (
        arm("optimizer: sgd, isometry_strength: 1"),
        "arms.a.isometry_strength: belongs to optimizer adamo or muon; this arm's is sgd",
    ),
    "torch's word": (arm("optimizer: sgd, lr: 1"), "arms.a.lr: unknown key; it is called 'step_size' here"),
    "optimizer misspelt": (
        arm("optimzer: sgd"),
        "arms.a: optimizer is missing (or is 'optimzer' meant?); allowed: sgd",
    ),
    "no optimizer": (arm("l2: null"), "mine.yaml:3: arms.a: optimizer is missing; allowed: sgd, adam"),
    "an optimizer axis": (
        arm("optimizer: [sgd, adam]"),
        "must be one name, another optimizer is another arm",
    ),
    "an arm without a body": (
        REGRESSION + "arms: {a: }\n",
        "mine.yaml:2: arms.a = null: must be a mapping such as {optimizer: sgd}",
    ),
    "an arm's name": (REGRESSION + "arms: {a b: {optimizer: sgd}}\n", "arms.a b: a name is made of letters"),
    "no arms": (REGRESSION + "arms: {}\n", "mine.yaml:2: arms: a sweep needs at least one arm"),
    "no workload": (
        ARMS,
        "mine.yaml:1: workload: is missing: workload: {name: slowly_changing_regression}, or another",
    ),
    "a method that is no mapping": (
        arm("optimizer: sgd, l2: 0.1"),
        "mine.yaml:3: arms.a.l2 = 0.1: must be a mapping of its fields, or null for the defaults",
    ),
    "zero seeds": (PLAIN + "seeds: 0\n", "mine.yaml:4: seeds = 0: must be a number of seeds from 1"),
    "no seeds": (PLAIN + "seeds: []\n", "seeds = []: a sweep needs at least one seed"),
    "a seed twice": (PLAIN + "seeds: [3, 1, 3]\n", "seed 3 is given twice"),
    "a seed out of range": (PLAIN + "seeds: [4294967296]\n", "a seed is from 0 to 4294967295"),
    "a seed that is a bool": (PLAIN + "seeds: true\n", "seeds = true: must be a number of seeds"),
    "stages misspelt": (PLAIN + "seeds: {selec: 1}\n", "selec: unknown key; did you mean 'select'?"),
    "half of the stages": (PLAIN + "seeds: {select: 1}\n", 'mine.yaml:4: seeds = {"select": 1}: evaluate is missing'),
    "a stage of no seeds": (PLAIN + "seeds: {select: 0, evaluate: 2}\n", "select: must be a number of seeds from 1"),
    "a seed in both stages": (
        PLAIN + "seeds: {select: [1, 7], evaluate: [7]}\n",
        "seed 7 is in select and in evaluate: what is chosen is judged on fresh seeds",
    ),
    "a beginning that is an end": (
        PLAIN + "select: {last: 10%}\n",
        'mine.yaml:4: select = {"last": "10%"}: must be {first: 10%}: the part of the tasks',
    ),
    "a beginning that is all": (PLAIN + "select: {first: 100%}\n", "must be {first: 10%}"),
    "a beginning and a window": (
        PLAIN + "seeds: {select: 1, evaluate: 2, window: last 10%}\nselect: {first: 10%}\n",
        "seeds.window: `select` has settings chosen by the beginning of the stream: leave out one of the two",
    ),
    "a window of nothing": (
        PLAIN + "seeds: {select: 1, evaluate: 2, window: last 0%}\n",
        "window: must be the last part of the tasks, such as `last 25%`",
    ),
    "an objective of another workload": (
        PLAIN + "seeds: {select: 1, evaluate: 2, objective: online_accuracy}\n",
        "this workload's online metric is online_error",
    ),
    "an objective that is none": (
        PLAIN + "seeds: {select: 1, evaluate: 2, objective: plasticity_gap}\n",
        "unknown objective; allowed: test_accuracy_max",
    ),
    "width 0": (PLAIN + "network: {width: 0}\n", "network.width = 0: must be greater than or equal to 1"),
    "a rule between fields": (
        PLAIN + "network: {width: null}\n",
        "width and activation may be null only where",
    ),
    "widths that are none": (PLAIN + "network: {widths: 300-0}\n", 'joined by "-", such as 300-150'),
    "widths beside another width": (
        PLAIN + "network: {widths: 300-150, width: 50}\n",
        "widths 300-150 say width and depth already: leave those out",
    ),
    "a width among others that is no whole number of groups": (
        PLAIN + "network: {widths: 8-20, activation: groupsort_8}\n",
        "groupsort_8 sorts 8 units at a time: width 20 is no multiple",
    ),
    "a width that is no whole number of groups": (
        PLAIN + "network: {width: [8, 20], activation: groupsort_8}\n",
        '{"width": 20, "activation": "groupsort_8"}: groupsort_8 sorts 8 units at a time: width 20 is no multiple',
    ),
    "sorted units that would be renewed": (
        arm("optimizer: sgd, redo: null") + "network: {activation: [relu, groupsort_4]}\n",
        "mine.yaml:3: arms.a.redo: redo renews units one by one, and where groups of 4 are sorted no activation is one "
        "unit's own: give this arm a network with another activation",
    ),
    "a penalty of scales that the network has not": (
        arm("optimizer: adamo, scale_penalty: 0.1"),
        "mine.yaml:3: arms.a.scale_penalty: adamo's scale_penalty is of learned layer scales, and this network has none"
        ": give every network of this arm, an mlp with hidden layers, layer_scale: true",
    ),
    "a method's penalty of scales that not all networks have": (
        arm("optimizer: sgd, coupled_isometry: {scale_penalty: [0.01, 0]}") + "network: {layer_scale: [true, false]}\n",
        "mine.yaml:3: arms.a.coupled_isometry.scale_penalty: coupled_isometry's scale_penalty is of learned layer",
    ),
    "keep": (PLAIN + "keep: {every: 0}\n", "must be none, final or {every: <tasks>}, at least 1"),
    "hidden task boundaries": (
        arm("optimizer: sgd, shrink_and_perturb: {when: task}"),
        "mine.yaml:3: arms.a.shrink_and_perturb: shrink_and_perturb, as set here, must see task boundaries, "
        "and slowly_changing_regression hides them: set workload.task_boundaries to shown",
    ),
    "a scale's value": (
        PLAIN + "scales:\n  smoke:\n    network.width: 0\n",
        "mine.yaml:6: network.width = 0: must be greater than or equal to 1",
    ),
    "a scale's key": (
        PLAIN + "scales:\n  smoke:\n    workload.task: 3\n",
        "mine.yaml:6: workload.task: unknown key; did you mean 'tasks'?",
    ),
    "a scale's top key": (PLAIN + "scales: {smoke: {seed: 3}}\n", "did you mean 'seeds'? allowed: workload,"),
    "a scale's arm": (
        PLAIN + "scales: {smoke: {arms.sdg: null}}\n",
        "scales.smoke.arms.sdg: unknown arm; did you mean 'arms.sgd'?",
    ),
    "a scale that removes every arm": (
        PLAIN + "scales:\n  smoke:\n    arms.sgd: null\n",
        "mine.yaml:6: arms: a sweep needs at least one arm",
    ),
    "a path through a scalar": (
        PLAIN + "scales: {smoke: {workload.tasks.x: 3}}\n",
        "workload.tasks has no keys to set",
    ),
    "an optimizer in capitals": (arm("optimizer: SGD"), "unknown optimizer; did you mean 'sgd'?"),
    "a tab": (REGRESSION + "arms:\n\ta: {}\n", "mine.yaml:3: not YAML, column 1: a tab; YAML indents with spaces"),
    "a comma in a number": (
        arm("optimizer: sgd, step_size: 0,01"),
        'arms.a = "01": keys must be words (a number has no comma: 0.01, 1000)',
    ),
    "a scale's key without its section": (
        PLAIN + "scales: {smoke: {tasks: 3}}\n",
        "scales.smoke.tasks: unknown key for a scale; did you mean 'workload.tasks'?",
    ),
    "a number that would be read as 0": (
        arm("optimizer: sgd, step_size: 1e-400"),
        "mine.yaml:3: arms.a.step_size: 1e-400 is smaller than any number here: it would be read as 0",
    ),
    "a number beyond float32": (
        arm("optimizer: sgd, step_size: [1, 1e39]"),
        "mine.yaml:3: arms.a.step_size[1] = 1e+39: is beyond what float32 holds, 3.4e+38",
    ),
    "a whole number beyond float32": (
        arm(f"optimizer: sgd, step_size: 1{'0' * 39}"),
        "is beyond what float32 holds",
    ),
    "a number below float32": (
        arm("optimizer: sgd, l2: {strength: 1e-40}"),
        "mine.yaml:3: arms.a.l2.strength = 1e-40: is 0 in float32, whose smallest number is 1.2e-38",
    ),
    "a number below float64": (
        arm("optimizer: sgd, step_size: 1e-310") + "dtype: float64\n",
        "arms.a.step_size = 1e-310: is 0 in float64",
    ),
    "a range without a search": (
        arm("optimizer: sgd, step_size: {log: [1e-4, 1e-1]}"),
        "mine.yaml:3: arms.a.step_size: a range is for a search to draw from: add search: {sampler: tpe, trials: 60}",
    ),
    "a search without a range": (
        PLAIN + "search: {trials: 8}\n",
        "mine.yaml:4: search: no arm has a range to search: give one in the place of a list",
    ),
    "a range in a list": (
        arm("optimizer: sgd, step_size: [{log: [1e-4, 1e-1]}]"),
        "must be a value or a list of values; a range stands in the place of a list, not in one",
    ),
    "a range upside down": (searched("{log: [1e-1, 1e-4]}"), "the low end 0.1 is above the high end 0.0001"),
    "a range of one value": (searched("{uniform: [0.1, 0.1]}"), "both ends are 0.1: write the value itself"),
    "a log range from 0": (
        searched("{log: [0, 1e-1]}"),
        "mine.yaml:4: arms.a.step_size.log: a log range begins above 0, not at 0",
    ),
    "a range of three": (searched("{log: [1e-3, 1e-2, 1e-1]}"), "must be [low, high]"),
    "a range beyond the setting's": (
        searched("{uniform: [-1, 1]}"),
        "arms.a.step_size.uniform[0] = -1: must be greater than or equal to 0",
    ),
    "a kind of range misspelt": (searched("{lgo: [1e-3, 1e-1]}"), "unknown kind of range; did you mean 'log'?"),
    "a range of two kinds": (searched("{log: [1e-3, 1e-1], int: [1, 2]}"), "a range has one key: {log: [low, high]}"),
    "whole numbers drawn as fractions": (
        searched("{log: [1e-3, 1e-1]}, continual_backprop: {maturity_threshold: {uniform: [1, 9]}}"),
        "this setting takes whole numbers alone: write {int: [1, 9]}",
    ),
    "words between two ends": (
        searched(
            "{log: [1e-3, 1e-1]}, continual_backprop: {utility: {uniform: [contribution, adaptable_contribution]}}"
        ),
        "only numbers have a lowest and a highest: write {choice: [values]}",
    ),
    "a choice of one": (searched("{choice: [0.1]}"), "must be a list of at least two values"),
    "a choice given twice": (searched("{choice: [0.1, 0.2, 0.1]}"), "the choice has this value already"),
    "a list in an arm that is searched": (
        searched("{log: [1e-3, 1e-1]}, l2: {strength: [1e-4, 1e-3]}"),
        "mine.yaml:4: arms.a.l2.strength: this arm is searched: write {choice: [...]} for what the search may pick",
    ),
    "a range of networks": (
        searched("{log: [1e-3, 1e-1]}, network: {width: {int: [5, 50]}}"),
        "mine.yaml:4: arms.a.network.width: a search draws settings of optimizer and methods alone",
    ),
    "a range of workloads": (
        "workload: {name: slowly_changing_regression, tasks: {int: [2, 4]}}\n" + ARMS,
        "mine.yaml:1: workload.tasks: a search draws settings of optimizer and methods alone",
    ),
    "a sampler misspelt": (searched("{log: [1e-3, 1e-1]}", "sampler: tpa, trials: 8"), "did you mean 'tpe'?"),
    "a search of no size": (searched("{log: [1e-3, 1e-1]}", "sampler: tpe"), "search.trials: is missing"),
    "a round larger than the search": (
        searched("{log: [1e-3, 1e-1]}", "trials: 8, round: 9"),
        "a round of 9 settings is more than the 8 trials of an arm",
    ),
    "a search that is a number": (PLAIN + "search: 60\n", "mine.yaml:4: search = 60: must be a mapping"),
    "a search's key misspelt": (searched("{log: [1e-3, 1e-1]}", "trials: 8, sampel: tpe"), "did you mean 'sampler'?"),
    "chosen by two rules": (
        searched("{log: [1e-3, 1e-1]}") + "seeds: {select: 1, evaluate: 2, window: last 10%}\n",
        "seeds.window: a sweep that searches says in `search` by what settings are chosen",
    ),
    "a merge of a number": (arm("optimizer: sgd, <<: 3"), "mine.yaml:3: arms.a.<<: merges a mapping (<<: *name)"),
    "a merge of itself": (REGRESSION + "arms: {a: &a {optimizer: sgd, <<: *a}}\n", "an alias may not contain itself"),
    "set twice by a scale": (
        PLAIN + "scales:\n  smoke:\n    network.width: 3\n    network: {width: 5}\n",
        "mine.yaml:7: scales.smoke.network: network is set by this scale on line 6 already",
    ),
    "what a scale alone makes wrong": (
        "workload: {name: relabelled, dataset: mnist, task_boundaries: shown}\n"
        "arms: {a: {optimizer: sgd, reset: null}}\n"
        "scales: {smoke: {seeds: 1, workload: {task_boundaries: hidden}}}\n",
        "set workload.task_boundaries to shown (at scale smoke)",
    ),
    "a scale called full": (PLAIN + "scales: {full: {seeds: 3}}\n", "full is the file as written"),
    "too many trials": (
        PLAIN + "seeds: 1000000\nnetwork: {width: [1, 2]}\n",
        "at scale full this means 2,000,000 trials; at most 1,000,000",
    ),
    "not YAML": ("workload: [1\narms: 2", "mine.yaml:2: not YAML, column 5: while parsing a flow sequence"),
    "two documents": (PLAIN + "---\na: 1\n", "mine.yaml:4: not YAML"),
    "empty": ("", "mine.yaml:1: the file is empty"),
    "only comments": ("# hello\n", "mine.yaml:1: the file is empty"),
    "a list": ("- a\n", "mine.yaml:1: a sweep file is a mapping of keys"),
    "a control character": ("a: \x00", "mine.yaml:1: not YAML"),
    "an alias inside itself": (PLAIN + "metrics: &m [*m]\n", "an alias may not contain itself"),
    "a tag": (PLAIN + "seeds: !many 3\n", "YAML tags such as !many mean nothing here"),
    "a number for a key": (PLAIN + "3: 4\n", 'mine.yaml:4: "3": keys must be words'),
}


@pytest.mark.parametrize("text, said", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_explained(text: str, said: str) -> None:
    lines = refused(text)
    assert any(said in line for line in lines), lines
    assert all(line.startswith("mine.yaml:") for line in lines)


def test_all_mistakes_are_told_at_once_in_the_files_order() -> None:
    text = arm("optimizer: sgd, step_size: -1") + "seed: 3\nnetwork: {width: 0}\ndtype: half\n"
    assert [line.split(":")[1] for line in refused(text)] == ["3", "4", "5", "6"]


def test_at_most_one_screen() -> None:
    lines = refused(arm(f"optimizer: sgd, step_size: {[-i for i in range(1, 30)]}"))
    assert len(lines) == 9
    assert lines[-1] == "... and 21 more"


def test_a_mistake_shared_by_scales_and_arms_is_told_once() -> None:
    text = PLAIN + "  adam: {optimizer: adam}\nnetwork: {width: 0}\nscales: {smoke: {seeds: 1}}\n"
    assert len(refused(text)) == 1


def test_a_study_that_does_not_exist() -> None:
    with pytest.raises(SpecError, match="unknown study 'permuted_minst'; did you mean 'permuted_mnist'"):
        load("permuted_minst")
    with pytest.raises(SpecError, match="nowhere.yaml: cannot be read: No such file"):
        load("nowhere.yaml")


def test_a_file_of_ones_own_is_found_nearby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_sweep.yaml").write_text(PLAIN)
    with pytest.raises(SpecError, match="no study 'my_sweep' ships; the file .* is given by its path: my_sweep.yaml"):
        load("my_sweep")
    with pytest.raises(SpecError, match="No such file or directory; did you mean my_sweep.yaml?"):
        load("mysweep.yaml")


def test_a_section_that_is_no_mapping_is_told_once() -> None:
    assert refused(PLAIN + "network: mlp\n") == ['mine.yaml:4: network = "mlp": must be a mapping such as {name: ...}']


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read: Is a directory"):
        load(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(SpecError, match="it is not UTF-8 text"):
        load(binary)


def test_an_unknown_scale(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="unknown scale 'ful'; did you mean 'full'"):
        read(PLAIN, scale="ful")
    with pytest.raises(SpecError, match="unknown scale 'paper'; allowed: full; a file of your own, as written, is at"):
        read(PLAIN, scale="paper")


def test_a_copy_of_a_shipped_study_is_a_file_of_ones_own(tmp_path: Path) -> None:
    copied = tmp_path / "demo.yaml"
    copied.write_text((STUDIES / "demo.yaml").read_text())
    assert load("demo", "paper").scales[0] == "paper"
    assert load(copied, "full").scales[0] == "full"


def test_reading_a_sweep_file_imports_nothing_heavy() -> None:
    program = "import sys, sweep.spec.studies; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["torch", "ray", "mlflow", "pandas", "matplotlib", "sklearn", "pyarrow"]
    out = subprocess.run([sys.executable, "-c", program, *heavy], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


NO_FIGURES: dict[str, tuple[str, str, str]] = {
    "one step size and one rate": (
        "four_axes", "cbp: {optimizer: sgd, continual_backprop: {}}",
        "give step_size and continual_backprop.replacement_rate two values or more there",
    ),
    "axes of arms with other methods": (
        "four_axes", "l2: {optimizer: sgd, step_size: [1, 2], l2: {}, continual_backprop: {replacement_rate: [0, 1]}}",
        "give step_size and",
    ),
    "rates alone": (
        "four_axes", "cbp: {optimizer: sgd, continual_backprop: {replacement_rate: [0, 1]}}", "give step_size two"
    ),
    "no bins": ("within_task", "sgd: {optimizer: sgd}", "it needs within_task: add it to `metrics`"),
    "no spectra": ("singular_values", "sgd: {optimizer: sgd}", "it needs singular_values: add it to `metrics`"),
    "no games": ("visits", "sgd: {optimizer: sgd}", "it shows games: the workload must be continual_minatar"),
    "no slippery ground": (
        "friction", "sgd: {optimizer: sgd}", "it shows frictions: the workload must be slippery_ant"
    ),
    "no revival": ("reactivation", "sgd: {optimizer: sgd}", "it needs revived_fraction: add it to `metrics`"),
    "no search": ("optuna_slices", "sgd: {optimizer: sgd, step_size: [0.1, 0.2]}", "it is of a search: give ranges"),
    "no baseline": ("relative", "sgd: {optimizer: sgd}", "the network from scratch, not none"),
}  # fmt: skip


@pytest.mark.parametrize("figure, arm, said", NO_FIGURES.values(), ids=NO_FIGURES)
def test_a_figure_says_what_it_needs_before_anything_is_computed(figure: str, arm: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(REGRESSION + f"arms:\n  {arm}\nfigures: [arms, {figure}]\n")
    assert str(caught.value).startswith(f'mine.yaml:4: figures[1] = "{figure}": ') and said in str(caught.value)


def test_units_are_revived_where_some_were_silenced() -> None:
    metrics = "metrics: [online_error, revived_fraction]\n"
    with pytest.raises(SpecError) as caught:
        read(REGRESSION + "arms: {sgd: {optimizer: sgd}}\n" + metrics)
    assert str(caught.value) == (
        'mine.yaml:3: metrics[1] = "revived_fraction": revived_fraction is of units that a network begins with '
        "silenced: give `network` killed: flipped, or bias, step, zero_row, far_bias"
    )
    some = "arms: {sgd: {optimizer: sgd}, killed: {optimizer: sgd, network: {killed: step}}}\n"
    assert read(REGRESSION + some + metrics).metrics[1] == "revived_fraction"


def test_a_figure_that_has_what_it_needs_is_taken() -> None:
    arms = "arms:\n  a: {optimizer: sgd, step_size: [0.1, 0.2]}\n  b: {optimizer: sgd, continual_backprop: {}}\n"
    assert read(REGRESSION + arms + "figures: [four_axes]\n").figures == ("four_axes",)


def test_a_choice_between_yes_no_and_a_word_is_told_as_a_sweep_file_writes_it() -> None:
    text = "optimizer: sgd, continual_backprop: {{reset_optimizer: {}}}"
    for written, meant in (("true", True), ("false", False), ("adam", "adam"), ("null", "adam")):
        (found,) = read(arm(text.format(written))).arms[0].methods
        assert found.settings[0]["reset_optimizer"] == meant
    (said,) = refused(arm(text.format("adm")))
    assert said.endswith("""must be one of true, false, adam; did you mean 'adam'?""")
