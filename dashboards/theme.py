"""How figures look: colours, names and order of arms, optimizers, activations and metrics, and what their lines say.

Colours are those of the palette; every arm also has a marker, another one wherever colours come near each other. A
label that is not known here, such as a user's own arm, keeps its text and takes a free colour. Nothing here changes
matplotlib's global settings or needs a display.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.typing import LineStyleType

from dashboards.sheets import SCREEN, TEXT, Sheet, points
from sweep.errors import InputError
from sweep.results import intervals, naming, palette, windows
from sweep.results.bands import FEW
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.metrics import higher_is_better
from workloads.reinforcement import CONTROLS
from workloads.streams import STREAMS

Color = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Look:
    """How one arm is drawn."""

    label: str
    color: str
    marker: str


# In the order in which figures list them.
ARMS: dict[str, Look] = {
    "backprop": Look("backprop", palette.ARMS["backprop"], "o"),
    "sgd": Look("SGD", palette.ARMS["sgd"], "o"),
    "adam": Look("Adam", palette.ARMS["adam"], "s"),
    "standard_adam": Look("Adam", palette.ARMS["standard_adam"], "p"),
    "equal_betas": Look("Adam, equal betas", palette.ARMS["equal_betas"], "s"),
    "adamw": Look("AdamW", palette.ARMS["adamw"], "p"),
    "l2": Look("L2", palette.ARMS["l2"], "v"),
    "shrink_and_perturb": Look("shrink and perturb", palette.ARMS["shrink_and_perturb"], "^"),
    "snp": Look("shrink and perturb", palette.ARMS["snp"], "^"),
    "continual_backprop": Look("continual backprop", palette.ARMS["continual_backprop"], "D"),
    "cbp": Look("continual backprop", palette.ARMS["cbp"], "D"),
    "continual_backprop_l2": Look("continual backprop + L2", palette.ARMS["continual_backprop_l2"], "X"),
    "adamo": Look("AdamO", palette.ARMS["adamo"], "P"),
    "coupled_isometry": Look("coupled isometry", palette.ARMS["coupled_isometry"], "h"),
    "muon": Look("Muon", palette.ARMS["muon"], "8"),
    "muon_isometry": Look("Muon + isometry pull", palette.ARMS["muon_isometry"], "h"),
    "upgd": Look("UPGD", palette.ARMS["upgd"], "d"),
    "l2_init": Look("L2 towards the initial weights", palette.ARMS["l2_init"], ">"),
    "parseval": Look("Parseval", palette.ARMS["parseval"], "<"),
    "spectral_regularisation": Look("spectral regularisation", palette.ARMS["spectral_regularisation"], "H"),
    "weight_clipping": Look("weight clipping", palette.ARMS["weight_clipping"], "d"),
    "normalise_and_project": Look("normalise and project", palette.ARMS["normalise_and_project"], ">"),
    "fire": Look("FIRE", palette.ARMS["fire"], "<"),
    "redo": Look("ReDo", palette.ARMS["redo"], "D"),
    "redo_l2": Look("ReDo + L2", palette.ARMS["redo_l2"], "d"),
    "reset": Look("reset", palette.ARMS["reset"], "*"),
    "input_normaliser": Look("input normaliser", palette.ARMS["input_normaliser"], "v"),
    "gradient_clipping": Look("gradient clipping", palette.ARMS["gradient_clipping"], "s"),
    "layer_norm": Look("layer norm", palette.ARMS["layer_norm"], "^"),
    "crelu": Look("CReLU", palette.ARMS["crelu"], ">"),
    "fourier": Look("deep Fourier features", palette.ARMS["fourier"], "X"),
    "head_reset": Look("head reset", palette.ARMS["head_reset"], "s"),
    "retrained": Look("retrained from scratch", palette.ARMS["retrained"], "*"),
    "cbp_adamo": Look("continual backprop + AdamO", palette.ARMS["cbp_adamo"], "X"),
    "continual_backprop_adamo": Look("continual backprop + AdamO", palette.ARMS["continual_backprop_adamo"], "X"),
}
SPARE_MARKERS = ("<", ">", "d", "*", "8", "H")
LINEAR = Look("linear learner", palette.ARMS["linear"], "")
DASHES: tuple[LineStyleType, ...] = ("--", "-.", (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))  # of linear learners

ACTIVATIONS = (
    *("relu", "leaky_relu", "elu", "swish", "selu", "tanh", "sigmoid", "linear"),
    *("crelu", "absolute", "fourier", "groupsort_2", "groupsort_4", "groupsort_8"),
)

MARGIN, BEYOND = 0.04, 0.24  # shares of the steps on both sides of a panel, and on the right where intervals stand
MOST_NOTES = 6  # lines in a panel's corner
BESIDE = 4.0  # letters' heights, which numbers and label of an axis take from a panel's width


def looks(arms: Iterable[str]) -> dict[str, Look]:
    """A look for every arm, no two alike, in the order in which to draw them: known arms first, then as
    given.
    """
    names = list(dict.fromkeys(arms))
    order = list(ARMS)
    names.sort(key=lambda name: order.index(name) if name in ARMS else len(order))
    colors = palette.colors(names)
    result: dict[str, Look] = {}
    for place, name in enumerate(names):
        look = ARMS.get(name)
        if look is None or look.color != colors[name]:
            marker = SPARE_MARKERS[place % len(SPARE_MARKERS)]
            look = Look(ARMS[name].label if name in ARMS else learner(name), colors[name], marker)
        result[name] = look
    labels = [look.label for look in result.values()]
    return {
        name: Look(naming.words(name), look.color, look.marker) if labels.count(look.label) > 1 else look
        for name, look in result.items()
    }


def in_order(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The rows sorted as figures list them: arms and activations in the theme's order, numbers by size."""

    def rank(column: pd.Series[Any]) -> pd.Series[Any]:
        if column.name == "arm":
            return column.map({arm: place for place, arm in enumerate(looks(column))})
        if column.name == "network.activation":
            return column.map({name: place for place, name in enumerate(ACTIVATIONS)})
        if column.name == "optimizer.name":
            return column.map({name: place for place, name in enumerate(OPTIMIZERS)})
        return column

    return frame.sort_values(list(columns), key=rank, kind="stable", ignore_index=True)


