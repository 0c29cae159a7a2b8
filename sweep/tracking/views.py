"""What MLflow's page opens on: named views of a sweep's runs, and the addresses that lead to them.

MLflow keeps a view as a tag of its experiment, `mlflow.sharedViewState.KEY`: JSON with the view's name and its state
(which runs, in which order, with which columns and charts), deflated. Views are in the page's menu "Views". The shape
of the state is that of MLflow 3.17's page; a page that does not know a field leaves it out.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from sweep.results import naming

TAG = "mlflow.sharedViewState."
COLOR = "mlflow.runColor"  # tag of a run
BAND = ("mean", "ci_low", "ci_high")  # of a metric's curve, drawn as a solid, a dashed and a dotted line
NAME_COLUMN = "attributes.`Run Name`"
ALL, FIRST_TEN = "SHOW_ALL", "FIRST_10_RUNS"


VERDICT = "pliant.verdict"  # tag of an arm's run
VALUE = "value"  # metric of a run in a view of sensitivity: the place of its value among those of the axis
MOST_VIEWS = 24  # of sensitivity: the menu is a list without folds


def final(metric: str) -> str:
    """The summary metric's name: late performance, see `sweep.results.leaderboard`."""
    return f"final/{metric}"


def difference(metric: str) -> str:
    """The summary metric's name: late performance minus that of the first arm, on the seeds that both have."""
    return f"difference/{metric}"


