"""The sweeps that ship: they can be read at every scale, and are what their papers and their comments say."""

from __future__ import annotations

from typing import Any

import pytest

from dashboards.claims import CLAIMS
from sweep.packing import shape_of
from sweep.results.intervals import FEWEST_SEEDS
from sweep.spec.model import Spec
from sweep.spec.reading import STUDIES
from sweep.spec.studies import load, studies
from sweep.trials import expand

NAMES = [
    "ant",
    "continual_control",
    "continual_imagenet",
    "continual_minatar",
    "demo",
    "demo_mnist",
    "expressiveness",
    "four_axes",
    "generate_and_test",
    "hopper",
    "incremental_cifar",
    "input_permuted_mnist",
    "isometry_lens",
    "permuted_mnist",
    "permuted_mnist_popular",
    "permuted_mnist_rate",
    "permuted_pixels",
    "reactivation",
    "relabelled",
    "shuffled_labels",
    "slippery_ant",
    "slowly_changing_regression",
    "walker",
    "warm_start",
]


def steps(spec: Spec) -> int:
    """Updates of one trial."""
    return shape_of(expand(spec)[0].config).steps


def arms(spec: Spec) -> dict[str, dict[str, list[Any]]]:
    """arm -> axis -> its values, for optimizer and methods."""
    return {
        arm.label: {
            axis: sorted({setting[axis] for setting in part.settings}, key=repr)
            for part in (arm.optimizer, *arm.methods)
            for axis in part.axes
        }
        for arm in spec.arms
    }


def test_every_study_opens_with_its_question_and_command() -> None:
    assert [study.name for study in studies()] == NAMES
    for study in studies():
        text = study.path.read_text()
        assert study.question.endswith("?") and text.startswith(f"# {study.question[:20]}")
        assert f"#     sweep run {study.name}" in text


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_those_of_the_expansion(name: str) -> None:
    (study,) = [study for study in studies() if study.name == name]
    assert {"paper", "laptop", "smoke"} <= set(study.trials)
    for scale, count in study.trials.items():
        assert count == load(name, scale).size
        if count <= 2000:
            spec = load(name, scale)  # of which a second round trains each arm's best setting of each workload anew
            assert count == len(expand(spec)) + len(spec.evaluate) * len(spec.arms) * len(spec.workload.settings)


@pytest.mark.parametrize("name", NAMES)
def test_a_smoke_run_is_small(name: str) -> None:
    spec = load(name, "smoke")
    assert spec.size * steps(spec) <= 300_000
    if spec.workload.name == "permuted_mnist":
        assert spec.workload.settings[0]["dataset"] == "digits"  # needs no download


@pytest.mark.parametrize("name", NAMES)
def test_a_laptop_run_has_seeds_enough_for_a_verdict(name: str) -> None:
    spec = load(name, "laptop")
    own = [claim for paper in CLAIMS.values() for claim in paper if spec.workload.name in claim.workloads]
    short = own and all(claim.too_short(spec.workload.name, steps(spec)) for claim in own)  # on any number of seeds
    assert len(spec.seeds) >= (5 if short else FEWEST_SEEDS)


def test_the_demo_is_what_it_promises() -> None:
    spec = load("demo")
    assert spec.scale == "laptop"
    assert len(spec.seeds) == 30
    assert len(expand(spec)) == 1080
    assert steps(spec) == 500_000
    assert spec.workload.settings[0]["flip"] == "all"
    assert list(arms(spec)) == [
        "sgd",
        "adam",
        "l2",
        "shrink_and_perturb",
        "continual_backprop",
        "adamo",
        "linear",
    ]


