"""A sweep as claims read it: learners by what they are, whatever their arms are called, and numbers by seed.

A claim speaks of "L2" or of "backprop"; a file may call these arms anything. So a side of a claim is found by optimizer
and methods. A method that does nothing (continual backprop at rate 0, AdamO without a pull) is none, so a grid that
crosses such settings has its baselines inside. Nor is an arm with another network than most, such as one of other
activations, the optimizer alone, where another arm is.

Numbers are means over stretches of a tenth of the tasks, counted from the end: the first is the window that arms are
judged by everywhere (`windows.late`). Which setting stands for a learner, and where a curve has its best stretch, is
decided for every seed by the half of the seeds that it does not belong to (every other one): what a seed is judged at
is not chosen by its own luck, so neither the best of many settings nor the best of ten stretches looks better than it
is. The halves depend on each other a little, which `spread` makes up for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sweep.results import frames, naming
from workloads.metrics import higher_is_better
from workloads.networks.config import in_training

STRETCHES = 10  # a trial's tasks are read in so many parts, or one for each task where they are fewer
SPREAD = 1.17
TIED = {"workload.examples_per_task": "workload.tasks"}  # what follows from an axis, of as many examples
OTHER_NETWORK = " another network"  # after the methods of a setting whose arm has one of its own
NO_EFFECT = {"continual_backprop": "replacement_rate", "redo": "threshold"}  # methods that are none where this is 0


class Unread(Exception):
    """A sweep has not got what a claim asks for; the text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """One side of a claim: an optimizer with these methods and no others, dropout and online normalisation included."""

    label: str  # for people
    optimizer: str | None = None  # None: whichever the claim is looked at with
    methods: frozenset[str] = frozenset()
    where: tuple[tuple[str, object], ...] = ()  # settings it must have, such as ("reset.what", "all")
    linear: bool = False  # without hidden layers; its optimizer does not matter
    furthest: bool = False  # stands at the setting with the best stretch of all, where others do at the best end


@dataclass(frozen=True, slots=True)
class Place:
    """Where a claim is looked at: one panel of network and workload, one optimizer."""

    panel: str
    optimizer: str | None
    without: str | None  # an axis that makes no panels here


@dataclass(frozen=True, slots=True)
class Side:
    """A learner in a place."""

    seeds: np.ndarray  # (S,)
    groups: tuple[str, ...]  # K settings
    values: np.ndarray  # (S, K, T) means of a stretch, the last one first; NaN where a trial is lost or missing

    @property
    def late(self) -> np.ndarray:
        """(S, K), the last tenth of the tasks."""
        return self.values[:, :, 0]

    @property
    def throughout(self) -> np.ndarray:
        """(S, K), the mean of all stretches that trials have here."""
        mean: np.ndarray = self.values[:, :, np.isfinite(self.values).any((0, 1))].mean(2)
        return mean