def shades(values: Iterable[float]) -> dict[float, Any]:
    """Colours for the values of an ordered axis, dark for small."""
    ordered = sorted(set(values))
    places = np.linspace(0, 1, len(ordered)) if len(ordered) > 1 else [1 / 3]
    return {value: shade(place) for value, place in zip(ordered, places, strict=True)}


def shade(share: float) -> Any:
    """The colour at a share of the way from the smallest value to the largest."""
    return mpl.colormaps["plasma"](0.05 + 0.73 * share)


def statistic(data: pd.DataFrame) -> str:
    """What of the seeds a figure shows, to begin a sentence: `Mean`."""
    return intervals.NAMES[data["statistic"].iloc[0]].capitalize()


def interval(data: pd.DataFrame) -> str:
    """What its bands are: `95 % interval`; a tolerance interval says what it holds, of the fewest seeds that are
    shown.
    """
    if data["band"].iloc[0] == "ci":
        return "95 % interval"
    share = intervals.tolerance_share(int(data["members"].min()))
    return f"tolerance interval: at least {math.floor(100 * share)} % of all runs, at 95 % confidence"


def averaged(data: pd.DataFrame, binned: str, *, ends: bool = False) -> str:
    """What a line and its band are: over how many seeds, or that one seed has no interval."""
    members = data["members"]
    if int(members.max()) == 1:
        return f"One seed, so there is no interval{'; means' * bool(binned)}{binned}."
    where = "at the right: that of the last point, with its" if ends else "shaded:"
    return f"{statistic(data)} over {span(members)} seeds{binned}; {where} {interval(data)}."