def test_the_regression_has_the_papers_grids() -> None:
    spec = load("slowly_changing_regression", "paper")
    assert (len(spec.seeds), steps(spec)) == (100, 1_000_000)
    assert spec.workload.settings[0]["flip"] == "one"
    grids = arms(spec)
    by_tens = [10.0**-k for k in range(6, 0, -1)]
    assert grids["sgd"]["step_size"] == grids["adam"]["step_size"] == [0.001, 0.003, 0.01]
    assert {0.01, 0.003, 0.001} <= set(grids["linear"]["step_size"])
    assert sorted(grids["l2"]["strength"]) == pytest.approx([*by_tens, 1])
    assert sorted(grids["shrink_and_perturb"]["perturb_scale"]) == pytest.approx(by_tens)
    assert sorted(grids["continual_backprop"]["replacement_rate"]) == pytest.approx(by_tens[:-1])
    assert sorted(grids["adamo"]["isometry_strength"]) == [1e-4, 1e-3, 1e-2, 1e-1, 1]
    (sgd,) = [arm for arm in spec.arms if arm.label == "sgd"]
    assert {s["activation"] for s in sgd.network.settings} == {
        "relu",
        "leaky_relu",
        "swish",
        "elu",
        "tanh",
        "sigmoid",
    }
    flipped = load("slowly_changing_regression", "flip_all_relu")
    assert flipped.workload.settings[0]["flip"] == "all" and steps(flipped) == 1_000_000


def test_permuted_mnist_has_the_released_grids() -> None:
    spec = load("permuted_mnist", "paper")
    assert steps(spec) == 48_000_000
    grids = arms(spec)
    assert sorted(grids["sgd"]["step_size"]) == [0.001, 0.003, 0.01]
    assert sorted(grids["adam"]["step_size"]) == [3e-5, 5e-5, 1e-4]
    assert sorted(grids["l2"]["strength"]) == [1e-5, 1e-4, 1e-3]
    assert sorted(grids["shrink_and_perturb"]["perturb_scale"]) == [1e-6, 1e-5, 1e-4]
    assert sorted(grids["continual_backprop"]["replacement_rate"]) == [1e-6, 1e-5, 1e-4]
    widths = {arm.label: {s["width"] for s in arm.network.settings} for arm in spec.arms}
    assert widths["sgd"] == {2000} and widths["sgd_width"] == {100, 1000, 10_000}
    (cbp,) = [arm for arm in spec.arms if arm.label == "continual_backprop"]
    assert {s["replacement"] for s in cbp.methods[0].settings} == {"accumulate"}


def test_the_rates_of_change_see_equally_many_examples() -> None:
    spec = load("permuted_mnist_rate", "paper")
    tasks = {s["examples_per_task"]: s["tasks"] for s in spec.workload.settings}
    assert tasks == {10_000: 4800, 100_000: 480, 1_000_000: 48}
    assert {shape_of(trial.config).steps for trial in expand(spec)} == {48_000_000}


def test_four_axes_are_crossed_and_reach_zero() -> None:
    spec = load("four_axes", "paper")
    (arm,) = spec.arms
    grid = arms(spec)[arm.label]
    assert 0 in grid["isometry_strength"] and 0 in grid["replacement_rate"]
    assert {s["width"] for s in arm.network.settings} == {5, 10, 20}
    assert spec.size == 3 * 4 * 5 * 5 * 100


def test_continual_imagenet_has_the_released_settings() -> None:
    spec = load("continual_imagenet", "paper")
    assert steps(spec) == 2000 * 3000 and steps(load("continual_imagenet", "long")) == 5000 * 3000
    assert sorted(arms(spec)["sgd"]["step_size"]) == [1e-4, 1e-3, 1e-2]
    settings = {a.label: ({m.name: m.settings[0] for m in a.methods}, a.optimizer.settings[0]) for a in spec.arms}
    assert all(methods["reset"] == {"name": "reset", "what": "head", "to": "zero", "optimizer": False}
               for methods, _ in settings.values())  # fmt: skip
    assert {opt["momentum"] for label, (_, opt) in settings.items() if label != "adamo"} == {0.9}
    assert (settings["l2"][1]["step_size"], settings["l2"][0]["l2"]["strength"]) == (0.03, 3e-6)
    perturbed = settings["shrink_and_perturb"][0]["shrink_and_perturb"]
    assert (perturbed["strength"], perturbed["perturb_scale"]) == (1e-5, 1e-5)
    cbp = settings["continual_backprop"][0]["continual_backprop"]
    assert (cbp["replacement_rate"], cbp["maturity_threshold"], cbp["share_of"]) == (3e-4, 100, "all")
    assert (cbp["replacement"], cbp["bias_transfer"], cbp["reset_optimizer"]) == ("accumulate", False, False)


