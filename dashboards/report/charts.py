"""The charts of a page: Vega-Lite, from altair, over data that the page has once for all of them.

What is chosen on the page (metric, panel, arms, hyperparameters, window, zoom) are parameters of these charts, set from
ordinary form elements of the page, so that a keyboard reaches them. An expression never holds a name from a sweep: arms
and settings are told by their places, so that no label can be code. The tables are those of `tables`, unfolded here.
A chart is made once: a live page has the same ones again.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

Spec = dict[str, Any]

DASHES = ([1, 0], [6, 2], [2, 2], [8, 2, 2, 2], [4, 4], [10, 3], [1, 3], [12, 2, 2, 2, 2, 2])
HEIGHT = 320  # pixels
WIDTH = 300  # pixels, where the page does not say how wide

# What the page's form elements set; see page.js. `best`: each arm's best setting alone, not all that the menus leave.
CHOSEN: dict[str, Any] = {
    "metric": "",
    "panel": "",
    "arms": [],  # whether each is shown
    "best": True,
    "menus": [],  # of each hyperparameter the value asked for, or ""
    "first": 1,  # task
    "last": 1_000_000_000,
    "log": False,
    "single": False,  # seeds
    "window": "",
}
WHOLE = "datum.value % 1 ? '' : format(datum.value, ',d')"  # of an axis: half a task is none
NAME = "containerSize()[0] < 600 ? 160 : 380"  # pixels of a setting's name beside its row
IN_PANEL = "datum.panel === '' || datum.panel === panel"
OF_SETTING = (
    "arms[datum.arm] && (best ? indexof(datum.best, panel) >= 0 : indexof(datum.panels, panel) >= 0"
    " && (length(menus) === 0 || {menus}))"
)


@dataclass(frozen=True, slots=True)
class Offered:
    """How many there are of what a page lets choose."""

    arms: int
    menus: int  # hyperparameters


@functools.cache
def curves(metric: str, offered: Offered, *, description: str) -> Spec:
    """Means over seeds with their intervals over tasks; single seeds below them where they are asked for."""
    shown = _of_setting(alt.Chart(alt.NamedData("curves")), offered).transform_filter("datum.metric === metric")
    flat = shown.transform_flatten(["task", "mean", "low", "high", "seeds"]).transform_filter(
        "datum.task >= first && datum.task <= last && (!log || datum.mean > 0)"
    )
    flat = flat.transform_calculate(low="log && datum.low !== null && datum.low <= 0 ? datum.mean : datum.low")
    x = alt.X("task:Q", title="task", scale=alt.Scale(zero=False, nice=False), axis=alt.Axis(labelExpr=WHOLE))
    near = alt.selection_point(
        name="near", on="pointermove", nearest=True, clear="pointerout", fields=["task", "s"], empty=False
    )
    zoom = alt.selection_interval(name="zoom", bind="scales", zoom="wheel![event.ctrlKey || event.metaKey]")
    line = flat.encode(x=x, detail="s:N", color=_color(offered.arms), strokeDash=_dash(offered.arms))
    band = flat.encode(x=x, detail="s:N", color=_color(offered.arms))
    band = band.mark_area(opacity=0.16, aria=False, line=False).encode(y=_y("low", ""), y2="high:Q")
    mean = line.mark_line(strokeWidth=2, aria=False).encode(y=_y("mean", ""))
    # A line of one point is not seen, so few points are marked; so is the one nearest to the pointer.
    dots = (
        flat.mark_point(filled=True, size=70, aria=False)
        .encode(
            x=x,
            y=_y("mean", ""),
            color=_color(offered.arms),
            opacity=alt.condition(near | "datum.few", alt.value(1), alt.value(0)),
            tooltip=[
                alt.Tooltip("name:N", title="arm"),
                alt.Tooltip("task:Q", title="task"),
                alt.Tooltip("mean:Q", title="mean", format=".4~g"),
                alt.Tooltip("interval:N", title="95 %"),
                alt.Tooltip("seeds:Q", title="seeds"),
                alt.Tooltip("lost:Q", title="diverged"),
                alt.Tooltip("repeat:N", title="repeat"),
            ],
        )
        .transform_calculate(
            interval="datum.high === null ? 'none' : format(datum.low, '.4~g') + ' to ' + format(datum.high, '.4~g')"
        )
        .add_params(near)
    )
    one = _of_setting(alt.Chart(alt.NamedData("seeds")), offered).transform_filter("single && datum.metric === metric")
    one = one.transform_flatten(["task", "value"]).transform_filter(
        "datum.task >= first && datum.task <= last && (!log || datum.value > 0)"
    )
    single = one.mark_line(strokeWidth=0.7, opacity=0.45, aria=False).encode(
        x=x,
        y=_y("value", ""),
        detail="trial:N",
        color=_color(offered.arms),
        tooltip=[
            alt.Tooltip("name:N", title="arm"),
            alt.Tooltip("seed:Q", title="seed"),
            alt.Tooltip("repeat:N", title="repeat"),
        ],
    )
    chart = alt.layer(single, band, mean, dots.add_params(zoom))
    return _spec(chart, description, HEIGHT, metric=metric)


@functools.cache
def late(metric: str, offered: Offered, *, description: str) -> Spec:
    """What each setting comes to over the chosen window, the best on top."""
    shown = (
        _of_setting(alt.Chart(alt.NamedData("late")), offered)
        .transform_filter("datum.metric === metric && datum.window === window")
        .transform_calculate(rank="datum.higher ? -datum.mean : datum.mean")
    )
    y = alt.Y(
        "name:N",
        title=None,
        sort=alt.EncodingSortField("rank", op="min"),
        axis=alt.Axis(labelLimit=alt.ExprRef(NAME), labelOverlap=False),
    )
    x = alt.X("mean:Q", title="", scale=alt.Scale(zero=False, nice=True))
    tooltip = _tooltip(alt.Tooltip("name:N", title="arm"), alt.Tooltip("repeat:N", title="repeat"))
    rule = shown.mark_rule(strokeWidth=2, aria=False).encode(
        y=y, x=alt.X("low:Q", title=""), x2="high:Q", color=_color(offered.arms)
    )
    dot = shown.mark_point(filled=True, size=70, opacity=1, aria=False).encode(
        y=y, x=x, color=_color(offered.arms), tooltip=tooltip
    )
    return _spec(alt.layer(rule, dot), description, {"step": 22}, metric=metric)


@functools.cache
def sensitivity(
    column: str, title: str, measured: str, offered: Offered, *, numeric: bool, log: bool, description: str
) -> Spec:
    """Late performance over one hyperparameter, a line for each arm, all others at their best."""
    shown = (
        alt.Chart(alt.NamedData("sensitivity"))
        .transform_filter(alt.FieldEqualPredicate(field="column", equal=column))
        .transform_filter(f"arms[datum.arm] && ({IN_PANEL}) && (!log || (datum.mean > 0 && datum.low > 0))")
    )
    x: alt.X = (
        alt.X("value_number:Q", title=title, scale=alt.Scale(type="log" if log else "linear", zero=False, padding=12))
        if numeric
        else alt.X(
            "value:O",
            title=title,
            sort=alt.EncodingSortField("value_number", op="min"),
            axis=alt.Axis(labelAngle=-40),
        )
    )
    y, y_low = _y("mean", measured), _y("low", measured)
    base = shown.encode(x=x, color=_color(offered.arms))
    line = base.mark_line(aria=False).encode(y=y, strokeDash=_dash(offered.arms))
    rule = base.mark_rule(aria=False, opacity=0.6).encode(y=y_low, y2="high:Q")
    tooltip = _tooltip(alt.Tooltip("label:N", title="arm"), alt.Tooltip("value:N", title=title))
    dot = base.mark_point(filled=True, size=55, opacity=1, aria=False).encode(y=y, tooltip=tooltip)
    return _spec(alt.layer(rule, line, dot), description, 230)


@functools.cache
def pair(
    arm: int, columns: tuple[str, str], titles: tuple[str, str], measured: str, *, higher: bool, description: str
) -> Spec:
    """Late performance over two hyperparameters of one arm, all others at their best; bright is good."""
    shown = alt.Chart(alt.NamedData("pairs")).transform_filter(f"datum.arm === {arm} && ({IN_PANEL})")
    for key, column in zip("xy", columns, strict=True):
        shown = shown.transform_filter(alt.FieldEqualPredicate(field=key, equal=column))
    shown = shown.transform_joinaggregate(least="min(mean)", most="max(mean)").transform_calculate(
        share="datum.most > datum.least ? (datum.mean - datum.least) / (datum.most - datum.least) : 0.5"
    )
    base = shown.encode(
        x=alt.X(
            "value_x:O",
            title=titles[0],
            axis=alt.Axis(labelAngle=0),
            sort=alt.EncodingSortField("value_x_number", op="min"),
        ),
        y=alt.Y(
            "value_y:O", title=titles[1], sort=alt.EncodingSortField("value_y_number", op="min", order="descending")
        ),
    )
    color = alt.Color("mean:Q", title=None, scale=alt.Scale(scheme="viridis", reverse=not higher), legend=None)
    tooltip = _tooltip(alt.Tooltip("value_x:N", title=titles[0]), alt.Tooltip("value_y:N", title=titles[1]))
    cell = base.mark_rect(aria=False).encode(color=color, tooltip=tooltip)
    bright = "datum.share > 0.6" if higher else "datum.share < 0.4"
    text = base.mark_text(aria=False, fontSize=11).encode(
        text=alt.Text("mean:Q", format=".3~g"), color=alt.condition(bright, alt.value("#000"), alt.value("#fff"))
    )
    return _spec(alt.layer(cell, text), f"{description} Colour: {measured}.", {"step": 34})


def config(colors: Sequence[str], *, ink: str, paper: str, grid: str) -> Spec:
    """How charts look: the same in light and dark, but for these colours."""
    axis = {
        "labelColor": ink,
        "titleColor": ink,
        "domainColor": ink,
        "tickColor": ink,
        "gridColor": grid,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    }
    return {
        "background": paper,
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "axis": axis,
        "range": {"category": list(colors)},
        "text": {"font": "system-ui, sans-serif"},
    }


def dash(place: int) -> Sequence[int]:
    """How the line of the arm at this place is broken: arms are not told apart by colour alone."""
    return DASHES[place % len(DASHES)]


def _of_setting(chart: alt.Chart, offered: Offered) -> alt.Chart:
    """The rows of the settings that are chosen; looks up what is known of them."""
    asked = (
        " && ".join(f"(menus[{k}] === '' || menus[{k}] === datum.values[{k}])" for k in range(offered.menus)) or "true"
    )
    fields = ["name", "arm", "panels", "best", "values", "repeat"]
    return chart.transform_lookup(
        lookup="s", from_=alt.LookupData(data=alt.NamedData("settings"), key="s", fields=fields)
    ).transform_filter(OF_SETTING.replace("{menus}", asked))


def _color(arms: int) -> alt.Color:
    """By the arm's place; every arm has its colour whichever are shown."""
    return alt.Color("arm:N", legend=None, scale=alt.Scale(domain=list(range(arms)), range="category"))


