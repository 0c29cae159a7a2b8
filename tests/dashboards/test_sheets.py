"""Figures on paper and slides, with the options of `sweep figure`, and drawn again from their CSV."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import synthetic
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from dashboards import figures, fitting, sheets
from dashboards.figures.panels import Asked
from dashboards.sheets import Sheet
from sweep.errors import InputError
from sweep.trials import Trial

PAPER = Sheet(style="paper")
ARMS = {
    "backprop": "optimizer: sgd, step_size: [0.01, 0.003]",
    "adam": "optimizer: adam",
    "l2": "optimizer: sgd, l2: {strength: [1e-4, 1e-3]}",
    "cbp": "optimizer: sgd, continual_backprop: {replacement_rate: [1e-4, 1e-3]}",
    "snp": "optimizer: sgd, shrink_and_perturb: {strength: 1e-4, perturb_scale: 1e-5}",
    "adamo": "optimizer: adamo, isometry_strength: [1e-2, 1e-1]",
    "mine": "optimizer: sgd, l2: {strength: 0.5}",
    "linear": "optimizer: sgd, network: {depth: 0}",
}
EIGHT = synthetic.regression(
    ARMS,
    tasks=12,
    seeds=3,
    width=5,
    metrics="online_error, dormant_fraction, effective_rank",
    more="diagnostics: {every: 1}\nfigures: [arms, error_over_time]\n",
)


def made(values: synthetic.Values = synthetic.flat) -> SimpleNamespace:
    sweep = synthetic.sweep(EIGHT, values)
    return SimpleNamespace(record=sweep.record, ledger=sweep)


def table(name: str = "arms", asked: Asked = figures.ALL, values: synthetic.Values = synthetic.flat) -> pd.DataFrame:
    sweep = made(values)
    return figures.table(name, sweep.record, sweep.ledger, asked)


def shades(figure: Figure) -> int:
    return sum(isinstance(part, PolyCollection) for axes in figure.axes for part in axes.collections)


@pytest.mark.parametrize("name", ["arms", "error_over_time"])
def test_a_paper_has_a_bare_picture_at_its_real_size_and_the_caption_beside_it(name: str, tmp_path: Path) -> None:
    sweep = made()
    paths = figures.render(name, sweep.record, sweep.ledger, tmp_path, sheet=PAPER)
    assert [path.suffix for path in paths] == [".png", ".svg", ".pdf", ".txt", ".csv"]
    figure = figures.picture(table(name), PAPER)
    figure.draw_without_rendering()
    assert figure.texts == [] and not any(axes.texts for axes in figure.axes)
    assert figure.get_size_inches()[0] in (sheets.SINGLE, sheets.DOUBLE)
    caption = paths[3].read_text()
    for said in (
        "over 3 seeds",
        "95 % interval",
        "interval: 95% of the mean by Student's t",
        "last tenth of the tasks, selected on these same seeds",
        "sweep synthe",
    ):
        assert said in caption
    assert b"FontFile2" in paths[2].read_bytes(), "its text stays text"


def test_all_panels_of_a_row_have_one_range_of_steps() -> None:
    for sheet in (sheets.SCREEN, PAPER):
        figure = figures.picture(table(), sheet)
        assert len({axes.get_xlim() for axes in figure.axes}) == 1
        assert {tick for axes in figure.axes for tick in axes.get_xticks()} == {0, 250, 500, 750, 1000}


def test_eight_lines_on_a_paper_have_their_intervals_at_their_ends() -> None:
    data = table()
    assert shades(figures.picture(data)) > 8 and shades(figures.picture(data, PAPER)) == 0
    few = table(asked=Asked(arms=("backprop", "cbp")))
    assert shades(figures.picture(few, PAPER)) == 6  # two arms, three metrics
    axes = figures.picture(data, PAPER).axes[0]
    ends = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert len(ends) == 8 and all(1200 < line.get_xdata()[0] < axes.get_xlim()[1] for line in ends)
    last = data[data["metric"] == "online_error"].groupby("arm", sort=False)["mean"].last()
    np.testing.assert_allclose(sorted(line.get_ydata()[0] for line in ends), sorted(last))


def test_numbers_below_a_narrow_panel_can_be_read() -> None:
    long = synthetic.sweep(EIGHT.replace("period: 100", "period: 100000").replace("tasks: 12", "tasks: 5"))
    figure = figures.picture(figures.table("arms", long.record, long), Sheet(style="paper", width=3.5))
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
        assert len(boxes) >= 2 and all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_a_slide_with_many_lines_has_no_shades() -> None:
    data = table()
    assert shades(figures.picture(data, Sheet(style="slide"))) == 0
    assert "at the right: that of the last point" in figures.arms.caption(data, Sheet(style="slide")).text


def test_what_a_paper_leaves_out_of_the_panels_is_in_the_caption() -> None:
    def values(trial: Trial, metric: str) -> np.ndarray:
        whole = synthetic.flat(trial, metric)
        whole[6 if "adam" in trial.arms else 12 :] = np.nan
        return whole

    data = table(values=values)
    assert "online squared error, relu, Adam: 3 of 3 diverged, from step 800." in figures.arms.caption(data, PAPER).text
    assert "diverged, from" not in figures.arms.caption(data).text


def test_arms_and_metric_that_are_asked_for_are_all_that_is_shown() -> None:
    data = table(asked=Asked(arms=("cbp", "linear"), metric="effective_rank"))
    assert set(data["arm"]) == {"cbp"} and set(data["metric"]) == {"effective_rank"}
    every = table()
    whole = every[(every["arm"] == "cbp") & (every["metric"] == "effective_rank")].reset_index(drop=True)
    pd.testing.assert_frame_equal(data[["group", "mean", "ci_low"]], whole[["group", "mean", "ci_low"]])
    with pytest.raises(InputError, match="unknown arm 'adm': did you mean 'adam'"):
        table(asked=Asked(arms=("adm",)))
    with pytest.raises(InputError, match="unknown metric 'efective_rank'"):
        table(asked=Asked(metric="efective_rank"))
    with pytest.raises(InputError, match="no values of stable_rank: add it to `metrics:`"):
        table(asked=Asked(metric="stable_rank"))


def test_a_logarithmic_axis_is_of_values_above_zero() -> None:
    data = table(asked=Asked(metric="online_error"))
    assert figures.picture(data, Sheet(log=True)).axes[0].get_yscale() == "log"
    with pytest.raises(InputError, match="online squared error has no value above 0 here.*leave out --log"):
        figures.picture(data.assign(mean=-1.0), Sheet(log=True))


@pytest.mark.parametrize("sheet", [sheets.SCREEN, PAPER, Sheet(style="slide")], ids=lambda sheet: sheet.style)
def test_a_width_is_the_width(sheet: Sheet) -> None:
    wide = Sheet(style=sheet.style, width=5.0)
    assert figures.picture(table(), wide).get_size_inches()[0] == 5.0
    if sheet.style == "slide":
        np.testing.assert_allclose(figures.picture(table(), sheet).get_size_inches(), (10, 5.625))


def test_a_figure_is_drawn_again_from_its_csv(tmp_path: Path) -> None:
    sweep = made()
    first = figures.render("arms", sweep.record, sweep.ledger, tmp_path / "a", sheet=PAPER)
    again = figures.redraw(first[-1], tmp_path / "b", PAPER)
    assert [path.name for path in again] == ["arms.png", "arms.svg", "arms.pdf", "arms.txt"]
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in first[:-1]]
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"other.csv is no figure's CSV"):
        figures.redraw(other, tmp_path / "c")
    pd.read_csv(first[-1]).drop(columns="mean").to_csv(other, index=False)
    with pytest.raises(InputError, match="lacks the column 'mean'"):
        figures.redraw(other, tmp_path / "c")


def test_a_notebook_shows_a_figure_at_its_size() -> None:
    content, shown = figures.picture(table(), PAPER)._repr_png_()  # type: ignore[attr-defined]
    assert content.startswith(b"\x89PNG") and shown["width"] == 96 * sheets.SINGLE
    assert int.from_bytes(content[16:20]) == 2 * shown["width"]


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = dict(mpl.rcParams)
    figures.picture(table(), Sheet(style="slide", log=True))
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("arms", [["cbp", "adam"], "cbp, adam"], ids=["listed", "as an option has them"])
def test_a_plot_in_python_is_the_same_figure(arms: str | list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import sweep
    from sweep import lookup

    synthetic_sweep = made()
    monkeypatch.setattr(lookup, "find_sweep", lambda ledger, name, scale: synthetic_sweep.record)
    monkeypatch.setattr("sweep.ledger.ledger.Ledger", lambda storage: synthetic_sweep.ledger)
    figure = sweep.plot("mine", "arms", arms=arms, style="paper")
    own = figures.picture(table(asked=Asked(arms=("cbp", "adam"))), PAPER)
    assert [line.get_gid() for line in figure.axes[0].lines] == [line.get_gid() for line in own.axes[0].lines]
    assert figure.get_size_inches()[0] == sheets.SINGLE and figure.texts == []


@pytest.mark.parametrize(
    ("metric", "means", "half", "limits"),
    [
        ("online_error", [1.5, 1.0], 12.7, (0.0, 2.5)),  # 0 is its lower bound, and 1.5 + 2 (1.5 - 1) the most shown
        ("dormant_fraction", [0.3, 0.5], 2.0, (0.0, 0.9)),
        ("online_accuracy", [0.8, 0.9], 6.0, (0.6, 1.0)),  # 0.8 - 2 (0.9 - 0.8)
        ("online_error", [2.0, 2.0], 3.0, (1.6, 2.4)),  # a flat line has a tenth of its height for one span
    ],
)
def test_intervals_of_few_seeds_leave_a_panel_and_its_lines_fill_it(
    metric: str, means: list[float], half: float, limits: tuple[float, float]
) -> None:
    line = pd.DataFrame({"arm": "sgd", "metric": metric, "mean": means})
    line = line.assign(ci_low=line["mean"] - half, ci_high=line["mean"] + half)
    axes = Figure().subplots()
    fitting.to_values(axes, line, ["arm"])
    edge = 0.05 * (limits[1] - limits[0])
    assert axes.get_ylim() == pytest.approx((limits[0] - edge, limits[1] + edge))


@pytest.mark.parametrize(
    ("metric", "means", "half", "limits"),
    [
        ("test_accuracy", [-0.1, 0.05], 1.5, (-0.4, 0.35)),  # -0.1 - 2 (0.05 + 0.1)
        ("test_accuracy", [0.4, 0.6], 3.0, (-1.0, 1.0)),  # accuracies cannot be further apart
        ("online_error", [0.2, 0.3], 2.0, (-0.6, 0.9)),  # 0 is what is compared with, and has no upper bound
    ],
)
def test_intervals_of_few_differences_leave_a_panel_too(
    metric: str, means: list[float], half: float, limits: tuple[float, float]
) -> None:
    line = pd.DataFrame({"metric": metric, "mean": means})
    axes = Figure().subplots()
    fitting.to_differences(axes.set_ylim, line.assign(ci_low=line["mean"] - half, ci_high=line["mean"] + half))
    edge = 0.05 * (limits[1] - limits[0])
    assert axes.get_ylim() == pytest.approx((limits[0] - edge, limits[1] + edge))


@pytest.mark.parametrize(("metric", "top"), [("average_return", 4000.0), ("online_error", 100.0)])
def test_a_line_far_above_others_leaves_the_panel_unless_more_is_better(metric: str, top: float) -> None:
    lines = pd.DataFrame({"arm": ["sgd", "adam", "l2"], "metric": metric, "mean": [90.0, 100.0, 4000.0]})
    axes = Figure().subplots()
    axes.plot(lines["mean"])
    fitting.to_values(axes, lines.assign(ci_low=lines["mean"], ci_high=lines["mean"]), ["arm"])
    low, high = axes.get_ylim()
    assert low <= 100 and top <= high < 1.1 * top


def test_an_axis_is_left_alone_where_everything_fits() -> None:
    line = pd.DataFrame({"arm": "sgd", "metric": "online_error", "mean": [1.5, 1.0], "ci_low": 0.9, "ci_high": 1.7})
    axes = Figure().subplots()
    fitting.to_values(axes, line, ["arm"])
    assert axes.get_autoscaley_on()
