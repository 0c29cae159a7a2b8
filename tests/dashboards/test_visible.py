"""Nothing that a study draws is blank: every panel of every figure, at every scale, shows something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards.figures import FIGURES
from sweep.spec.axes import Section
from sweep.spec.model import Arm, Spec
from sweep.spec.reading import parse
from sweep.spec.studies import load, studies
from sweep.trials import Trial

SCALES = [
    pytest.param(study.name, scale, marks=[] if scale in ("smoke", "laptop") else pytest.mark.slow)
    for study in studies()
    for scale in study.trials
]
MOST_TASKS = 12


def thinned(spec: Spec) -> Spec:
    """A study with two values an axis of methods and optimizers, one seed and few tasks: as many panels and arms."""

    def ends(section: Section) -> Section:
        few = {axis: ends_of(setting[axis] for setting in section.settings) for axis in section.axes}
        kept = [setting for setting in section.settings if all(repr(setting[axis]) in few[axis] for axis in few)]
        return replace(section, settings=tuple(kept))

    def arm(given: Arm) -> Arm:
        return replace(given, optimizer=ends(given.optimizer), methods=tuple(ends(method) for method in given.methods))

    short = [{**s, "tasks": min(s["tasks"], MOST_TASKS)} if "tasks" in s else s for s in spec.workload.settings]
    workload = replace(spec.workload, settings=tuple(short))
    return replace(spec, seeds=(0,), workload=workload, arms=tuple(arm(each) for each in spec.arms))


def ends_of(values: Iterable[object]) -> set[str]:
    """The first and the last of an axis, as they are written."""
    distinct = list(dict.fromkeys(map(repr, values)))
    return {distinct[0], distinct[-1]}


def visible(artist: Line2D) -> bool:
    """Whether a line shows: two neighbouring points, or a marked one."""
    y = np.asarray(artist.get_ydata(), dtype=float)
    known = np.isfinite(y)
    if artist.get_linestyle() not in ("None", "") and (known[:-1] & known[1:]).any():
        return True
    places = artist.get_markevery()
    marked = known if places is None else known[np.asarray(places, dtype=int)]
    return artist.get_marker() not in ("None", "", None) and bool(marked.any())


def panels(figure: Figure) -> Iterator[Axes]:
    """The axes that are panels: switched on, and no key to colours."""
    for axes in figure.axes:
        if axes.axison and axes.get_visible() and axes.get_label() != "<colorbar>":
            yield axes


def blank(axes: Axes) -> bool:
    """Whether nothing but the frame is there."""
    return not (any(visible(line) for line in axes.lines if line.get_gid()) or axes.patches or axes.texts)


def drawn(spec: Spec, values: synthetic.Values = synthetic.flat) -> dict[str, tuple[pd.DataFrame, Figure]]:
    """The figures of a sweep with results that nobody computed."""
    made = synthetic.sweep(spec, values)
    trials, curves = made.frames()
    found = {name: FIGURES[name].data(trials, curves) for name in spec.figures}
    return {name: (data, FIGURES[name].draw(data)) for name, data in found.items()}


@pytest.mark.parametrize(("study", "scale"), SCALES, ids=lambda part: str(part))
def test_every_panel_of_every_study_shows_something(study: str, scale: str) -> None:
    spec = thinned(load(study, scale))
    for name, (data, figure) in drawn(spec).items():
        for axes in panels(figure):
            assert not blank(axes), f"{name}: {axes.get_title() or axes.get_ylabel()}"
        if name == spec.figures[0]:
            shown = set(data.get("source", data["arm"])) | set(data["arm"]) | set(data.get("baseline", []))
            assert shown >= {arm.label for arm in spec.arms}, "the study's first figure has every arm of the file"


FILE = """\
workload: {name: slowly_changing_regression, tasks: TASKS, period: 100}
network: {width: [5, 20]}
seeds: 3
arms:
  backprop: {optimizer: sgd, step_size: [0.01, 0.003]}
  cbp: {optimizer: sgd, continual_backprop: {replacement_rate: [1e-4, 1e-3]}}
  adam: {optimizer: adam}
  linear: {optimizer: sgd, network: {depth: 0}}
