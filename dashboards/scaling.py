"""How the service scales: time and peak memory of every stage over the number of trials, a line each.

python -m dashboards.scaling FILE.json      draws what `python -m sweep.benchmarks.scaling` wrote, as PNG and SVG
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator

from dashboards import theme
from dashboards.figures import METADATA, write
from dashboards.sheets import SCREEN, Caption, footnote, page
from sweep.benchmarks.bench_records import short
from sweep.benchmarks.scaling import FITTED, Point, slopes
from sweep.errors import InputError
from sweep.results import palette

MARKERS = ("o", "s", "v", "^", "D", "P")


def read(path: Path) -> tuple[list[Point], dict[str, Any]]:
    """The points of a record, and all of it. Raises InputError where the file is none."""
    try:
        held = json.loads(path.read_text())
        return [Point(**fields) for fields in held["points"]], held
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no record of the scaling: {type(error).__name__}: {error}") from error


def looks(stages: Sequence[str]) -> dict[str, theme.Look]:
    """A colour and a marker for every stage, no two alike."""
    colors = list(dict.fromkeys([look.color for look in theme.ARMS.values()] + list(palette.SPARE)))
    return {
        stage: theme.Look(stage, colors[place % len(colors)], MARKERS[place % len(MARKERS)])
        for place, stage in enumerate(stages)
    }


def draw(points: Sequence[Point]) -> Figure:
    """Left: processor seconds, with the slopes in the legend; right: peak memory; both over trials, log-log."""
    steepness = slopes(points)
    drawn = looks(list(steepness))
    handles = []
    for stage, look in drawn.items():
        told = f", slope {steepness[stage]:.2f}" if math.isfinite(steepness[stage]) else ""
        handles.append(Line2D([], [], color=look.color, marker=look.marker, label=stage + told))
    subtitle = (
        "Processor time (all threads) and peak memory beyond the imports, a fresh process per point, best of up to "
        f"three. Slopes are fitted from 1/{FITTED} of a stage's most trials on, where constants no longer dominate; "
        "grey: slope 1."
    )
    with SCREEN.settings():
        figure = page(SCREEN, 9.6, 4.0, Caption("Stages over the number of trials", subtitle), handles)
        left, right = figure.subplots(1, 2)
        _panel(left, points, drawn, lambda point: point.cpu, "time (processor seconds)")
        _panel(right, points, drawn, lambda point: point.memory, "peak memory (MiB)")
    return figure


def _panel(
    axes: Axes, points: Sequence[Point], drawn: dict[str, theme.Look], value: Callable[[Point], float], label: str
) -> None:
    """One quantity, a line per stage; what is nothing at a size has no place on a logarithmic axis."""
    for stage, look in drawn.items():
        own = [point for point in points if point.stage == stage and value(point) > 0]
        x, y = [point.trials for point in own], [value(point) for point in own]
        axes.plot(x, y, color=look.color, marker=look.marker, linewidth=1.2, gid=stage)
    axes.set(xscale="log", yscale="log", xlabel="trials", ylabel=label)
    guide(axes)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=10))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.minorticks_off()


def guide(axes: Axes) -> None:
    """Grey lines of slope 1, a decade apart, within the panel as it is."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    for decade in np.arange(math.floor(math.log10(low / right)), math.ceil(math.log10(high / left)) + 1):
        factor = 10.0**decade
        axes.plot([left, right], [left * factor, right * factor], color="#DDDDDD", linewidth=0.8, zorder=0)
    axes.set(xlim=(left, right), ylim=(low, high))


def render(path: Path) -> list[Path]:
    """Draw a record beside itself, as PNG and SVG, each appearing whole. Raises InputError where the file is none."""
    points, held = read(path)
    with SCREEN.settings():
        figure = draw(points)
        machine, versions = held.get("machine") or {}, held.get("versions") or {}
        about = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        footnote(
            figure,
            f"python -m sweep.benchmarks.scaling · {str(held.get('date'))[:10]} · commit {short(held.get('commit'))} · "
            f"{machine.get('cpu')}, {machine.get('cores')} cores · {about}",
        )
        return [write(path.with_suffix(f".{kind}"), figure.savefig, metadata=METADATA[kind]) for kind in ("png", "svg")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw a record of `python -m sweep.benchmarks.scaling` beside itself."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.scaling", description=main.__doc__)
    parser.add_argument("file", type=Path, metavar="FILE.json")
    given = parser.parse_args(arguments)
    mpl.use("agg")
    try:
        for path in render(given.file):
            print(path)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