def test_incremental_cifar_has_the_released_settings() -> None:
    spec = load("incremental_cifar", "paper")
    assert steps(spec) == 1_050_000
    for arm in spec.arms:
        (optimizer,) = arm.optimizer.settings
        assert (optimizer["step_size"], optimizer["momentum"], optimizer["weight_decay"]) == (0.1, 0.9, 5e-4)
    cbp = {arm.label: arm.methods[0].settings[0] for arm in spec.arms if arm.label.startswith("continual_backprop")}
    assert [c["magnitudes"] for c in cbp.values()] == ["summed", "decaying"]  # as published, and corrected
    assert {(c["replacement_rate"], c["maturity_threshold"]) for c in cbp.values()} == {(1e-5, 1000)}
    assert [arm.label for arm in spec.arms if any(m.settings[0].get("what") == "all" for m in arm.methods)] == [
        "retrained"
    ]


@pytest.mark.parametrize("scale", ["paper", "laptop", "smoke"])
def test_all_arms_of_expressiveness_have_equally_many_parameters(scale: str) -> None:
    """And begin as isometries; those called so are held there by a projection in every step."""
    spec = load("expressiveness", scale)
    networks = [config for arm in spec.arms for config in arm.network.configs]
    assert len({config.parameters(4, 1) for config in networks}) == 1
    assert {config.initialisation for config in networks} == {"orthogonal"}
    for arm in spec.arms:
        held = {(getattr(config, "projection", 0), getattr(config, "every", 0)) for config in arm.optimizer.configs}
        assert held == ({(3, 1)} if arm.label.startswith("isometric") else {(0, 0)})


def assert_adamo_is_the_papers(spec: Spec) -> None:
    """Its settings are among those of the arm, and all pull in every step, at the step size, as eq. 20 does."""
    adamo = next(arm for arm in spec.arms if arm.label == "adamo").optimizer.configs
    assert any((own.step_size, own.isometry_strength) == (1e-4, 1e-3) for own in adamo)
    form = {(own.every, own.isometry_step_size, own.penalty, own.order, own.target, own.projection) for own in adamo}
    assert form == {(1, None, "full", "simultaneous", "one", 0)}


@pytest.mark.parametrize("name", ["relabelled", "permuted_pixels", "shuffled_labels"])
def test_where_adamo_pulls_in_every_tenth_step_its_study_says_that_this_is_ours(name: str) -> None:
    (study,) = [study for study in studies() if study.name == name]
    head = study.path.read_text().split("\n\nworkload:")[0].replace("\n# ", " ")
    for scale in study.trials:
        pulls = {s["every"] for arm in load(name, scale).arms if arm.label == "adamo" for s in arm.optimizer.settings}
        assert pulls <= ({1} if scale == "paper" else {10})
    assert "at the other scales in every 10th, ten times as hard: ours" in head


def test_relabelled_is_what_is_known_of_the_isometry_papers_streams() -> None:
    spec = load("relabelled", "paper")
    assert len(spec.seeds) == 8 and {s["change"] for s in spec.workload.settings} == {
        "random_labels",
        "shuffled_labels",
        "permuted_pixels",
    }
    network = spec.arms[0].network.settings[0]
    assert (network["depth"], network["width"], network["initialisation"]) == (4, 512, "orthogonal")
    assert_adamo_is_the_papers(spec)


@pytest.mark.parametrize(
    ("name", "dataset", "change"),
    [("permuted_pixels", "mnist", "permuted_pixels"), ("shuffled_labels", "cifar100", "shuffled_labels")],
)
def test_the_isometry_papers_other_streams_have_its_network(name: str, dataset: str, change: str) -> None:
    spec = load(name, "paper")
    [stream] = spec.workload.settings
    assert len(spec.seeds) == 8 and (stream["dataset"], stream["change"]) == (dataset, change)
    network = spec.arms[0].network.settings[0]
    assert (network["depth"], network["width"], network["initialisation"]) == (4, 512, "orthogonal")
    assert_adamo_is_the_papers(spec)


