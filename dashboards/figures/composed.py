"""A paper's figure as panels of curves: which lines each of them has is declared, and drawn here for all of them.

A figure's file makes a `Composed` of its panels and offers what that has. What a sweep has no lines for is left out: a
paper's figure may come from two sweeps, each of which draws its part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards import fitting, theme
from dashboards.figures import panels, relative
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page, points
from sweep.errors import InputError
from sweep.results import frames, naming, selections
from sweep.results.bands import curve_bands
from workloads.metrics import HEADLINES

ARM, EACH = "arm", "each"
MOST_ROOM = 0.6  # of a panel's height, for its own legend
MOST_IN_A_COLUMN = 4  # entries of a panel's own legend
MOST_SETTINGS = 2 * MOST_IN_A_COLUMN  # of an arm that are shown each


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel, or with lines `each` one for every arm."""

    title: str
    metric: str | None = None  # None: what the sweep is judged by
    lines: str = ARM  # arm: every arm at its best; each: every setting of one arm; or a column: plain SGD at each value
    first: int | None = None  # tasks that are shown; None: all
    tasks_per_point: int = 1  # of what is judged; fewer where few points would be left
    by_steps: bool = False  # the axis below it; else by tasks
    beside_scratch: bool = False  # minus the network trained from scratch, paired by seed


