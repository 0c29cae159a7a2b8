"""What a sweep is allowed to say and hardly means: told in `plan` and `run`, one sentence each."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.service import plan

SWEEP = """
workload: {{name: slowly_changing_regression, tasks: {tasks}, period: 100, batch: {batch}, task_boundaries: shown}}
network: {{width: 5, depth: {depth}}}
dtype: {dtype}
seeds: 1
arms:
  one: {{{arm}}}
"""


def told(
    folder: Path, arm: str, *, tasks: int = 4, batch: int = 1, depth: int = 1, dtype: str = "float32"
) -> list[str]:
    """The warnings about one arm."""
    file = folder / "mine.yaml"
    file.write_text(SWEEP.format(arm=arm, tasks=tasks, batch=batch, depth=depth, dtype=dtype))
    return plan(file, storage=str(folder / "storage")).warnings()


CBP = "optimizer: sgd, continual_backprop: "


def test_a_threshold_that_no_unit_reaches(tmp_path: Path) -> None:
    (said,) = told(tmp_path, CBP + "{maturity_threshold: 100000}")
    assert (
        said
        == "arm one: continual_backprop replaces nothing: no unit is older than maturity_threshold 1e5 in 400 steps"
    )
    assert told(tmp_path, CBP + "{maturity_threshold: 100, replacement_rate: 1e-3}") == []  # 1e-3 x 5 units x 300


def test_a_rate_of_less_than_one_unit_and_the_rate_0_that_is_a_control(tmp_path: Path) -> None:
    (said,) = told(tmp_path, CBP + "{replacement_rate: [1e-4, 1e-5, 0.1]}")
    assert (
        said
        == "arm one: continual_backprop at replacement_rate 1e-5, 1e-4 comes to less than one of 5 units in 400 steps"
    )
    assert told(tmp_path, CBP + "{replacement_rate: 0, maturity_threshold: 100000}") == []


def test_a_network_without_units(tmp_path: Path) -> None:
    (said,) = told(tmp_path, CBP + "{}", depth=0)
    assert said == "arm one: continual_backprop has no unit to replace in a network without hidden layers"


def test_units_of_layers_of_different_widths_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    arm = CBP + "{replacement_rate: 1e-4}"
    text = SWEEP.format(arm=arm, tasks=4, batch=1, depth=1, dtype="float32")
    file.write_text(text.replace("width: 5, depth: 1", "widths: 7-4"))
    (said,) = plan(file, storage=str(tmp_path / "storage")).warnings()
    assert "comes to less than one of 11 units" in said


@pytest.mark.parametrize("utility", ["adaptable_contribution", "zero_contribution", "feature_by_input"])
def test_a_utility_that_is_0_for_every_unit(utility: str, tmp_path: Path) -> None:
    arm = CBP + "{{utility_decay: {}, utility: {}, replacement_rate: 0.01}}"
    (said,) = told(tmp_path, arm.format(0, utility))
    assert "is 0 for every unit at batch 1 with utility_decay 0" in said
    assert told(tmp_path, arm.format(0, utility), batch=2) == []
    assert told(tmp_path, arm.format(0, "contribution")) == told(tmp_path, arm.format(0.5, utility)) == []


def test_a_choice_that_rounding_makes(tmp_path: Path) -> None:
    arm = CBP + "{{maturity_threshold: {}, replacement_rate: 0.05}}"
    (said,) = told(tmp_path, arm.format(0))
    assert "with maturity_threshold 0 rounding decides which unit is replaced" in said
    assert told(tmp_path, arm.format(1)) == told(tmp_path, arm.format(0), batch=2) == []


def test_what_acts_at_tasks_needs_a_second_one(tmp_path: Path) -> None:
    for arm in (
        "optimizer: sgd, reset: {}",
        "optimizer: sgd, shrink_and_perturb: {when: task}",
        "optimizer: sgd, fire: {}",
    ):
        (said,) = told(tmp_path, arm, tasks=1)
        assert said.endswith("acts as a new task begins, and this stream has only one task")
        assert told(tmp_path, arm) == []


def test_decay_that_float32_rounds_away_where_weights_are_taken_step_by_step(tmp_path: Path) -> None:
    arm = "optimizer: {}, step_size: 0.01, l2: {{strength: {}}}"
    (said,) = told(tmp_path, arm.format("sgd", "1e-6"))
    assert "path lanes" in said and "step_size x strength = 1e-8," in said
    assert told(tmp_path, arm.format("sgd", "1e-5")) == told(tmp_path, arm.format("adam", "1e-6")) == []
    assert told(tmp_path, arm.format("sgd", "1e-6"), dtype="float64") == []


def test_looks_that_take_longer_than_the_training(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    head = "workload: {name: permuted_mnist, dataset: digits, tasks: 100, examples_per_task: 100}\n"
    head += "network: {width: 400, depth: 2}\narms: {one: {optimizer: sgd}}\n"
    for metrics, every, times in (
        # 16 examples, for each the look and 6 x 400 passes, three of which are a step: 128 times the 100 steps.
        ("layer_jacobian_mean, dead_fraction", 1, 100),
        ("layer_jacobian_mean, dead_fraction", 20, 8),  # at tasks 0, 20, 40, 60, 80 and 99
        # 100 examples, for each the look, another and 4 x 400 / 100 passes.
        ("rank_99", 1, 6),
        ("ntk_condition", 1, None),
    ):
        file.write_text(f"{head}metrics: [{metrics}]\ndiagnostics: {{every: {every}, probe: 100}}\n")
        warnings = plan(file, storage=str(tmp_path / "storage")).warnings()
        said = f"arm one: looking at the networks takes about {times} times as long as training them with plain SGD:"
        said += f" a larger diagnostics.every looks less often, and the dearest is {metrics.partition(',')[0]}"
        assert warnings == [said] * (times is not None)


def test_recycling_that_never_comes_or_goes_by_one_example(tmp_path: Path) -> None:
    (said,) = told(tmp_path, "optimizer: sgd, redo: {}")
    assert said == "arm one: redo recycles nothing: its period 1000 is not over within 400 steps"
    (said,) = told(tmp_path, "optimizer: sgd, redo: {preset: reinforcement}")
    assert said.startswith("arm one: redo with score batch at batch 1 recycles what one example leaves silent")
    assert told(tmp_path, "optimizer: sgd, redo: {period: 100}") == []
    assert told(tmp_path, "optimizer: sgd, redo: {preset: reinforcement}", batch=4) == []
    (said,) = told(tmp_path, "optimizer: sgd, redo: {period: 100}", depth=0)
    assert said == "arm one: redo has no unit to recycle in a network without hidden layers"


def test_projecting_a_network_without_norms_and_hidden_matrices_that_are_not_there(tmp_path: Path) -> None:
    arm = "optimizer: sgd, normalise_and_project: {{}}, network: {{biases: false, normalisation: {}}}"
    (said,) = told(tmp_path, arm.format("none"))
    assert said == (
        "arm one: normalise_and_project without norms rescales what the network computes: the paper projects networks "
        "that are normalised before every nonlinearity, here mlp with normalisation layer_plain and biases "
        "false"
    )
    assert told(tmp_path, arm.format("layer_plain")) == told(tmp_path, arm.format("layer")) == []
    for method in ("normalise_and_project", "parseval"):
        (said,) = told(tmp_path, f"optimizer: sgd, {method}: {{}}", depth=0)
        assert said == f"arm one: {method} has no weight matrix to act on in a network without hidden layers"


def test_layer_scales_that_a_norm_takes_back(tmp_path: Path) -> None:
    arm = "optimizer: sgd, network: {{layer_scale: true, normalisation: {}}}"
    (said,) = told(tmp_path, arm.format("layer_plain"))
    assert said == (
        "arm one: layer_scale acts before layer norm, which takes it back: only its size beside the biases is left"
    )
    assert told(tmp_path, arm.format("none")) == told(tmp_path, arm.format("online")) == []
