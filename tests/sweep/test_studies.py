"""The sweeps that ship: they can be read at every scale, and are what their papers and their comments say."""

from __future__ import annotations

from typing import Any

import pytest

from sweep.spec import STUDIES, Spec, load, studies
from sweep.trials import expand

NAMES = ["demo", "demo_mnist", "four_axes", "permuted_mnist", "slowly_changing_regression"]


def steps(spec: Spec) -> int:
    """Updates of one trial."""
    workload = spec.workload.settings[0]
    per_task = workload.get("period") or workload["examples_per_task"] // workload["batch"]
    return int(workload["tasks"] * per_task)


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
            assert count == len(expand(load(name, scale)))


@pytest.mark.parametrize("name", NAMES)
def test_a_smoke_run_is_small(name: str) -> None:
    spec = load(name, "smoke")
    assert spec.size * steps(spec) <= 300_000
    if spec.workload.name == "permuted_mnist":
        assert spec.workload.settings[0]["dataset"] == "digits"  # needs no download


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


def test_four_axes_are_crossed_and_reach_zero() -> None:
    spec = load("four_axes", "paper")
    (arm,) = spec.arms
    grid = arms(spec)[arm.label]
    assert 0 in grid["isometry_strength"] and 0 in grid["replacement_rate"]
    assert {s["width"] for s in arm.network.settings} == {5, 10, 20}
    assert spec.size == 3 * 4 * 5 * 5 * 100


def test_only_studies_ship() -> None:
    assert sorted(path.name for path in STUDIES.iterdir()) == [f"{name}.yaml" for name in NAMES]
