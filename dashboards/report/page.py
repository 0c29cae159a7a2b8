"""One self-contained HTML file from `Facts`: it works from disk, offline, and in a sandboxed frame.

Vega's JavaScript is inlined from vl-convert. The page's own policy forbids every request, and charts run in Vega's
interpreter of expressions, so that nothing is ever evaluated as code. Names from a sweep reach the page through
Jinja's escaping or as JSON without `<`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

from dashboards.report import charts, look, settings, tables
from dashboards.report.charts import Offered, Spec
from dashboards.report.facts import Facts
from sweep.cli import output
from sweep.results import answers, leaderboard, naming, verdicts
from workloads import machine, metrics
from workloads.metrics import higher_is_better

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from dashboards.report.told import Told
    from sweep.results.answers import Standing
    from sweep.watching import Look

WORDS = 10  # values of a hyperparameter that stand side by side; more are numbers on an axis
LOGARITHMIC = ("performance", "diagnostic", "sensitivity")  # charts that can be
MOST_PAIRS = 12  # heat maps on a page
MOST_ROWS = 50  # of a table that may have a row for every setting
VERDICTS = {"first": "", "nothing to compare": "no value"}


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart among others of its kind."""

    id: str
    title: str
    spec: Spec


def rendered(
    facts: Facts,
    *,
    data: Mapping[str, str] = {},
    without: Mapping[str, str] = {},
    every: float = 0,
    look: Look | None = None,
) -> str:
    """The page.

    Args:
        data: sweep -> the name of the CSV file beside it.
        without: sweep -> why there is none.
        every: seconds after which a live page asks its server again; 0 for a file.
        look: of a live page, how its sweep stands.
    """
    from markupsafe import Markup

    single = {chart.id: chart for chart in _main_charts(facts)}
    sensitivity, pairs = list(_sensitivity(facts)), list(_pairs(facts))
    drawn = [*single.values(), *sensitivity, *pairs[:MOST_PAIRS]]
    left = len(pairs) - MOST_PAIRS
    said = {
        "facts": facts,
        "every": every,
        **_progress(look),
        "data": data,
        "without": without,
        "style": Markup(_style()),
        "script": Markup(_file("page.js")),
        "library": Markup(library()) if drawn else "",
        "embedded": Markup(embedded(facts, drawn)),
        "menus": settings.menus(facts.settings, facts.columns),
        "sensitivity": sensitivity,
        "pairs": pairs[:MOST_PAIRS],
        "pairs_left_out": f" {left} further pairs are left out." if left > 0 else "",
        "beside": _beside(facts),
        "measured": f"late {naming.metric(facts.headline)}" if facts.headline else "",
        "windows": tables.WINDOWS,
        "thinned": _thinned(facts),
        "values_thinned": _values_thinned(facts),
        "repeat_example": repeat(facts.settings[0].trial) if facts.settings else "",
        "swatch": functools.partial(_swatch, facts),
    }
    helpers = {
        "words": naming.words,
        "label": naming.axis,
        "metric_label": metric_label,
        "verdict": verdict,
        "told": verdicts.TOLD,
        "lost": answers.lost,
        "repeat": repeat,
        "rounded": naming.rounded,
        "standing": standing,
    }
    return _environment().get_template("page.html").render(said | helpers)


def progress_of(look: Look) -> str:
    """The part of a live page that says how far its sweep is."""
    return _environment().get_template("progress.html").render(_progress(look))


def _progress(look: Look | None) -> dict[str, Any]:
    return {"look": look, "soon": output.duration, "speed": output.speed, "most": MOST_ROWS}


def embedded(facts: Facts, drawn: Sequence[Chart]) -> str:
    """What the page's script reads, as JSON that holds no `<`, and so no tag."""
    arms = [arm.color for arm in facts.arms]
    colors = {"light": arms, "dark": look.on(look.DARK["paper"], arms)}
    papers = {"light": look.LIGHT, "dark": look.DARK}
    value = {
        "chosen": {"panel": facts.panels[0] if facts.panels else "", "menus": []},
        "charts": {chart.id: chart.spec for chart in drawn},
        "uses": {chart.id: sorted(_named(chart.spec)) for chart in drawn},
        "logarithmic": [chart.id for chart in drawn if chart.id.startswith(LOGARITHMIC)],
        **{
            name: charts.config(colors[name], ink=paper["ink"], paper=paper["paper"], grid=paper["line"])
            for name, paper in papers.items()
        },
        "data": {"settings": list(_settings(facts)), **facts.rows},
    }
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


@functools.cache
def library() -> str:
    """Vega, Vega-Embed, and of Vega-Lite the version that altair writes; kept, since to bundle them takes a second."""
    import altair
    import vl_convert

    version = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    file = machine.kept(f"vega-{version}-{metadata.version('vl-convert-python')}.js")
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return file.read_text(encoding="utf-8")
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version)
    script = f"(() => {{{bundle}}})();".replace("</script", "<\\/script")
    with contextlib.suppress(OSError):  # where nothing can be kept the next report makes its own
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(f".{os.getpid()}")
        beside.write_text(script, encoding="utf-8")
        os.replace(beside, file)
    return script


def _main_charts(facts: Facts) -> Iterator[Chart]:
    """Performance, a diagnostic beside it, and what it comes to."""
    if facts.headline is None:
        return
    offered = Offered(len(facts.arms), len(settings.menus(facts.settings, facts.columns)))
    for id, metric in (("performance", facts.headline), ("diagnostic", _beside(facts))):
        if metric:
            text = "Means over seeds with 95 % intervals over tasks, a line for each arm; the numbers are in the table."
            yield Chart(id, "", charts.curves(metric, offered, description=text))
    text = "The mean over the chosen window with its 95 % interval, a row for each setting, the best on top."
    yield Chart("late", "", charts.late(facts.headline, offered, description=text))


