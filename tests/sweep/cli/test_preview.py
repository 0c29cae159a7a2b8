"""`sweep plan`: one screen, whatever the grid: alike packs in a row, each reason once, the axes rows differ in."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import TINY

from sweep import service
from sweep.cli import preview
from sweep.cluster import calibration, placement


def planned(tmp_path: Path, text: str, workers: int = 2) -> service.Plan:
    file = tmp_path / "tiny.yaml"
    file.write_text(text)
    return service.plan(file, storage=str(tmp_path / "st"), workers=workers)


@pytest.mark.usefixtures("alone")
def test_rows_say_in_what_they_differ_and_a_reason_is_said_once(tmp_path: Path) -> None:
    grown = TINY.replace("width: 3", "width: [3, 20], activation: [relu, tanh]")
    said = preview.as_text(planned(tmp_path, grown)).splitlines()
    head, *rows = said[3 : said.index("", 3)]
    assert head.split() == ["arms", "settings", "packs", "trials", "steps", "path", "memory", "time"]
    assert {re.split("  +", row)[1] for row in rows} == {
        "width 3, relu",
        "width 3, tanh",
        "width 20, relu",
        "width 20, tanh",
    }
    assert all("step size" not in row for row in rows), "it varies inside the packs"
    assert sum("members as SIMD lanes" in line for line in said) == 1


@pytest.mark.usefixtures("alone")
def test_what_a_linear_network_has_none_of_is_not_said(tmp_path: Path) -> None:
    """Without hidden layers there is neither a width nor an activation."""
    grid = TINY.replace("width: 3", "width: [3, 5], depth: [0, 1], activation: [relu, tanh]")
    rows = preview.as_text(planned(tmp_path, grid)).splitlines()
    [linear] = [row for row in rows if row.startswith("sgd ") and "depth" not in row]
    assert re.split("  +", linear)[1] == "linear"


@pytest.mark.usefixtures("alone")
def test_packs_of_one_kind_are_a_row(tmp_path: Path) -> None:
    said = preview.as_text(planned(tmp_path, TINY.replace("seeds: 2", "seeds: 1000"), workers=4))
    assert re.search(r"^sgd +16 +2,000 +200 +lanes", said, re.MULTILINE), said


@pytest.mark.usefixtures("alone")
def test_a_large_grid_fits_a_screen(tmp_path: Path) -> None:
    widths = list(range(1, 101))
    arms = "".join(f"  a{i}: {{optimizer: sgd, step_size: 0.1, network: {{width: {i + 200}}}}}\n" for i in range(40))
    grid = TINY.replace("width: 3", f"width: {widths}")
    said = preview.as_text(planned(tmp_path, grid)).splitlines()
    assert len(said) < 12 and any("width 1 to 100 (100 values)" in line for line in said)
    said = preview.as_text(planned(tmp_path, grid.replace("metrics:", f"{arms}metrics:"))).splitlines()
    assert len(said) < 30 and any("and 25 more such rows; --json lists every pack" in line for line in said)


@pytest.mark.usefixtures("alone")
def test_the_time_counts_the_start(tmp_path: Path) -> None:
    found = planned(tmp_path, TINY, workers=1)
    [pack] = found.packs
    calibration.record({calibration.key_of(pack): 30 / 200, placement.start_key(placement.HERE): 5.0})
    assert preview.as_text(found).splitlines()[-1] == (
        "about 35 s, 1 pack at once in this process (--ray: on Ray), 5 s of it to start; then figures, MLflow"
    )
    calibration.record({calibration.key_of(pack): 600 / 200, placement.start_key(placement.RAY): 20.0})
    assert preview.as_text(found).splitlines()[-1] == (
        "about 10 min, 1 pack at once on Ray, 20 s of it to start; then figures, MLflow"
    )


@pytest.mark.usefixtures("alone")
def test_begun_packs_are_one_line(tmp_path: Path) -> None:
    begun = [replace(pack, resumes=True) for pack in planned(tmp_path, TINY).packs]
    assert preview.reasons(begun) == ["1 pack that an earlier run began: from the last commit, on the path it took"]


@pytest.mark.usefixtures("alone")
def test_a_setting_at_the_default_that_it_came_with_leaves_no_comma(tmp_path: Path) -> None:
    grid = TINY.replace("width: 3", "width: [3, 5], normalisation: [none, layer]")
    rows = [row for row in preview.as_text(planned(tmp_path, grid)).splitlines() if row.startswith("sgd ")]
    said = {re.split("  +", row)[1] for row in rows}
    assert said == {"width 3", "width 5", "width 3, normalisation layer", "width 5, normalisation layer"}


@pytest.mark.parametrize("name", ["isometry_lens", "expressiveness"])
@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_kernels_and_jacobians_take_a_tenth_of_the_training_at_most(name: str, scale: str, tmp_path: Path) -> None:
    """Of the studies that record them, at their schedules."""
    found = service.plan(name, scale=scale, storage=str(tmp_path), workers=2)
    recorded = {metric for pack in found.packs for metric in pack.trials[0].config["metrics"]}
    assert {"ntk_condition", "input_output_jacobian_max"} & recorded
    share, _ = preview.share_of_looks(found.packs, {})
    assert 0 < share < 0.1


@pytest.mark.usefixtures("alone")
def test_a_plan_says_what_share_of_it_diagnostics_take(tmp_path: Path) -> None:
    """By a guess of both parts' seconds, by the clock once that was read; nothing where there are none."""
    found = planned(tmp_path, TINY.replace("effective_rank]", "effective_rank, hessian_max]"), workers=1)
    share, how = preview.share_of_looks(found.packs, {})
    [pack] = found.packs
    looks, training = placement.guessed_looks(pack), placement.guessed_training(pack)
    assert share == pytest.approx(looks / (training + looks)) and how == preview.GUESSED
    [said] = [line for line in preview.as_text(found).splitlines() if line.startswith("diagnostics")]
    of_it = f"{100 * share:.0f} % of the run {preview.GUESSED}"
    assert said == f"diagnostics, every task: {of_it}, most of it for hessian_max"
    calibration.record({calibration.key_of(pack): 0.4, calibration.looks_key(pack): 0.1})
    assert "diagnostics, every task: 25 % of the run as measured" in preview.as_text(found)
    assert preview.as_data(found)["diagnostics_share"] == pytest.approx(0.25)
    none = planned(tmp_path, TINY.replace(", effective_rank]", "]"))
    assert "diagnostics" not in preview.as_text(none)


def test_the_plan_of_nothing_has_no_diagnostics(tmp_path: Path) -> None:
    found = replace(planned(tmp_path, TINY), packs=[])
    assert preview.as_data(found)["diagnostics_share"] == 0