def dotted(data: pd.DataFrame) -> str:
    """What a dotted line is, to follow `averaged`; nothing where no line has one."""
    some = (data["seeds"] > 0) & (data["seeds"] < data["members"])
    return " Dotted: seeds are missing (diverged or undefined), the mean is over the others." if some.any() else ""


def selected(data: pd.DataFrame) -> str:
    """How the arms' settings were chosen, to follow `averaged`; nothing where each arm has one."""
    if not (data["candidates"] > 1).any():
        return ""
    return f" Each arm at its best setting by {data['chosen_by'].iloc[0]}, selected on these same seeds."


def over(data: pd.DataFrame) -> str:
    """The part of the tasks that values are means over, in a sentence."""
    asked = data["window"].iloc[0]
    return (windows.parse(asked) if isinstance(asked, str) else windows.LATE).words


def begin(data: pd.DataFrame, steps: str = "step") -> float:
    """Where an axis of steps, or of what is in that column, begins: at 0 unless the end of the tasks alone is shown."""
    asked = data["window"].iloc[0]
    return float(data[steps].min()) if isinstance(asked, str) and asked.startswith("last") else 0.0


def span(counts: Iterable[float]) -> str:
    """`30`, or `28 to 30` where counts differ."""
    values = sorted({int(count) for count in counts})
    return f"{values[0]}" if len(values) == 1 else f"{values[0]} to {values[-1]}"


def workload(name: str) -> str:
    """A workload's name in a title."""
    return getattr(STREAMS.get(name), "label", "") or naming.words(name)


def learner(name: str) -> str:
    """An optimizer's or method's name for people, or that of an arm that is called like one."""
    entry = OPTIMIZERS.get(name) or METHODS.get(name)
    return entry.label if entry and entry.label else naming.words(name)


def missing(line: pd.DataFrame, *, diverged: bool = True) -> str:
    """How many seeds of a line are not in its mean, and from which step: nothing where all are.

    `2 of 30 diverged, from step 40k`, `3 of 30 undefined`: a trial that diverged has no value, and some measures of a
    collapsed network are not defined. line: the rows of one curve, in the order of steps; without `diverged` only what
    is undefined is told.
    """
    members, worst = int(line["members"].max()), line.iloc[-1]
    parts = []
    if worst["diverged"] and diverged:
        begin = line.loc[line["diverged"] > 0, "step"].iloc[0]
        parts.append(f"{worst['diverged']:.0f} of {members} diverged, from step {EngFormatter(sep='')(begin)}")
    undefined = int((line["members"] - line["seeds"] - line["diverged"]).max())
    if undefined > 0:
        parts.append(f"{undefined} of {members} undefined")
    return "; ".join(parts)


def lost(data: pd.DataFrame, lines: Sequence[str], called: Callable[..., str], sheet: Sheet) -> str:
    """What of the lines is missing, for the caption of a bare sheet; elsewhere it is said in the panels.

    lines: the columns that tell lines apart, of whose values `called` makes a name. What diverged is said once, of the
    first metric.
    """
    if not sheet.bare:
        return ""
    parts = data.groupby(list(lines), sort=False, dropna=False)
    first = data["metric"].iloc[0]
    told = [
        f"{called(*key)}: {said}"
        for key, part in parts
        if (said := missing(part, diverged=part["metric"].iloc[0] == first))
    ]
    return f" Missing: {'; '.join(told)}." if told else ""


def steps_label(first: pd.Series[Any]) -> str:
    """The name of an axis of steps, by a row of a figure's data: whose steps they are, and the examples in one."""
    if first["workload"] in CONTROLS:
        return "environment steps"
    if pd.isna(batch := first["batch"]):  # not the same everywhere
        return "steps"
    return "steps (one example each)" if batch == 1 else f"steps ({batch:g} examples each)"


def quiet(peaks: pd.Series[float]) -> pd.Series[bool]:
    """Which peaks do not explode: those up to ten times the lower quartile, or all where that is 0."""
    usual = peaks.quantile(0.25)
    return peaks <= (10 * usual if usual > 0 else np.inf)