def _sensitivity(facts: Facts) -> Iterator[Chart]:
    """A chart for every hyperparameter."""
    if facts.headline is None:
        return
    measured = f"late {naming.metric(facts.headline)}"
    for place, column in enumerate(facts.columns):
        rows = [row for row in facts.rows["sensitivity"] if row["column"] == column]
        values = [row["value_number"] for row in rows]
        if len({row["value"] for row in rows}) < 2:
            continue
        numeric = None not in values and len(set(values)) > WORDS
        log = numeric and min(values) > 0 and max(values) / min(values) > 20
        title = naming.axis(column)
        text = f"{measured} over {title}, a line for each arm, the other hyperparameters at their best."
        spec = charts.sensitivity(
            column, title, measured, Offered(len(facts.arms), 0), numeric=numeric, log=log, description=text
        )
        yield Chart(f"sensitivity-{place}", title, spec)


def _pairs(facts: Facts) -> Iterator[Chart]:
    """A heat map for every pair of hyperparameters that there are rows of."""
    if facts.headline is None:
        return
    measured, higher = f"late {naming.metric(facts.headline)}", higher_is_better(facts.headline)
    by_pair = dict.fromkeys((row["arm"], row["x"], row["y"]) for row in facts.rows["pairs"])
    for place, (arm, x, y) in enumerate(by_pair):
        titles = naming.axis(x), naming.axis(y)
        title = f"{facts.arms[arm].label}: {titles[0]} and {titles[1]}"
        text = f"{title}, the other hyperparameters at their best."
        yield Chart(f"pair-{place}", title, charts.pair(arm, (x, y), titles, measured, higher=higher, description=text))


def _settings(facts: Facts) -> Iterator[tables.Row]:
    """What charts look up of a setting by its place."""
    columns = list(settings.menus(facts.settings, facts.columns))
    for place, setting in enumerate(facts.settings):
        yield {
            "s": place,
            "name": setting.name,
            "arm": setting.arm,
            "panels": list(setting.panels),
            "best": list(setting.best),
            "values": [setting.values.get(column) for column in columns],
            "repeat": repeat(setting.trial),
        }


def _named(spec: Any) -> Iterator[str]:
    """The names of the data that a spec reads."""
    if isinstance(spec, Mapping):
        if isinstance(spec.get("data"), Mapping) and "name" in spec["data"]:
            yield spec["data"]["name"]
        spec = list(spec.values())
    if isinstance(spec, list):
        for part in spec:
            yield from _named(part)


def _beside(facts: Facts) -> str | None:
    """The metric that is first shown beside performance: a diagnostic where there is one."""
    others = facts.metrics[1:]
    diagnostics = [name for name in others if (known := metrics.of(name)) is not None and known.origin == "diagnostic"]
    return next(iter([*diagnostics, *others]), None)


def _swatch(facts: Facts, place: int) -> Markup:
    """A piece of an arm's line, for its name in the list."""
    from markupsafe import Markup

    color = facts.arms[place].color
    [dark] = look.on(look.DARK["paper"], [color])
    broken = ",".join(map(str, charts.dash(place)))
    return Markup(
        f'<svg class="swatch" style="--own:{color};--own-dark:{dark}" width="26" height="8" aria-hidden="true">'
        f'<path d="M0 4H26" stroke="currentColor" stroke-width="3" stroke-dasharray="{broken}"/></svg>'
    )


def _thinned(facts: Facts) -> str:
    """Said where not every task is drawn."""
    most = max((len(row["task"]) for row in facts.rows["curves"]), default=0)
    return f"; drawn at {most} of {facts.tasks:,} tasks" if 1 < most < facts.tasks else ""


def _values_thinned(facts: Facts) -> str:
    """Said where not every value of a hyperparameter is drawn."""
    most = max(
        Counter((row["arm"], row["column"], row["panel"]) for row in facts.rows["sensitivity"]).values(), default=0
    )
    return f" At most {most} values of each are drawn." if most == tables.VALUES else ""


def verdict(standing: Standing) -> str:
    """A verdict in words, and how many seeds would decide where nothing can be told."""
    said = VERDICTS.get(standing.verdict, standing.verdict)
    return f"{said}; {standing.seeds_needed:,} seeds would decide" if standing.seeds_needed else said


def standing(told: Told) -> str:
    """`1,080 trials: 1,079 done, 1 diverged`."""
    counts = told.counts
    named = [
        f"{counts[name]:,} {name}"
        for name in ("done", "diverged", "under way", "censored", "failed", "left")
        if counts[name]
    ]
    return f"{told.identity}: {counts['trials']:,} trials: {', '.join(named)}."


def metric_label(name: str) -> str:
    """A metric's name, and which way is better where one is."""
    return naming.metric(name) + leaderboard.BETTER[leaderboard.direction(name)]


def repeat(trial: str) -> str:
    """The command that trains a trial again."""
    return f"sweep trial {shlex.quote(trial)} --run"


def _style() -> str:
    """The stylesheet with the colours of light and dark."""
    text = _file("page.css")
    for name, colors in (("light", look.LIGHT), ("dark", look.DARK)):
        text = text.replace(f"{{{{{name}}}}}", " ".join(f"--{key}: {value};" for key, value in colors.items()))
    return text


@functools.cache
def _file(name: str) -> str:
    return resources.files("dashboards.report").joinpath("template", name).read_text(encoding="utf-8")


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("dashboards.report", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
