"""Everything a page is made of, from one or more sweeps: `gather` is the one place that reads their ledgers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from dashboards.report import settings, tables, told
from dashboards.report.settings import Setting
from dashboards.report.tables import Row
from sweep.errors import InputError
from sweep.results import frames, leaderboard, naming, palette, selections, so_far, windows
from workloads.metrics import ranked

if TYPE_CHECKING:
    from sweep.results.leaderboard import Leaderboard
    from sweep.results.results import Results

PARTS = ("within_task",)  # metrics of which only the parts are recorded, on a clock of their own
TABLES = ("curves", "seeds", "late", "sensitivity", "pairs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A way of learning, in one of the sweeps."""

    label: str  # with the sweep's name where there are several
    color: str


@dataclass(slots=True, kw_only=True)
class Facts:
    """What a page shows. A row of `rows` tells its arm and its setting by their places in `arms` and `settings`."""

    title: str
    sweeps: list[told.Told]
    headline: str | None  # None where no sweep has an answer yet
    metrics: list[str]  # headline first
    arms: list[Arm] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    left_out: int = 0  # settings that are not shown
    panels: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)  # hyperparameters
    tasks: int = 1  # of the longest trial
    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in TABLES})


def gather(sweeps: Sequence[Results]) -> Facts:
    """The facts of these sweeps; arms of several are told apart by their sweep's name. Raises StorageError."""
    read = [_Sweep(found) for found in sweeps]
    boards = [sweep.board for sweep in read if sweep.board]
    names = dict.fromkeys(metric for sweep in read if sweep.board for metric in sweep.metrics())
    heads = list(dict.fromkeys(board.metric for board in boards))
    facts = Facts(
        title=naming.listed([sweep.record.identity for sweep in read]),
        sweeps=[sweep.told() for sweep in read],
        headline=heads[0] if heads else None,
        metrics=list(dict.fromkeys([*heads, *ranked(names)])),
    )
    facts.arms = [Arm(label=label, color=color) for label, color in _colored(read)]
    first = 0
    for sweep in read:
        if sweep.board:
            prefix = f"{sweep.record.identity}: " if len(read) > 1 else ""
            _add(facts, sweep, sweep.board, first, most=settings.MOST // len(boards), prefix=prefix)
        first += len(sweep.record.arms)
    facts.panels = list(dict.fromkeys(facts.panels))
    facts.columns = list(dict.fromkeys(facts.columns))
    return facts


class _Sweep:
    """One sweep as it is read."""

    def __init__(self, found: Results) -> None:
        self.record, self.ledger, self.all = found.record, found.ledger, found.trials
        record, ledger = found.record, found.ledger
        self.part = selections.reported(record, ledger)
        self.trials = self.all if self.part is record else frames.trials(self.part, ledger)
        self.reach = so_far.reach(self.trials)  # None but for a sweep that is looked at while it trains
        self.why = ""
        self.board: Leaderboard | None = None
        try:
            metric, (objective, _) = frames.headline(self.trials), selections.chosen_by(self.trials)
            curves = frames.curves(self.part, ledger, [metric, objective])
            trials, curves = so_far.shortened(self.trials, curves, self.reach)
            board = leaderboard.of_frames(record, trials, curves, self.part)
            ended = board.finished - int(so_far.under_way(self.trials).sum())
            self.board = replace(board, finished=ended)
            self.judged, self.late = _late(trials, curves, metric)
        except InputError as error:
            self.why = str(error)

    def told(self) -> told.Told:
        """What is said of it."""
        return told.of_sweep(self.record, self.ledger, self.part, self.all, self.board, self.why)

    def metrics(self) -> list[str]:
        """Those that it recorded whole, not by layers or stretches."""
        return [name for name in frames.recorded_metrics(self.trials) if name not in PARTS]

    def chosen_by(self, board: Leaderboard) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Every setting's trials, what they are chosen by and their late performance: of two stages, in the first."""
        part = selections.selection(self.record)
        if self.part in (self.record, part):
            return self.trials, self.judged, self.late
        trials = frames.trials(part, self.ledger)
        curves = frames.curves(part, self.ledger, [board.metric, board.selection.metric])
        return trials, *_late(*so_far.shortened(trials, curves, self.reach), board.metric)


def _late(trials: pd.DataFrame, curves: pd.DataFrame, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What settings are chosen by, and late performance: the same unless the sweep's file says otherwise."""
    late = selections.late(trials, curves, metric, windows.LATE)
    same = selections.chosen_by(trials) == (metric, windows.LATE)
    return late if same else selections.judged(trials, curves), late


def _add(facts: Facts, sweep: _Sweep, board: Leaderboard, first: int, *, most: int, prefix: str) -> None:
    """Add what a sweep's charts are drawn from; its arms are those from place `first` on."""
    places = {arm: first + place for place, arm in enumerate(sweep.record.arms)}
    shown = settings.of_sweep(sweep.record, sweep.trials, sweep.judged, board, places, most=most, prefix=prefix)
    base = len(facts.settings)
    groups = {(setting.label, setting.group): base + place for place, setting in enumerate(shown)}
    facts.settings += shown
    facts.left_out += len(sweep.late[["arm", "group"]].drop_duplicates()) - len(shown)
    facts.panels += [standing.panel for standing in board.standings]
    facts.columns += settings.hyperparameters(sweep.all)
    ended = sweep.trials[sweep.trials["status"].isin(frames.FINISHED)]
    facts.tasks = max(facts.tasks, int(ended["tasks"].max()))
    metrics = sweep.metrics()
    trials, curves = tables.read(sweep.part, sweep.ledger, sweep.trials, shown, metrics)
    each = tables.points_each(len(facts.settings) * len(metrics), tables.BUDGET)
    singles = tables.points_each(
        int(trials["seed"].nunique()) * len(board.standings) * len(metrics), tables.SEED_BUDGET
    )
    for metric in metrics:
        if metric not in curves["metric"].cat.categories:
            continue  # no trial came as far as its first value
        observed = frames.observed(trials, curves, metric)
        best = {
            (setting.label, setting.group): groups[setting.label, setting.group] for setting in shown if setting.best
        }
        facts.rows["curves"] += tables.curve_rows(observed, groups, points=each)
        facts.rows["seeds"] += tables.seed_rows(observed, best, points=singles)
        if sweep.reach is not None:
            observed = frames.observed(*so_far.shortened(trials, curves, sweep.reach), metric)
        facts.rows["late"] += tables.late_rows(observed, groups)
    trials, judged, late = sweep.chosen_by(board)
    columns, panels = settings.hyperparameters(trials), settings.panels_of(trials, board)
    of_panels = trials[trials["status"].isin(frames.FINISHED)].assign(panel=panels)
    for name, rows in (("sensitivity", tables.sensitivity_rows), ("pairs", tables.pair_rows)):
        facts.rows[name] += rows(of_panels, judged, late, columns, places)


def _colored(read: Sequence[_Sweep]) -> Iterator[tuple[str, str]]:
    """(label, colour) of every arm of every sweep; an arm has the colour that figures give it, a second one a spare."""
    alone = len(read) == 1
    keys: dict[str, str] = {}  # label on the page -> what the palette is asked for
    for sweep in read:
        for arm in sweep.record.arms:
            label = naming.words(arm) if alone else f"{sweep.record.identity}: {naming.words(arm)}"
            keys[label] = arm if arm not in keys.values() else label
    colors = palette.colors(keys.values())
    return ((label, colors[key]) for label, key in keys.items())