metrics: [online_error, dormant_fraction, effective_rank]
diagnostics: {every: 1}
figures: [arms, error_over_time, four_axes]
"""


def test_two_tasks_are_two_marked_points() -> None:
    for name, (data, figure) in drawn(read(2)).items():
        if name != "four_axes":
            assert set(data["bin_tasks"]) == {1}
            lines = [line for axes in panels(figure) for line in axes.lines if line.get_gid()]
            assert lines and all(visible(line) and line.get_marker() != "None" for line in lines)


def read(tasks: int, *figures: str, text: str = FILE) -> Spec:
    """The file at so many tasks, with its own figures or those given."""
    spec = parse(text.replace("TASKS", str(tasks)), Path("mine.yaml"))
    return replace(spec, figures=figures or spec.figures)


def lost(arms: set[str], task: int) -> synthetic.Values:
    """Results in which these arms diverge in a task."""

    def values(trial: Trial, metric: str) -> np.ndarray:
        whole = synthetic.flat(trial, metric)
        if arms.intersection(trial.arms):
            whole[task:] = np.nan
        return whole

    return values


EVERYONE = {"backprop", "cbp", "adam", "linear"}


@pytest.mark.parametrize("arms", [{"adam"}, {"backprop"}, EVERYONE], ids=lambda arms: "+".join(sorted(arms)))
@pytest.mark.parametrize("task", [0, 1, 5])
def test_arms_that_diverged_wholly_are_drawn_as_such(arms: set[str], task: int) -> None:
    spec = read(12)
    for name, (_, figure) in drawn(spec, lost(arms, task)).items():
        figure.draw_without_rendering()
        said = "\n".join(text.get_text() for axes in panels(figure) for text in axes.texts)
        assert ("all\ndiverged" if name == "four_axes" else "3 of 3 diverged, from step") in said


def test_a_measure_that_is_nowhere_defined_leaves_its_panel_with_the_reason() -> None:
    def values(trial: Trial, metric: str) -> np.ndarray:
        return synthetic.flat(trial, metric) * (np.nan if metric == "effective_rank" else 1.0)

    [(_, figure)] = drawn(read(12, "arms"), values).values()
    figure.draw_without_rendering()
    [rank, *_] = [axes for axes in panels(figure) if axes.get_ylabel() == "effective rank"]
    assert any("3 of 3 undefined" in text.get_text() for text in rank.texts)


def test_a_mean_over_fewer_seeds_is_dotted_and_said() -> None:
    def values(trial: Trial, metric: str) -> np.ndarray:
        whole = synthetic.flat(trial, metric)
        if metric == "effective_rank" and trial.config["seed"] == 2 and "adam" in trial.arms:
            whole[6:] = np.nan
        return whole

    spec = read(12, "arms")
    [(data, figure)] = drawn(spec, values).values()
    part = data[(data["metric"] == "effective_rank") & (data["arm"] == "adam") & (data["panel"] == "width 5")]
    assert part["seeds"].to_list() == [3] * 6 + [2] * 6 and set(part["members"]) == {3}
    lines = {line.get_gid(): line for axes in panels(figure) for line in axes.lines if line.get_gid()}
    assert lines["width 5/effective_rank/adam"].get_linestyle() == ":"
    assert lines["width 5/online_error/adam"].get_linestyle() == "-"
    assert "Dotted: seeds are missing" in " ".join(" ".join(text.get_text().split()) for text in figure.texts)
    assert any("Adam: 1 of 3 undefined" in text.get_text() for axes in panels(figure) for text in axes.texts)


def test_every_linear_arm_has_a_line() -> None:
    arms = "  linear_adam: {optimizer: adam, network: {depth: 0}}\n"
    text = FILE.replace("metrics:", f"{arms}metrics:")
    [(data, figure)] = drawn(read(12, "arms", text=text)).values()
    assert set(data.loc[data["line"] == "linear", "arm"]) == {"linear learner, linear", "linear learner, linear adam"}
    [legend] = figure.legends
    assert "linear learner, linear adam" in [text.get_text() for text in legend.get_texts()]


def test_error_over_time_says_which_arms_it_leaves_out() -> None:
    figure = drawn(read(12))["error_over_time"][1]
    said = " ".join(" ".join(text.get_text().split()) for text in figure.texts)
    assert "Not shown, as they have methods: cbp; the figure `arms` has all." in said