@dataclass(frozen=True, slots=True)
class Composed:
    """What the module of a figure offers, for these panels."""

    panels: tuple[Panel, ...]
    title: str  # after the workload's name

    def METRICS(self, recorded: Iterable[str]) -> tuple[str, ...]:
        """What it reads."""
        return (*HEADLINES, *(panel.metric for panel in self.panels if panel.metric))

    def data(self, trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
        """One row per panel, line and point: kind (arm, linear, value), line (its name), value, arm, candidates, x, ...

        Raises InputError where no panel has lines, and where a metric is asked for: a paper's figure has its own.
        """
        if asked.metric:
            raise InputError("a paper's figure shows the metrics of the paper: leave out --metric")
        source = _Source(trials, curves, asked)
        parts = [part for panel in self.panels for part in _rows(panel, source)]
        if not parts:
            titles = naming.listed([panel.title for panel in self.panels])
            raise InputError(f"this sweep has nothing for any panel of the figure, which are: {titles}")
        facts = {key: value for key, value in panels.facts(trials, asked).items() if key != "bin_tasks"}
        return pd.concat(parts, ignore_index=True).assign(**facts)

    def caption(self, data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
        """What a line and its shade are, and how settings were chosen."""
        looks = theme.looks(data["arm"])
        text = theme.averaged(data, "", ends=_crowded(data, sheet)) + theme.dotted(data)
        if (data["kind"] == "linear").any():
            text += " Dashed: the linear learner at its best step size."
        if ((data["kind"] == EACH) & (data["candidates"] > 1)).any():
            text += f" Of more than {MOST_SETTINGS} settings of an arm the best for each value of the last named."
        text += theme.selected(data)

        def called(panel: str, line: object, arm: str) -> str:
            return f"{panel}, {_called(line, arm, looks)}"

        text += theme.lost(data.assign(step=data["x"]), ["panel", "line", "arm"], called, sheet)
        return Caption(f"{theme.workload(data['workload'].iloc[0])}: {self.title}", text)

    def draw(self, data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
        """The picture of `data`."""
        looks = theme.looks(data["arm"])
        titles = list(dict.fromkeys(data["panel"]))
        columns = sheet.columns(len(titles), 2.5)
        down = -(-len(titles) // columns)
        arms = _lines(data[data["panel"].isin(data.loc[data["kind"] == ARM, "panel"])])
        handles = [_handle(line, looks) for line in arms]
        with sheet.settings():
            width = sheet.across(max(6.4, 2.5 * columns), columns)
            figure = page(sheet, width, 2.3 * down, self.caption(data, sheet), handles)
            grid = panels.grid(figure, len(titles), columns)
            for axes, title in zip(grid.flat, titles, strict=False):
                _panel(axes, data[data["panel"] == title], looks, sheet, _crowded(data, sheet))
            figure.draw_without_rendering()  # lays it out
            for axes in grid.flat:
                _make_room(axes)
        return figure


class _Source:
    """A sweep as all panels read it."""

    def __init__(self, trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked) -> None:
        self.trials, self.curves, self.asked = trials, curves, asked
        self.judged = frames.headline(trials)
        self.recorded = frozenset(frames.recorded_metrics(trials))
        self.ended = panels.finished(trials, asked)
        self.late = selections.judged(self.ended, curves)
        self._within: dict[str, pd.DataFrame] = {}

    def within(self, metric: str) -> pd.DataFrame:
        """`panels.within`, which several panels may show."""
        if metric not in self._within:
            self._within[metric] = panels.within(self.ended, self.curves, metric, self.asked)
        return self._within[metric]


def _rows(panel: Panel, source: _Source) -> Iterator[pd.DataFrame]:
    """The lines of a panel with their points; of several with lines `each`, of none where the sweep has no such."""
    metric = panel.metric or source.judged
    if metric not in source.recorded:
        return
    if panel.beside_scratch:
        rows = relative.data(source.trials, source.curves, source.asked).rename(columns={"setting": "line"})
        yield _points(panel, rows.assign(kind=ARM, value=float("nan"), metric=metric))
        return
    best = _chosen(panel, source.ended, source.late)
    if best.empty:
        return
    if not panels.measured_on_linear(metric):
        best = best[best["kind"] != "linear"]
    least = int(source.ended["tasks"].min()) // panels.FEWEST_BINS
    width = max(1, min(panel.tasks_per_point, least)) if metric == source.judged and panel.first is None else 1
    rows = best.merge(curve_bands(source.within(metric), best, source.asked.summary, width=width), on=["arm", "group"])
    if panel.lines != EACH:
        yield _points(panel, rows)
        return
    for arm, own in rows.groupby("arm", sort=False, observed=True):
        yield _points(panel, own).assign(panel=theme.looks([str(arm)])[str(arm)].label)


def _chosen(panel: Panel, ended: pd.DataFrame, late: pd.DataFrame) -> pd.DataFrame:
    """The settings that are a panel's lines: kind, line (its name), value, arm, setting, group, candidates."""
    networks, linear = frames.split(ended)
    own = linear[~linear["arm"].isin(networks["arm"].unique())]
    alone = _of_one_network(networks)
    if panel.lines == ARM:
        best = selections.best_settings(alone, late, ["arm"]).assign(kind=ARM, value=float("nan"))
    elif panel.lines == EACH:
        best = pd.concat([_settings(own, late) for _, own in alone.groupby("arm", sort=False)]).assign(kind=EACH)
        best["value"] = best.groupby("arm").cumcount().astype(float)
    else:
        plain = _at(panel.lines, panels.plain(networks))
        if plain.empty:
            return plain
        best = selections.best_settings(plain, late, [panel.lines]).assign(kind="value")
        best["value"] = best[panel.lines].astype(float)
    if panel.lines != EACH and len(own):
        straight = selections.best_settings(own, late, []).assign(kind="linear", value=float("nan"))
        best = pd.concat([best, straight], ignore_index=True)
    if best.empty:
        return best
    straight_or_not = ["linear" if kind == "linear" else "network" for kind in best["kind"]]
    told = panels.settings(best.assign(source=best["arm"], line=straight_or_not), ended)
    values = [naming.setting({panel.lines: value}) for value in best["value"]]
    best["line"] = [
        value if kind == "value" else text for kind, text, value in zip(best["kind"], told, values, strict=True)
    ]
    best["place"] = best["kind"].eq("linear")
    lines = theme.in_order(best, ["place", "arm", "value"])
    return lines[["kind", "line", "value", "arm", "group", "candidates"]]


def _settings(own: pd.DataFrame, late: pd.DataFrame) -> pd.DataFrame:
    """An arm's settings, none where it has one alone: arm, group, candidates. Of too many to be told apart, the best
    for each value of the hyperparameter that is named last.
    """
    groups = own["group"].nunique()
    columns = panels.hyperparameters(own, frames.panel_axes(own))
    if groups > MOST_SETTINGS and len(columns) > 1:
        best = selections.best_settings(own, late, ["arm", columns[-1]]).sort_values(columns[-1])
        return best[["arm", "group", "candidates"]]
    return own[["arm", "group"]].drop_duplicates().assign(candidates=1).iloc[: groups if groups > 1 else 0]


def _of_one_network(networks: pd.DataFrame) -> pd.DataFrame:
    """The arms within which neither network nor workload vary: no line can stand for several. All where none is so."""
    several = [arm for arm, own in networks.groupby("arm") if frames.varying(own, "network.", "workload.")]
    rows = networks[~networks["arm"].isin(several)]
    return rows if len(rows) else networks


def _at(column: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of arms in which this column takes several values; of step sizes, which all have, one will do."""
    if column not in rows:
        return rows.iloc[:0]
    several = rows[rows.groupby("arm")[column].transform("nunique") > 1]
    return _of_one_network(rows) if several.empty and column == panels.STEP_SIZE and len(rows) else several


def _points(panel: Panel, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that a panel shows, each with its place on the axis below."""
    shown = rows if panel.first is None else rows[rows["task"] < panel.first]
    x = shown["step"] if panel.by_steps else shown["task"] + 1
    columns = ["kind", "line", "value", "arm", "group", "candidates", "metric", "task", "step"]
    numbers = ["mean", "ci_low", "ci_high", "seeds", "diverged", "members"]
    about = {"panel": panel.title, "lines": panel.lines, "x": x, "axis": "steps" if panel.by_steps else "task"}
    return shown[[*columns, *numbers]].assign(**about, gap=panel.beside_scratch)


def _crowded(data: pd.DataFrame, sheet: Sheet) -> bool:
    """Whether a panel has more lines than shades could be told apart."""
    return sheet.crowded(max(len(_lines(part)) for _, part in data.groupby("panel")))


Line = tuple[str, str, str, float]  # kind, line, arm, share of the way from the smallest value to the largest


def _lines(part: pd.DataFrame) -> list[Line]:
    """The lines of a panel, in order."""
    seen = part.drop_duplicates(["kind", "line", "arm"])
    values = sorted(seen["value"].dropna().unique())
    return [
        (
            row["kind"],
            _text(row["line"]),
            row["arm"],
            values.index(row["value"]) / max(len(values) - 1, 1) if row["value"] in values else 0.0,
        )
        for row in seen.to_dict("records")
    ]


def _text(found: object) -> str:
    """A text, which a CSV may have lost where it was empty."""
    return found if isinstance(found, str) else ""


def _called(line: object, arm: str, looks: dict[str, theme.Look]) -> str:
    """A line's name in a sentence."""
    return ", ".join(filter(None, (looks[arm].label, _text(line))))


def _look(line: Line, looks: dict[str, theme.Look]) -> dict[str, Any]:
    kind, _, arm, share = line
    if kind == "linear":
        return {"color": theme.LINEAR.color, "linestyle": "--", "zorder": 3}
    if kind == ARM:
        return {"color": looks[arm].color, "marker": looks[arm].marker}
    return {"color": theme.shade(share)}


def _handle(line: Line, looks: dict[str, theme.Look]) -> Line2D:
    """A line's entry in a legend; of the settings of one arm the values alone, as their names stand above the panel."""
    kind, text, arm, _ = line
    if kind == "linear":
        text = theme.LINEAR.label
    elif kind == ARM:
        text = f"{looks[arm].label} ({text})" if text else looks[arm].label
    elif kind == EACH:
        text = ", ".join(part.rpartition(" ")[2] for part in text.split(", "))
    return Line2D([], [], label=text, **_look(line, looks))


def _panel(axes: Axes, part: pd.DataFrame, looks: dict[str, theme.Look], sheet: Sheet, crowded: bool) -> None:
    """One panel's lines; those that are no arms, which the figure's legend has, with a legend of their own."""
    first, begin, last = part.iloc[0], theme.begin(part, "x"), float(part["x"].max())
    lines = _lines(part)
    lost = []
    for line, end in zip(lines, theme.ends(crowded, len(lines), begin, last), strict=True):
        kind, text, arm, _ = line
        same = part["line"].map(_text) == text
        rows = part[same & (part["kind"] == kind) & (part["arm"] == arm)].assign(step=lambda rows: rows["x"])
        theme.band(axes, rows, end=end, gid=f"{first['panel']}/{kind}/{arm}/{text}", **_look(line, looks))
        if said := theme.missing(rows):
            lost.append(f"{_called(text, arm, looks)}: {said.replace('from step', 'from')}")
    theme.notes(axes, lost, sheet)
    if first["gap"]:
        axes.axhline(0, color="#4D4D4D", linewidth=1, linestyle="--")
        fitting.to_differences(axes.set_ylim, part)
    else:
        fitting.to_values(axes, part, ["kind", "line", "arm"], sheet)
    whole = first["axis"] != "steps"
    theme.steps_axis(axes, begin, last, beyond=theme.beyond(crowded), whole=whole)
    axes.set_xlabel("task" if whole else theme.steps_label(first))
    axes.set_ylabel(sheet.upright(naming.metric(first["metric"])) + ("\nminus from scratch" if first["gap"] else ""))
    names = ", ".join(setting.rpartition(" ")[0] for setting in _text(first["line"]).split(", "))
    axes.set_title(f"{first['panel']}\n{names}" if first["kind"] == EACH else first["panel"])
    if first["kind"] != ARM:
        _key(axes, [_handle(line, looks) for line in lines])


def _key(axes: Axes, handles: list[Line2D]) -> None:
    """A panel's own legend, in its upper left corner."""
    columns = 1 + (len(handles) > MOST_IN_A_COLUMN)
    key = axes.legend(
        handles=handles,
        frameon=False,
        fontsize=points(6.5),
        handlelength=1.4,
        labelspacing=0.25,
        borderaxespad=0.2,
        loc="upper left",
        ncols=columns,
    )
    key.set_in_layout(False)  # or else it would take its room from all panels


def _make_room(axes: Axes) -> None:
    """A panel goes on above its lines, so that its legend covers none. The figure's layout must be known."""
    key = axes.get_legend()
    if key is None:
        return
    share = min(MOST_ROOM, key.get_window_extent().height / axes.get_window_extent().height)
    low, high = axes.get_ylim()
    ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
    unit, back = (np.log10, lambda value: 10.0**value) if axes.get_yscale() == "log" else (float, float)
    axes.set_ylim(low, back(unit(high) + share / (1 - share) * (unit(high) - unit(low))))
    axes.set_yticks(ticks)