def log_axis(axis: Axis, values: pd.Series[float], metric: str) -> None:
    """A logarithmic axis of a metric. Raises InputError where no value is above 0."""
    _above_zero(values, metric)
    spread(axis)


def spread(axis: Axis) -> None:
    """Makes an axis logarithmic, with its numbers as they are spoken of."""
    if isinstance(axis, XAxis):
        axis.axes.set_xscale("log")
    else:
        axis.axes.set_yscale("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: naming.number(value)))
    axis.set_minor_formatter(NullFormatter())


def _above_zero(values: pd.Series[float], metric: str) -> pd.Series[float]:
    if not (values > 0).any():
        raise InputError(f"{naming.metric(metric)} has no value above 0 here, so no logarithmic axis: leave out --log")
    return values[values > 0]


def steps_axis(axes: Axes, first: float, last: float, *, beyond: float = MARGIN, whole: bool = False) -> None:
    """Steps as 0, 200k, 1M, at as many round places from the first to the last as can be read, so that panels have one
    range. `whole`: what is counted has no halves.
    """
    length = last - first or 1.0
    axes.set_xlim(first - MARGIN * length, last + beyond * length)
    named = EngFormatter(sep="")
    ticks = _ticks_across(axes, len(named(last))) / (1 + MARGIN + beyond)
    locator = MaxNLocator(nbins=max(1, min(5, int(ticks))), steps=[1, 2, 2.5, 5, 10], integer=whole)
    places = np.asarray(locator.tick_values(first, last))
    axes.xaxis.set_major_locator(FixedLocator([float(place) for place in places if first <= place <= last]))
    axes.xaxis.set_major_formatter(named)


def _ticks_across(axes: Axes, letters: int) -> float:
    """How many numbers of so many letters stand beside each other below a panel, as wide as it will be."""
    spec, figure = axes.get_subplotspec(), axes.get_figure()
    assert spec is not None and isinstance(figure, Figure)
    inches = float(figure.get_size_inches()[0]) * len(spec.colspan) / spec.get_gridspec().ncols - BESIDE / 72 * points(
        TEXT
    )
    return inches * 72 / (0.62 * (letters + 1.5) * float(mpl.rcParams["xtick.labelsize"]))


def ends(crowded: bool, lines: int, first: float, last: float) -> list[float | None]:
    """Where, right of the last step, each of so many lines has its interval; None where it has a shade all along.

    crowded: `Sheet.crowded` of the most lines that a panel of the figure has, so that all panels show them alike.
    """
    if not crowded:
        return [None] * lines
    return [float(place) for place in last + (last - first) * np.linspace(MARGIN, BEYOND - MARGIN, lines)]


def beyond(crowded: bool) -> float:
    """The share of the steps that an axis goes on for after the last, where lines have their ends there."""
    return BEYOND if crowded else MARGIN


def band(axes: Axes, rows: pd.DataFrame, *, marker: str = "", end: float | None = None, **look: Any) -> Line2D:
    """A mean over steps with its interval as a shade; where seeds are missing the line is dotted.

    With an `end` the last interval is a bar at that place, and there is no shade: many of them could not be told apart.

    A few points are marked each. One that stands alone is too, with its interval as a bar: neither a line nor a shade
    of one point would be seen. rows: step, mean, ci_low, ci_high, seeds and members, in the order of steps. The line
    that is returned, and has the `gid`, goes through all points.
    """
    means = rows["mean"].to_numpy(dtype=float)
    there = np.isfinite(means)
    missing = bool((rows["seeds"] < rows["members"])[there].any())
    marked = _marked(there, few=there.sum() <= FEW, thin=bool(marker))
    style = {**look, "marker": (marker or "o") if marked else "", "markevery": marked or None}
    if missing:
        style |= {"linestyle": ":", "linewidth": 1.2}
    (line,) = axes.plot(rows["step"], means, **style)
    if missing:
        whole = np.where(rows["seeds"] == rows["members"], means, np.nan)
        axes.plot(rows["step"], whole, **{key: value for key, value in look.items() if key != "gid"})
    color = line.get_color()
    if end is None:
        axes.fill_between(rows["step"], rows["ci_low"], rows["ci_high"], color=color, alpha=0.15, linewidth=0)
    else:
        _bar(axes, end, rows.iloc[-1], color, marker or "o")
    if len(alone := rows[_alone(there)]):
        axes.vlines(alone["step"], alone["ci_low"], alone["ci_high"], color=color, alpha=0.5, linewidth=1)
    return line


def _bar(axes: Axes, place: float, point: Mapping[Any, Any] | pd.Series[Any], color: Any, marker: str) -> None:
    """A mean with its interval."""
    axes.vlines(place, point["ci_low"], point["ci_high"], color=color, linewidth=mpl.rcParams["lines.linewidth"])
    axes.plot([place], [point["mean"]], color=color, marker=marker, markersize=mpl.rcParams["lines.markersize"] * 0.75)


def _alone(there: np.ndarray) -> np.ndarray:
    """Which of the known points have no known one beside them."""
    padded = np.r_[False, there, False]
    alone: np.ndarray = there & ~padded[:-2] & ~padded[2:]
    return alone


def _marked(there: np.ndarray, *, few: bool, thin: bool) -> list[int]:
    """Which points get a mark: all of a few; else those that stand alone, and, where lines have marks, five spread."""
    places = np.flatnonzero(there)
    if few:
        return [int(place) for place in places]
    marks = set(np.flatnonzero(_alone(there)).tolist())
    if thin:
        marks.update(int(places[round(spot)]) for spot in np.linspace(0, len(places) - 1, 6))
    return sorted(marks)


def notes(axes: Axes, lines: Sequence[str], sheet: Sheet = SCREEN) -> None:
    """Small remarks in the upper right corner of a panel; a bare sheet has them in its caption (`lost`)."""
    if sheet.bare:
        return
    if len(lines) > MOST_NOTES:
        lines = [*lines[: MOST_NOTES - 1], f"and {len(lines) - MOST_NOTES + 1} more"]
    if lines:
        axes.annotate(
            "\n".join(lines),
            (1, 1),
            xytext=(-2, -2),
            xycoords="axes fraction",
            textcoords="offset points",
            size=points(6.5),
            ha="right",
            va="top",
            color="#333333",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 1},
        )