class Evidence:
    """The finished trials of a sweep. `read` gives the tidy curves of a metric."""

    def __init__(self, trials: pd.DataFrame, read: Callable[[str], pd.DataFrame], names: Mapping[str, str]) -> None:
        self.trials = known(trials[trials["status"].isin(frames.FINISHED)])
        self.headline = frames.headline(trials)
        self.higher = higher_is_better(self.headline)
        self.workloads = frozenset(self.trials["workload.name"])
        self.recorded = frozenset(frames.recorded_metrics(trials))
        self._read = read
        self._names = names  # group -> the setting's name for people
        self._panels: dict[str | None, dict[str, pd.DataFrame]] = {}  # axis that makes none -> panel -> trials
        self._stretches: dict[str, pd.DataFrame] = {}
        self._sides: dict[tuple[Place, Learner, str], Side] = {}

    def places(self, optimizers: Sequence[str | None], without: str | None = None) -> Iterator[Place]:
        """The panels, each with every optimizer; an axis that a claim is about makes none."""
        for panel in self._panels_of(without):
            yield from (Place(panel, optimizer, without) for optimizer in optimizers)

    def workload(self, place: Place) -> str:
        """The workload of a place."""
        return str(self._panels_of(place.without)[place.panel]["workload.name"].iloc[0])

    def length(self, place: Place) -> int:
        """How many steps the longest trial of a place went through."""
        return int(self._steps.reindex(self._panels_of(place.without)[place.panel].index).max())

    @functools.cached_property
    def _steps(self) -> pd.Series[int]:
        """Trial -> the last step of which its headline metric tells."""
        return self._read(self.headline).groupby("trial", observed=True)["step"].max()

    def _panels_of(self, without: str | None) -> dict[str, pd.DataFrame]:
        """Panel -> its trials, with the linear learners that share all but a shape with it."""
        if without in self._panels:
            return self._panels[without]
        networks, linear = frames.split(self.trials)
        axes = [axis for axis in frames.panel_axes(networks) if axis not in (without, TIED.get(without or ""))]
        shared = [axis for axis in axes if axis not in frames.SHAPE]
        cells = networks[axes].drop_duplicates().sort_values(axes) if axes else networks.iloc[:1][axes]
        panels = self._panels[without] = {}
        for cell in cells.to_dict("records"):
            own = networks[matches(networks, {axis: cell[axis] for axis in axes})]
            beside = linear[matches(linear, {axis: cell[axis] for axis in shared})]
            panel = naming.setting({str(axis): value for axis, value in cell.items()})
            panels[panel] = pd.concat([own, beside])
        return panels

    def side(self, place: Place, learner: Learner, metric: str) -> Side:
        """A learner's numbers. Raises Unread where the sweep has no such trials or did not record the metric."""
        key = place, learner, metric
        if key not in self._sides:
            self._sides[key] = self._side(place, learner, metric)
        return self._sides[key]

    def _side(self, place: Place, learner: Learner, metric: str) -> Side:
        rows = self._panels_of(place.without)[place.panel]
        optimizer = learner.optimizer or place.optimizer
        acting = rows["acting"]
        if any(column.startswith("network.") for column, _ in learner.where):  # whichever network most arms have
            acting = acting.str.removesuffix(OTHER_NETWORK)
        fits = (rows["linear"] == learner.linear) & (acting == " ".join(sorted(learner.methods)))
        if not learner.linear:
            fits &= rows["learner"] == optimizer
        rows = rows[fits]
        rows = rows[matches(rows, dict(learner.where))]
        if rows.empty:
            raise Unread(f"no arm is {described(learner, optimizer)}")
        side = self._of(rows, metric)
        if not np.isfinite(side.late).any():
            raise Unread(f"{naming.metric(metric)} of {described(learner, optimizer)} has no value at the end")
        return side

    def everybody(self, place: Place, metric: str) -> Side:
        """The numbers of all settings in a place. Raises Unread where the sweep did not record the metric."""
        return self._of(self._panels_of(place.without)[place.panel], metric)

    def _of(self, rows: pd.DataFrame, metric: str) -> Side:
        """The numbers of these trials."""
        rows = rows[~rows.index.duplicated()]
        stretches = self.stretches(metric).reindex(rows.index).to_numpy()
        seeds, seed = np.unique(rows["seed"].to_numpy(), return_inverse=True)
        group, groups = pd.factorize(rows["group"])
        values = np.full((len(seeds), len(groups), stretches.shape[1]), np.nan)
        values[seed, group] = stretches
        return Side(seeds, tuple(groups), values)

    def stretches(self, metric: str) -> pd.DataFrame:
        """Each trial's mean over every stretch of its tasks, a column each, the last stretch first."""
        if metric not in self._stretches:
            if metric not in self.recorded:
                raise Unread(f"{metric} was not recorded")
            dense = frames.observed(self.trials, self._read(metric), metric)
            dense = dense.drop_duplicates(["trial", "task"])  # a trial of two arms is in it twice
            size = np.ceil(dense["tasks"] / STRETCHES).astype(int)
            dense["back"] = (dense["tasks"] - 1 - dense["task"]) // size
            parts = dense.groupby(["trial", "back"])["value"]
            means = parts.mean().where(parts.count() == parts.size())  # one that misses a task has none
            self._stretches[metric] = means.unstack("back")
        return self._stretches[metric]

    def first_of(self, metrics: Sequence[str]) -> str:
        """The first of these that was recorded; the headline metric where none is asked for."""
        for metric in metrics:
            if metric in self.recorded:
                return metric
        if metrics:
            raise Unread(f"{' or '.join(metrics)} was not recorded")
        return self.headline

    def chosen(self, place: Place, learner: Learner) -> np.ndarray:
        """(S,) The place of the setting that stands for a learner, for every seed, as the other half has it."""
        side = self.side(place, learner, self.headline)
        if not learner.furthest:
            return best_by_other_half(side.late, higher=self.higher)
        spots = side.values.transpose(0, 2, 1).reshape(len(side.seeds), -1)  # stretch after stretch, settings inside
        return best_by_other_half(spots, higher=self.higher) % len(side.groups)

    def name(self, groups: Sequence[str], chosen: np.ndarray) -> str:
        """What the settings that were chosen are called: `adam 0.003`, or `adam 0.01 or adam 0.003` of two halves."""
        return " or ".join(self._names[groups[place]] for place in dict.fromkeys(chosen.tolist()))

    @functools.cached_property
    def arms(self) -> Mapping[str, str]:
        """Group -> its arm; of several the first."""
        once = self.trials.drop_duplicates("group")
        return dict(zip(once["group"], once["arm"], strict=True))

    @functools.cached_property
    def settings(self) -> Mapping[str, Mapping[str, object]]:
        """Group -> the columns of its setting."""
        columns = [column for column in self.trials.columns if "." in column]
        once = self.trials.drop_duplicates("group")[["group", *columns]]
        return {group: dict(zip(columns, own, strict=True)) for group, *own in once.itertuples(index=False, name=None)}