@dataclass(frozen=True, slots=True)
class Measured:
    """The metrics of a sweep that have curves in MLflow."""

    headline: str  # by which runs are sorted, and which is drawn first
    higher: bool  # is better
    names: Sequence[str]  # all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A named selection of runs with its charts."""

    key: str  # in addresses
    name: str  # in the menu
    where: Mapping[str, str]  # tags of its runs
    measured: Measured
    columns: Sequence[str]  # params shown in the table
    interval: bool = True  # curves are <metric>/mean, /ci_low and /ci_high, else <metric>
    shown: str = ALL  # which runs are drawn
    compared: bool = False  # runs have a verdict and a difference to the first arm
    order: str | None = None  # the metric that runs are sorted by, smallest first; None is late performance, best first
    diagnostics: bool = False  # are what it is for: each with its interval, beside the headline's curves alone

    def tag(self, created: int) -> tuple[str, str]:
        """Key and value of the experiment's tag; `created` in ms since 1970."""
        state = base64.b64encode(zlib.compress(json.dumps(self.state()).encode(), 9)).decode()
        value = {"name": self.name, "createdAt": created, "updatedAt": created, "state": f"deflate;{state}"}
        return TAG + self.key, json.dumps(value)

    def state(self) -> dict[str, Any]:
        """The state as MLflow's page reads it."""
        late = final(self.measured.headline)
        ends = [late, f"{late}/ci_low", f"{late}/ci_high"] if self.interval else [late]
        if self.compared:
            apart = difference(self.measured.headline)
            ends += [apart, f"{apart}/ci_low", f"{apart}/ci_high"]
        told = [f"tags.`{VERDICT}`"] if self.compared else []
        columns = [*told, *(f"metrics.`{end}`" for end in ends), *(f"params.`{column}`" for column in self.columns)]
        ordered = [NAME_COLUMN, "runDateAndNestInfo", "attributes.`Duration`", *columns]
        return {
            "searchFilter": search(self.where),
            "orderByKey": f"metrics.`{self.order or late}`",
            "orderByAsc": self.order is not None or not self.measured.higher,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": [*columns, "attributes.`Duration`"],
            "columnOrder": ordered,
            "columnWidths": {column: 8 * len(column) - 40 for column in columns} | {NAME_COLUMN: 330},  # pixels
            "runsHiddenMode": self.shown,
            "hideEmptyCharts": True,
            "isAccordionReordered": True,  # sections in our order rather than by name
            "compareRunSections": list(self._sections()),
            "compareRunCharts": list(self._charts()),
            "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        }

    def _sections(self) -> Iterator[dict[str, Any]]:
        """The headline's charts and the diagnostics', in the order of the page."""
        columns, height = (1, 300) if self.diagnostics else (2, 420)
        yield _section("headline", naming.metric(self.measured.headline), columns=columns, height=height)
        if len(self.measured.names) > 1:
            yield _section("diagnostics", "diagnostics", columns=2, height=320)

    def _charts(self) -> Iterator[dict[str, Any]]:
        """The headline's curves and ends, then every other metric's curves; and, hidden, what MLflow would add."""
        yield from self._curves(self.measured.headline, "headline")
        late = final(self.measured.headline)
        apart = difference(self.measured.headline)
        title = f"{naming.metric(self.measured.headline)}, mean over the last tenth of tasks"
        ends = {late: title} | ({apart: "the same, minus the first arm"} if self.compared else {})
        for end, text in ends.items():
            yield _bar(end, "headline", text) | {"deleted": self.diagnostics}
        for metric in self.measured.names:
            if metric != self.measured.headline:
                yield from self._curves(metric, "diagnostics")
        drawn = {f"{metric}/{part}" for metric in self.measured.names for part in BAND[1:]}
        drawn |= {f"{end}/{part}" for end in (late, apart) for part in BAND[1:]} | {VALUE}
        for name in sorted((drawn | {apart}) - ends.keys()):
            yield _bar(name, "headline", name) | {"deleted": True}

    def _curves(self, metric: str, section: str) -> Iterator[dict[str, Any]]:
        title = naming.metric(metric)
        if not self.interval:
            yield _line((metric,), section, f"{title} by task")
            return
        band = tuple(f"{metric}/{part}" for part in BAND)
        if section == "diagnostics":
            yield _line(band if self.diagnostics else band[:1], section, f"{title} by task")
            return
        if not self.diagnostics:
            yield _line(band[:1], section, "by task, mean over seeds")
        yield _line(band, section, "by task, with 95 % interval")


def of_sweep(
    measured: Measured, columns: Sequence[str], panels: Sequence[str], axes: Sequence[tuple[str, str]], *, trials: bool
) -> list[View]:
    """The views of a sweep, in the order of the menu.

    Its arms (panel by panel too), their diagnostics, an arm's sensitivity to each of its `axes` (arm, column), its
    settings, its trials.
    """
    arm = {"pliant.kind": "arm"}
    made = [View(key="arms", name="Arms at their best", where=arm, measured=measured, columns=columns, compared=True)]
    for number, panel in enumerate(panels if len(panels) > 1 else []):
        made.append(replace(made[0], key=f"arms{number}", name=f"Arms, {panel}", where=arm | {"pliant.panel": panel}))
    if len(measured.names) > 1:
        made.append(replace(made[0], key="diagnostics", name="Diagnostics of arms", diagnostics=True))
    for number, (label, column) in enumerate(axes[:MOST_VIEWS]):
        name = f"Sensitivity: {naming.words(label)} to {naming.axis(column, label)}"
        where = {"pliant.kind": "value", "pliant.arm": label, "pliant.axis": column}
        made.append(
            View(key=f"sensitivity{number}", name=name, where=where, measured=measured, columns=columns, order=VALUE)
        )
    group = {"pliant.kind": "group"}
    made.append(
        View(key="settings", name="Every setting", where=group, measured=measured, columns=columns, shown=FIRST_TEN)
    )
    if trials:
        made.append(
            View(
                key="trials",
                name="Every trial",
                where={"pliant.kind": "trial"},
                measured=measured,
                columns=[*columns, "seed"],
                interval=False,
                shown=FIRST_TEN,
            )
        )
    return made


def beside(measured: Measured, columns: Sequence[str]) -> list[View]:
    """The views of several sweeps' arms side by side."""
    where = {"pliant.kind": "arm"}
    made = [View(key="arms", name="Arms side by side", where=where, measured=measured, columns=columns, compared=True)]
    return [*made, replace(made[0], key="diagnostics", name="Diagnostics of arms", diagnostics=True)]


def tags(made: Sequence[View], created: int) -> dict[str, str]:
    """The tags of an experiment that was created then (ms since 1970); the menu lists the newest view first."""
    return dict(view.tag(created + len(made) - number) for number, view in enumerate(made))


def search(where: Mapping[str, str]) -> str:
    """MLflow's filter for runs with these tags."""
    return " and ".join(f"tags.`{name}` = '{value}'" for name, value in where.items())


def address(experiment: str, key: str) -> str:
    """Where a view is, on its server: model training rather than GenAI, charts rather than a table."""
    return f"{runs(experiment)}&viewStateShareKey={key}"


def searched(experiment: str, where: Mapping[str, str]) -> str:
    """Where the runs with these tags are, on their server, without a view."""
    return f"{runs(experiment)}&searchFilter={quote(search(where), safe='')}"


def runs(experiment: str) -> str:
    """Where an experiment's runs are, on their server, without a view."""
    return f"/#/experiments/{experiment}/runs?workflowType=machine_learning&compareRunsMode=CHART"


def _section(key: str, name: str, *, columns: int, height: int) -> dict[str, Any]:
    return {
        "uuid": key,
        "name": name,
        "display": True,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
        "columns": columns,
        "cardHeight": height,
    }


def _card(kind: str, section: str, title: str, metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "uuid": f"{kind.lower()} {' '.join(metrics)}",
        "type": kind,
        "runsCountToCompare": 100,
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        "displayName": title,
        "metricKey": metrics[0],
    }


def _bar(metric: str, section: str, title: str) -> dict[str, Any]:
    return _card("BAR", section, title, [metric]) | {"dataAccessKey": metric}


def _line(metrics: Sequence[str], section: str, title: str) -> dict[str, Any]:
    return _card("LINE", section, title, metrics) | {
        "selectedMetricKeys": list(metrics),
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "displayPoints": False,
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
        # The page shows a chart's own title, rather than the names of its metrics, only where it has this field.
        "nodeLevelSystemMetricConfiguration": {"metric": title, "type": "node"},
    }