def heat(higher: bool) -> Colormap:
    """Colours of a heat map, bright where it is better."""
    return mpl.colormaps["viridis" if higher else "viridis_r"]


def color_scale(means: pd.Series[float], metric: str, sheet: Sheet) -> Normalize:
    """From values to a heat map's colours, logarithmic where the sheet asks for it.

    Over those that do not explode: all of a metric of which more is better.
    """
    shown = means[np.isfinite(means)] if higher_is_better(metric) else means[quiet(means)]
    if not sheet.log:
        return Normalize(shown.min(), shown.max())
    return LogNorm(_above_zero(shown, metric).min(), shown.max())


def ink(color: Color) -> str:
    """Black or white, whichever stands out more from the colour (WCAG 2, relative luminance)."""
    channels = np.asarray(color[:3])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "white"


def color_bar(figure: Figure, grid: np.ndarray, scale: Normalize, higher: bool, label: str) -> None:
    """The key to a heat map's colours, with an arrow where values go beyond it."""
    bar = figure.colorbar(ScalarMappable(scale, heat(higher)), ax=grid, label=label, aspect=30, pad=0.01, fraction=0.03)
    bar.outline.set_visible(False)


def with_half(mean: float, half: float) -> str:
    """A mean and half its interval in two lines, with as many decimals as the mean's size deserves."""
    if not 1e-3 <= abs(mean) < 1e4:
        return f"{naming.number(mean)}" + ("" if np.isnan(half) else f"\n±{half:.1g}")
    decimals = 3 if abs(mean) < 1 else 2 if abs(mean) < 10 else 1 if abs(mean) < 100 else 0
    return f"{mean:.{decimals}f}" + ("" if np.isnan(half) else f"\n±{half:.{decimals}f}")