def known(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials with what they are: learner (see `optimizer_of`), acting (its methods), linear."""
    once = trials.drop_duplicates("group").set_index("group")  # the trials of one differ in seed alone
    rows = once.to_dict("records")
    everywhere = protocol(rows)
    told = pd.DataFrame(
        {
            "learner": [optimizer_of(row) for row in rows],
            "acting": [" ".join(sorted(acting(row) - everywhere)) for row in rows],
            "linear": [row.get("network.depth") == 0 for row in rows],
        },
        index=once.index,
    )
    if len(rows):
        told.loc[of_another_network(once, told), "acting"] += OTHER_NETWORK
    return trials.join(told, on="group")


def of_another_network(groups: pd.DataFrame, told: pd.DataFrame) -> pd.Series[bool]:
    """Which settings have a network of their arm's own, beside one that is alike but for the network most arms have.

    Where as many arms have each of several networks, it is the one of them that is named first.
    """
    networks, _ = frames.split(groups)
    panels = frames.panel_axes(networks)
    own = [column for column in networks.columns if column.startswith("network.") and column not in panels]
    network = networks.groupby(own, dropna=False, sort=False).ngroup()
    usual = network == networks.groupby(network)["arm"].nunique().idxmax()
    same = [told.loc[networks.index, name] for name in ("learner", "acting")]
    return (~usual & usual.groupby(same).transform("any")).reindex(groups.index, fill_value=False)


def protocol(rows: Sequence[Mapping[Any, Any]]) -> set[str]:
    """Methods that are no arm's, since every arm has them: a reset of the head or the optimizer, or cut gradients."""
    resets = {row.get("reset.what") for row in rows}
    norms = {row.get("gradient_clipping.norm") for row in rows}
    shared = {"reset"} if resets in ({"head"}, {"optimizer"}) else set()
    return shared | ({"gradient_clipping"} if len(norms) == 1 and pd.notna(next(iter(norms))) else set())


def optimizer_of(row: Mapping[object, object]) -> str:
    """An optimizer by what it does: AdamO that pulls nothing is Adam, and Muon that pulls is none of the published."""
    pull = row.get("optimizer.isometry_strength")  # absent, or NaN beside others that have one, where it is not set
    if row["optimizer.name"] == "muon" and isinstance(pull, int | float) and pull > 0:
        return "muon with the pull"
    return "adam" if without_pull(row) else str(row["optimizer.name"])


def without_pull(row: Mapping[object, object]) -> bool:
    """Whether it is AdamO that pulls nothing, by strength or by step size, which is Adam."""
    projection = row.get("optimizer.projection")  # absent, or NaN beside trials that have one, where it is not set
    projects = isinstance(projection, int | float) and projection > 0
    still = 0 in (row.get("optimizer.isometry_strength"), row.get("optimizer.isometry_step_size"))
    return row["optimizer.name"] == "adamo" and still and not projects


def acting(row: Mapping[object, object]) -> set[str]:
    """The methods that do something, and what a network does in training that is as good as one."""
    names = set(str(row["methods"]).split())
    names = {name for name in names if row.get(f"{name}.{NO_EFFECT.get(name)}") != 0}
    return names | in_training(row.get("network.dropout"), row.get("network.normalisation"))


def matches(rows: pd.DataFrame, settings: Mapping[Any, Any]) -> pd.Series[bool]:
    """Which rows have these values; a missing one matches a missing one."""
    fits = pd.Series(True, index=rows.index)
    for column, value in settings.items():
        if column not in rows:
            return pd.Series(False, index=rows.index)
        fits &= rows[column].isna() if pd.isna(value) else rows[column] == value
    return fits


def described(learner: Learner, optimizer: str | None) -> str:
    """A learner in words: `L2 with adam`."""
    fixed = learner.linear or learner.optimizer or optimizer is None or f"with {optimizer}" in learner.label.lower()
    return learner.label if fixed else f"{learner.label} with {optimizer}"


def best_by_other_half(values: np.ndarray, *, higher: bool) -> np.ndarray:
    """(S, K) with NaN -> (S,) for every seed, which column the other half does best at: fewest lost, then the mean.

    Of a single seed it is its own best.
    """
    half = np.arange(len(values)) % 2
    if len(values) == 1:
        return np.array([_best(values, higher=higher)])
    by = [_best(values[half != own], higher=higher) for own in (0, 1)]
    return np.where(half == 0, *by)


def _best(values: np.ndarray, *, higher: bool) -> int:
    there = np.isfinite(values)
    count = there.sum(0)
    mean = np.where(there, values, 0.0).sum(0) / np.maximum(count, 1)
    worst = np.where(count > 0, -mean if higher else mean, np.inf)
    return int(np.lexsort((worst, len(values) - count))[0])


def spread(values: np.ndarray) -> np.ndarray:
    """(S,) numbers at what the other half chose, moved from their mean by `SPREAD`, so that their scatter tells the
    truth about the mean.

    Let x be the best of K equally good columns in a half, in standard errors of a half's mean: the two halves' numbers
    correlate by E[x]^2 / (K - 1), which is largest for K = 3 (0.36), and so the mean's error is up to sqrt(1.36) times
    what independent numbers would have.
    """
    finite = values[np.isfinite(values)]
    return finite.mean() + SPREAD * (values - finite.mean()) if len(finite) else values