def test_input_permuted_mnist_has_the_published_settings() -> None:
    spec = load("input_permuted_mnist", "paper")
    [stream] = spec.workload.settings
    assert (steps(spec), len(spec.seeds), stream["scale"]) == (1_000_000, 20, "symmetric")
    [network] = spec.arms[0].network.configs
    assert network.hidden == (300, 150) and network.initialisation == "default"
    optimizers = {arm.label: arm.optimizer.configs[0] for arm in spec.arms}
    adam, upgd = optimizers["adam"], optimizers["upgd"]
    assert (adam.step_size, adam.beta1, adam.beta2) == (1e-4, 0, 0.99)
    assert (upgd.step_size, upgd.utility_decay, upgd.perturb_scale, upgd.weight_decay) == (0.01, 0.9999, 0.1, 0.01)


def ways(spec: Spec) -> dict[str, tuple[Any, dict[str, Any]]]:
    """arm -> its optimizer's settings, and those of each method, of arms with one setting."""
    return {
        arm.label: (arm.optimizer.configs[0], {method.name: method.configs[0] for method in arm.methods})
        for arm in spec.arms
    }


# Bins of as many steps as the papers' figures, to the next whole iteration; how many of them; and seeds.
ROBOTS = {"ant": (249_856, 200, 30), "slippery_ant": (100_352, 200, 100), "hopper": (499_712, 200, 30)}
ROBOTS["walker"] = ROBOTS["ant"]


@pytest.mark.parametrize("name", ROBOTS)
def test_robots_learn_with_the_published_settings(name: str) -> None:
    spec = load(name, "paper")
    [world] = spec.workload.settings
    assert (world["steps_per_task"], world["tasks"], len(spec.seeds)) == ROBOTS[name]
    assert world["ppo"] == "published" and world.get("tasks_per_friction", 20) == 20  # of slippery_ant: 2 million steps
    [network] = spec.arms[0].network.configs
    assert (network.hidden, network.activation, network.initialisation) == ((256, 256), "relu", "lecun")
    arms = ways(spec)
    assert {arm: (own.step_size, own.beta1, own.beta2) for arm, (own, _) in arms.items()} == {
        **dict.fromkeys(["equal_betas", "l2", "continual_backprop_l2", "redo_l2", "adamo"], (1e-4, 0.99, 0.99)),
        "standard_adam": (1e-4, 0.9, 0.999),
    }
    strengths = {arm: methods["l2"].strength for arm, (_, methods) in arms.items() if "l2" in methods}
    assert strengths == {"l2": 1e-3, "continual_backprop_l2": 1e-4, "redo_l2": 1e-4}
    replaced = arms["continual_backprop_l2"][1]["continual_backprop"]
    assert (replaced.replacement_rate, replaced.maturity_threshold) == (1e-4, 10_000)
    assert (replaced.utility, replaced.utility_decay, replaced.reset_optimizer) == ("contribution", 0.99, False)


@pytest.mark.parametrize("name", ROBOTS)
def test_robots_are_looked_at_with_the_papers_measures(name: str) -> None:
    """Its dormant units and its stable rank have other names here."""
    measures = {"average_return", "rarely_active_fraction", "stable_rank_99", "weight_magnitude", "weight_change"}
    assert measures <= set(load(name, "paper").metrics)


def test_continual_minatar_is_as_far_as_it_is_known() -> None:
    spec = load("continual_minatar", "paper")
    [world] = spec.workload.settings
    assert (world["envs"], world["rollout"], world["epochs"], world["minibatches"]) == (2048, 128, 4, 128)
    assert (world["discount"], world["gae_lambda"], world["clip"]) == (0.99, 0.95, 0.2)
    assert (world["value_weight"], world["entropy"]) == (0.5, 0.01)
    assert (world["tasks"], len(spec.seeds)) == (80, 8) and 0 <= 15_000_000 - world["steps_per_task"] < 2048 * 128
    assert spec.arms[0].network.configs[0].hidden == (64, 64, 64, 64)
    for optimizer, methods in ways(spec).values():
        assert optimizer.step_size == 2.5e-4
        assert (methods["reset"].what, methods["gradient_clipping"].norm) == ("optimizer", 0.5)
    assert ways(spec)["l2_init"][1]["l2_init"].strength == 1e-3
    adamo = ways(spec)["adamo_groupsort"][0]
    assert (adamo.isometry_strength, adamo.penalty, adamo.order, adamo.head) == (0.1, "half", "sequential", False)


def test_only_studies_ship() -> None:
    assert sorted(path.name for path in STUDIES.iterdir()) == [f"{name}.yaml" for name in NAMES]