def _dash(arms: int) -> alt.StrokeDash:
    places = list(range(arms))
    return alt.StrokeDash("arm:N", legend=None, scale=alt.Scale(domain=places, range=[dash(place) for place in places]))


def _y(field: str, title: str) -> alt.Y:
    return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=False))


def _tooltip(*first: alt.Tooltip) -> list[alt.Tooltip]:
    """What is said of a point that has an interval."""
    return [
        *first,
        alt.Tooltip("mean:Q", title="mean", format=".4~g"),
        alt.Tooltip("low:Q", title="95 % from", format=".4~g"),
        alt.Tooltip("high:Q", title="to", format=".4~g"),
        alt.Tooltip("seeds:Q", title="seeds"),
        alt.Tooltip("lost:Q", title="diverged"),
    ]


def _spec(chart: alt.LayerChart | alt.FacetChart, description: str, height: Any, **chosen: Any) -> Spec:
    """As the page embeds it; altair has checked it against Vega-Lite's schema."""
    whole = chart.add_params(*(alt.param(name=name, value=value) for name, value in (CHOSEN | chosen).items()))
    if isinstance(height, dict):
        # So many pixels a row. Vega-Lite takes that for a reason not to fit the width, and says so on the console: the
        # page fits it (page.js).
        spec: Spec = whole.properties(width=WIDTH, height=height, description=description).to_dict()
        return spec
    spec = whole.properties(width="container", height=height, description=description).to_dict()
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec
