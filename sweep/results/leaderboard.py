"""What a sweep found: the leaderboard of its arms, and what of it can be told from chance.

Late performance is the mean of a metric, the headline one unless another is asked for, over a window of the tasks, the
last tenth unless another is asked for. An arm stands at its best setting (`selections.best_settings`), chosen by what
the sweep's file says, whatever is shown; `Selection` says how. A difference is that to the first arm of the file, on
the seeds that both have, as the same seed is the same stream and initial weights.

Settings of network and workload that vary inside an arm make a panel each, as in figures: errors on two problems are
not compared. So do the columns that are asked for (`by`). Divergence is a result: diverged trials are counted, and the
mean over the others says of how many it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from sweep.errors import InputError
from sweep.results import answers, differences, frames, intervals, naming, selections, verdicts, windows
from sweep.results.answers import Standing
from sweep.results.intervals import NOTHING, Estimate, Statistic
from sweep.results.selections import Selection, Stage
from sweep.results.windows import Window
from workloads import metrics
from workloads.registry import nearest, unknown

if TYPE_CHECKING:
    from rich.table import Table

    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord

BETTER = {True: " (higher is better)", False: " (lower is better)", None: ""}  # behind a metric's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """The arms of a sweep, best first in each panel."""

    sweep: str  # name@scale
    metric: str
    higher: bool | None  # is better; None: neither
    window: Window  # that late performance is the mean over
    statistic: Statistic  # over seeds
    first: str  # the arm that others are compared with
    selection: Selection  # how the settings were chosen
    trials: int  # that results are read from
    finished: int
    diverged: int  # of these, at any setting
    standings: tuple[Standing, ...]

    def panels(self) -> Iterator[tuple[str, tuple[Standing, ...]]]:
        """Each panel with its standings."""
        for panel in dict.fromkeys(standing.panel for standing in self.standings):
            yield panel, tuple(standing for standing in self.standings if standing.panel == panel)

    def _repr_html_(self) -> str:
        """What the numbers are, each panel's standings and what can be told, for a notebook."""
        parts = [f"<p>{escape(heading(self))}</p>"]
        for panel, standings in self.panels():
            parts.append(f"<p>{escape(panel)}</p>" if panel else "")
            parts.append(plain(standings, self.statistic).to_html(index=False, border=0))
            parts.append(f"<p>{escape(answers.sentence(standings))}</p>")
        if told := self.selection.told():
            parts.append(f"<p><small>{escape(told)}</small></p>")
        return "\n".join(filter(None, parts))

    @property
    def evaluated(self) -> bool:
        """Whether fresh seeds alone are shown."""
        return self.selection.seeds == "fresh"


def leaderboard(
    record: SweepRecord,
    ledger: Ledger,
    *,
    metric: str | None = None,
    window: Window = windows.LATE,
    by: Sequence[str] = (),
    stage: Stage | None = None,
    statistic: Statistic = "mean",
) -> Leaderboard:
    """What the trials that have ended say.

    Args:
        metric: what is shown; the headline one otherwise.
        by: settings, such as step_size, of which every value makes a panel.
        stage: of two, the one that is shown: the evaluation otherwise, once it has results.

    Raises InputError where no trial has ended, the metric was not recorded, or there is no such setting or stage.
    """
    part = selections.shown(record, ledger, stage)
    trials, curves, shown = read(part, ledger, metric)
    return of_frames(record, trials, curves, part, metric=shown, window=window, by=by, statistic=statistic)


def read(part: SweepRecord, ledger: Ledger, metric: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """What `of_frames` takes: the trials, the curves of what is shown and of what settings are chosen by, the metric.

    Raises InputError where no trial has ended or the metric was not recorded.
    """
    trials = frames.trials(part, ledger)
    headline = frames.headline(trials)
    shown = metric if metric is not None else headline
    check_recorded(trials, shown)
    objective, _ = selections.chosen_by(trials)
    return trials, frames.curves(part, ledger, list(dict.fromkeys([shown, objective]))), shown


def of_frames(
    record: SweepRecord,
    trials: pd.DataFrame,
    curves: pd.DataFrame,
    part: SweepRecord | None = None,
    *,
    metric: str | None = None,
    window: Window = windows.LATE,
    by: Sequence[str] = (),
    statistic: Statistic = "mean",
) -> Leaderboard:
    """The leaderboard from `frames.trials` and `frames.curves` of `part`, which is what is shown of the sweep.

    None is the sweep itself. Raises as `leaderboard`.
    """
    part = part or record
    metric = metric if metric is not None else frames.headline(trials)
    higher = direction(metric)
    objective, chosen_over = selections.chosen_by(trials)
    ended = trials[trials["status"].isin(frames.FINISHED)]
    late = selections.late(trials, curves, metric, window)
    judged = late if (objective, chosen_over) == (metric, window) else selections.judged(trials, curves)
    networks, linear = frames.split(ended)
    axes = list(dict.fromkeys([*frames.panel_axes(networks), *(columns_of(trials, by))]))
    best = best_of_arms(networks, linear, judged, axes)
    settings = naming.settings(record.trials)
    order = {arm: place for place, arm in enumerate(record.arms)}
    members_of, values_of = (frame.groupby(["arm", "group"], sort=False) for frame in (ended, late))
    standings: list[Standing] = []
    for _, inside in best.groupby("panel", sort=False):
        places = inside.sort_values("arm", key=lambda arms: arms.map(order)).to_dict("records")
        at = [(row["arm"], row["group"]) for row in places]
        values = [values_of.get_group(place) for place in at]
        made = [
            _standing(row, settings[place], axes, members_of.get_group(place), own, statistic)
            for row, place, own in zip(places, at, values, strict=True)
        ]
        if selections.evaluated(part):
            made = [replace(standing, candidates=candidates(standing, settings, axes)) for standing in made]
        standings += sorted(_beside_first(made, values, metric, higher, statistic), key=lambda s: _rank(s, higher))
    once = trials[~trials.index.duplicated()]  # a trial has a row for each of its arms
    most = max(standing.candidates for standing in standings)
    return Leaderboard(
        sweep=record.identity,
        metric=metric,
        higher=higher,
        window=window,
        statistic=statistic,
        first=min(best["arm"], key=order.__getitem__),
        selection=selections.how(part, trials, most, window),
        trials=len(once),
        finished=int(once["status"].isin(frames.FINISHED).sum()),
        diverged=int((once["status"] == "diverged").sum()),
        standings=tuple(standings),
    )


def direction(metric: str) -> bool | None:
    """Whether more of it is better; None where neither is."""
    spec = metrics.of(metric)
    return None if spec is None or spec.better is None else spec.better == "up"


def check_recorded(trials: pd.DataFrame, metric: str) -> None:
    """Raises InputError where no trial recorded a metric: with the nearest name, and those there are."""
    names = frames.recorded_metrics(trials)
    if metric.partition("/")[0] not in names:
        close = nearest(metric, names)
        hint = f": did you mean {close!r}?" if close else "."
        raise InputError(f"metric {metric!r} was not recorded by this sweep{hint} Recorded: {', '.join(sorted(names))}")


def columns_of(trials: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """The columns that settings are called by, such as `optimizer.step_size` by `step_size`. Raises InputError."""
    axes = frames.axes(trials)
    columns = []
    for name in names:
        meant = [column for column in axes if name in (column, column.rpartition(".")[2])]
        if len(meant) != 1:
            if meant:
                raise InputError(f"setting {name!r} is of several parts: say {' or '.join(meant)}")
            if not axes:
                raise InputError(f"setting {name!r}: nothing differs between the settings of this sweep")
            raise InputError(unknown(name, "setting", [column.rpartition(".")[2] for column in axes]))
        columns += meant
    return columns


def best_of_arms(networks: pd.DataFrame, linear: pd.DataFrame, late: pd.DataFrame, axes: list[str]) -> pd.DataFrame:
    """The best setting of every arm in every panel, panel after panel: panel, arm, group, candidates.

    A linear learner has no width that could vary, so it stands in every panel with which it shares all else. Of an arm
    that has both networks and linear learners the networks stand.
    """
    best = selections.best_settings(networks, late, [*axes, "arm"])
    alone = linear[~linear["arm"].isin(networks["arm"].unique())]
    if len(alone):
        shared = [axis for axis in axes if axis not in frames.SHAPE]
        theirs = selections.best_settings(alone, late, [*shared, "arm"])
        places = best[axes].drop_duplicates() if axes else best[axes].head(1)
        theirs = places.merge(theirs, on=shared) if shared else places.merge(theirs, how="cross")
        best = pd.concat([best, theirs], ignore_index=True)
    panels = [naming.setting(dict(zip(axes, row, strict=True))) for row in best[axes].to_numpy(dtype=object)]
    return best.assign(panel=panels).sort_values([*axes, "panel"], kind="stable")


def _standing(
    row: Mapping[Any, Any],
    settings: Mapping[str, Any],
    axes: Sequence[str],
    members: pd.DataFrame,
    late: pd.DataFrame,
    statistic: Statistic,
) -> Standing:
    """One arm's place in a panel, by itself, from the trials of its setting and their late performance."""
    lost = members.loc[members["status"] == "diverged", "ended"]
    return Standing(
        panel=row["panel"],
        arm=row["arm"],
        name=naming.name(row["arm"], {column: value for column, value in settings.items() if column not in axes}),
        group=row["group"],
        settings=settings,
        candidates=int(row["candidates"]),
        late=intervals.estimate(late["value"].to_numpy(), statistic),
        members=len(members),
        diverged=len(lost),
        diverged_in=(int(lost.min()), int(lost.max())) if len(lost) else None,
        difference=None,
        verdict="first",
        seeds_needed=None,
    )


def _beside_first(
    standings: Sequence[Standing],
    values: Sequence[pd.DataFrame],
    metric: str,
    higher: bool | None,
    statistic: Statistic,
) -> Iterator[Standing]:
    """The standings of a panel, the others beside the first: p-values are corrected for all of them."""
    first, *others = standings
    yield first
    raw_differences = [differences.paired(own, values[0], higher=higher, statistic=statistic) for own in values[1:]]
    adjusted = intervals.holm([math.nan if difference is None else difference.p for difference in raw_differences])
    smallest = verdicts.smallest_effect(metric, first.late.mean)
    for standing, raw, p in zip(others, raw_differences, adjusted, strict=True):
        difference = None if raw is None else replace(raw, adjusted=p)
        verdict = verdicts.verdict(difference, higher=higher)
        needed = None if verdict in verdicts.TOLD else verdicts.seeds_needed(difference, smallest)
        yield replace(standing, difference=difference, verdict=verdict, seeds_needed=needed)


def candidates(standing: Standing, settings: Mapping[tuple[str, str], Mapping[str, Any]], axes: Sequence[str]) -> int:
    """From how many settings of its arm, in its panel, one was chosen that is alone on fresh seeds."""
    place = [standing.settings.get(axis) for axis in axes]
    others = (values for (arm, _), values in settings.items() if arm == standing.arm)
    return sum([values.get(axis) for axis in axes] == place for values in others)


def _rank(standing: Standing, higher: bool | None) -> tuple[bool, float]:
    """Best first, those without a value last; in the order of the file where neither direction is better."""
    mean = standing.late.mean
    return math.isnan(mean), 0 if higher is None else -mean if higher else mean


def cells(standings: Sequence[Standing], statistic: Statistic = "mean") -> tuple[list[str], list[list[str]]]:
    """One panel's standings as text: the heads of the columns, and a row for each arm."""
    [first] = [standing for standing in standings if standing.verdict == "first"]
    heads = ["arm, at its best setting", statistic, "95 %", "seeds"]
    compared = [f"minus {naming.words(first.arm)}", "95 %", "p"] if len(standings) > 1 else []
    rows = []
    for standing in standings:
        late, difference = standing.late, standing.difference
        gone = "diverged" if standing.diverged else "not measured"
        row = [standing.name, *((naming.rounded(late.mean, 4), answers.between(late)) if late.seeds else (gone, ""))]
        row.append(str(late.seeds))
        if difference is not None:
            by = difference.estimate
            row += [naming.rounded(by.mean, sign="+"), answers.between(by, "+"), _chance(difference.adjusted)]
        rows.append(row + [""] * (len(heads) + len(compared) - len(row)))
    return heads + compared, rows


def plain(standings: Sequence[Standing], statistic: Statistic = "mean") -> pd.DataFrame:
    """As `cells`, as a table of text."""
    heads, rows = cells(standings, statistic)
    return pd.DataFrame(rows, columns=heads)


def table(standings: Sequence[Standing], statistic: Statistic = "mean") -> Table:
    """As `cells`, for the terminal."""
    from rich.table import Table

    (arm, *heads), rows = cells(standings, statistic)
    shown = Table(arm, box=None, pad_edge=False)
    for head in heads:
        shown.add_column(head, justify="right")
    for row in rows:
        shown.add_row(*row)
    return shown


def _chance(p: float) -> str:
    """A p-value, already corrected, for people."""
    return "" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.2g}"


def heading(board: Leaderboard) -> str:
    """What the numbers are: `online squared error, mean over the last tenth of the tasks (lower is better)`."""
    over = "" if board.statistic == "mean" else f", {intervals.NAMES[board.statistic]} over seeds"
    part = f"; {board.finished:,} of {board.trials:,} trials have ended" if board.finished < board.trials else ""
    return f"{naming.metric(board.metric)}, mean over {board.window.words}{over}{BETTER[board.higher]}{part}"


def rows(board: Leaderboard) -> list[dict[str, Any]]:
    """The leaderboard as flat rows of scalars, as `sweep results --csv` writes them."""
    return [
        {
            "sweep": board.sweep,
            "metric": board.metric,
            "window": str(board.window),
            "statistic": board.statistic,
            "panel": standing.panel,
            "arm": standing.arm,
            "setting": naming.setting(standing.settings, standing.arm),
            "group": standing.group,
            "candidates": standing.candidates,
            "chosen_on": board.selection.seeds,
            **_columns("", standing.late),
            "trials": standing.members,
            "diverged": standing.diverged,
            **_columns("difference_", standing.difference.estimate if standing.difference else NOTHING),
            "p": standing.difference.p if standing.difference else math.nan,
            "p_adjusted": standing.difference.adjusted if standing.difference else math.nan,
            "share_better": standing.difference.probability if standing.difference else math.nan,
            "verdict": standing.verdict,
            "seeds_needed": standing.seeds_needed,
        }
        for standing in board.standings
    ]


def _columns(prefix: str, estimate: Estimate) -> dict[str, float | int]:
    names = ("mean", "ci_low", "ci_high", "seeds")
    return {f"{prefix}{name}": value for name, value in zip(names, astuple(estimate), strict=True)}
