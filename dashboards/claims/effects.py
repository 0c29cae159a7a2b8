"""What a claim measures in a sweep: numbers by seed, in the direction that the claim speaks of, and how to say them.

`Loss`: from a curve's best stretch to its last. `Gain`: one learner ahead of another at the end. `Slope`: how loss
changes along an axis. `Move`: what it costs to move a setting from its best. `Level`: a metric at the end. `Goes`: how
closely a metric goes with the headline over all settings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real

import numpy as np

from dashboards.claims.evidence import TIED, Evidence, Learner, Place, Side, Unread, best_by_other_half, spread
from dashboards.claims.judging import Numbers, Ranked
from sweep.results import naming
from sweep.results.correlations import FEWEST_ARMS, rank_correlation
from sweep.results.intervals import estimate


@dataclass(frozen=True, slots=True)
class Reading:
    """What a sweep says in one place: numbers by seed, NaN where a trial is lost, or a correlation; and a sentence."""

    values: Numbers
    said: str  # with {effect}, where mean and interval stand, and {way}
    ways: tuple[str, str]  # which way it is: where the mean is not negative, and where it is
    metric: str
    beside: float  # what the numbers are differences to
    relative: bool = False  # a share of that


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect(ABC):
    """What a claim measures."""

    @property
    @abstractmethod
    def learners(self) -> tuple[Learner, ...]:
        """All that it is about."""

    @property
    def without(self) -> str | None:
        """The axis it is about, which makes no panels then."""
        return None

    @abstractmethod
    def read(self, evidence: Evidence, place: Place) -> Reading:
        """Its numbers in one place. Raises Unread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfOne(Effect):
    """An effect whose subject is one learner."""

    learner: Learner

    @property
    def learners(self) -> tuple[Learner, ...]:
        """That one."""
        return (self.learner,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss(OfOne):
    """How far a learner's metric is, at the end, from its own best stretch; `rising`: from its lowest to the end."""

    metrics: tuple[str, ...] = ()  # the first that was recorded; none: the headline
    rising: bool = False  # of a metric that grows as learning ages
    relative: bool = False  # to the best

    def read(self, evidence: Evidence, place: Place) -> Reading:
        """See Effect."""
        metric = evidence.first_of(self.metrics)
        side = evidence.side(place, self.learner, metric)
        chosen = evidence.chosen(place, self.learner)
        curves = side.values[np.arange(len(side.seeds)), chosen]
        higher = not self.rising if self.metrics else evidence.higher
        values, best = lost(curves, higher=higher)
        beside = float(np.nanmean(best))
        if self.relative:
            values = values / abs(beside)
        name, kind = evidence.name(side.groups, chosen), "lowest" if self.rising else "best"
        said = f"{naming.metric(metric)} of {name} ends {{effect}} {{way}} its {kind} stretch"
        ways = ("below", "above") if higher else ("above", "below")
        return Reading(spread(values), said, ways, metric, beside, self.relative)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain(OfOne):
    """How far ahead of another a learner ends, or is over all tasks, by seed."""

    over: Learner
    metrics: tuple[str, ...] = ()  # the first that was recorded; none: the headline
    lower: bool = False  # is ahead, of a metric that is no headline
    relative: bool = False  # to the other's
    throughout: bool = False  # over all tasks, not at the end

    @property
    def learners(self) -> tuple[Learner, ...]:
        """Both."""
        return self.learner, self.over

    def read(self, evidence: Evidence, place: Place) -> Reading:
        """See Effect."""
        metric = evidence.first_of(self.metrics)
        higher = not self.lower if self.metrics else evidence.higher
        own, name, picked = _late(evidence, place, self.learner, metric, throughout=self.throughout)
        other, beside, also = _late(evidence, place, self.over, metric, throughout=self.throughout)
        shared = sorted(own.keys() & other.keys())
        if not shared:
            raise Unread(f"{self.learner.label} and {self.over.label} share no seed")
        ahead = np.array([own[seed] - other[seed] for seed in shared])
        values = ahead if higher else -ahead
        level = float(np.nanmean([other[seed] for seed in shared]))
        if self.relative:
            values = values / abs(level)
        if picked or also:
            values = spread(values)
        verb = "over all tasks is" if self.throughout else "ends"
        said = f"{naming.metric(metric)} of {name} {verb} {{effect}} {{way}} {beside}"
        ways = ("above", "below") if higher else ("below", "above")
        return Reading(values, said, ways, metric, level, self.relative)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope(OfOne):
    """How much more of its own best a learner loses for every tenfold of a setting, all else equal."""

    axis: str  # a config column
    shrinking: bool = False  # the claim is that loss gets less along the axis

    @property
    def without(self) -> str | None:
        """The axis, where it would make panels."""
        return self.axis

    def read(self, evidence: Evidence, place: Place) -> Reading:
        """See Effect."""
        side = evidence.side(place, self.learner, evidence.headline)
        lines = along(evidence, side, self.axis)
        slopes = []
        for line in lines:
            spots = np.log10([value for value, _ in line])
            losses = np.stack([lost(side.values[:, setting], higher=evidence.higher)[0] for _, setting in line], axis=1)
            slopes.append(losses @ (spots - spots.mean()) / ((spots - spots.mean()) ** 2).sum())
        values = spread(np.mean(slopes, axis=0)) * (-1 if self.shrinking else 1)
        ends = sorted({value for line in lines for value, _ in line})
        axis = naming.setting({self.axis: ends[0]}) + f" to {naming.number(ends[-1])}"
        said = f"{self.learner.label}, {axis}: each tenfold {{way}} {{effect}} of loss"
        ways = ("adds", "takes")
        ways = ways[::-1] if self.shrinking else ways
        return Reading(values, said, ways, evidence.headline, float(np.nanmean(side.late)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Move(OfOne):
    """What a learner ends behind its best setting of an axis when that is moved by up to `factor`: the dearer way."""

    axis: str  # a config column
    factor: float = 10.0

    def read(self, evidence: Evidence, place: Place) -> Reading:
        """See Effect."""
        side = evidence.side(place, self.learner, evidence.headline)
        chosen = best_by_other_half(side.late, higher=evidence.higher)
        lines = along(evidence, side, self.axis, whole=False)
        costs = []
        for up in (True, False):
            beside = neighbours(lines, self.factor, up=up)
            cost = np.full(len(side.seeds), np.nan)
            for seed, setting in enumerate(chosen):
                if setting in beside:
                    if not np.isfinite(side.late[:, beside[setting]]).all():
                        lacking = evidence.name(side.groups, np.array([beside[setting]]))
                        raise Unread(f"trials of {lacking} are lost or missing")
                    gap = side.late[seed, setting] - side.late[seed, beside[setting]]
                    cost[seed] = gap if evidence.higher else -gap
            costs.append(cost)
        costs = [spread(cost) for cost in costs if np.isfinite(cost).any()]
        if not costs:
            raise Unread(f"{self.axis} has no two values within a factor of {self.factor:g}")
        dearer = max(costs, key=lambda cost: estimate(cost[np.isfinite(cost)]).high)
        axis, name = naming.words(self.axis.rpartition(".")[2]), evidence.name(side.groups, chosen)
        said = f"moving the {axis} of {name} by a factor of {self.factor:g} {{way}} {{effect}}"
        return Reading(dearer, said, ("costs", "gains"), evidence.headline, float(np.nanmean(side.late)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Level(OfOne):
    """A metric of a learner at the end, at the setting it does best with."""

    metrics: tuple[str, ...]  # the first that was recorded

    def read(self, evidence: Evidence, place: Place) -> Reading:
        """See Effect."""
        metric = evidence.first_of(self.metrics)
        late, name, picked = _late(evidence, place, self.learner, metric)
        values = np.array(list(late.values()))
        said = f"{naming.metric(metric)} of {name} ends at {{effect}}"
        return Reading(spread(values) if picked else values, said, ("", ""), metric, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goes(Effect):
    """How closely a metric goes with the headline, both at the end, over all settings of a place.

    Spearman's rank correlation of means over seeds (`sweep.results.correlations`): 1 where settings that end better
    have more of the metric, or less if `lower`.
    """

    metrics: tuple[str, ...]  # the first that was recorded
    lower: bool = False

    @property
    def learners(self) -> tuple[Learner, ...]:
        """None: it is about all there are."""
        return ()

    def read(self, evidence: Evidence, place: Place) -> Reading:
        """See Effect."""
        metric = evidence.first_of(self.metrics)
        ends, measured = (evidence.everybody(place, name) for name in (evidence.headline, metric))
        ways = np.array([evidence.arms[group] for group in ends.groups])
        if (count := len(np.unique(ways))) < FEWEST_ARMS:
            raise Unread(f"it takes {FEWEST_ARMS} arms to tell what goes with what, and there are {count}")
        turned = (1 if evidence.higher else -1) * (-1 if self.lower else 1)
        found = rank_correlation(ends.late.T, turned * measured.late.T, ways)
        name = naming.metric(metric)
        said = (
            f"over {len(ways)} settings of {count} arms {name} and where they end go {{way}}, Spearman's ρ {{effect}}"
        )
        words = ("together", "against each other")
        return Reading(Ranked(found, count), said, words if turned > 0 else words[::-1], metric, 0.0)


def _late(
    evidence: Evidence, place: Place, learner: Learner, metric: str, *, throughout: bool = False
) -> tuple[dict[int, float], str, bool]:
    """Seed -> the metric at the end, or throughout, at the setting that stands for the learner; its name; if picked."""
    side = evidence.side(place, learner, metric)
    chosen = evidence.chosen(place, learner)
    late = (side.throughout if throughout else side.late)[np.arange(len(side.seeds)), chosen]
    by_seed = dict(zip(side.seeds.tolist(), late.tolist(), strict=True))
    return by_seed, evidence.name(side.groups, chosen), len(side.groups) > 1


def lost(curves: np.ndarray, *, higher: bool) -> tuple[np.ndarray, np.ndarray]:
    """(S, T) stretches, the last first -> how far the last is from the best (S,), and that best (S,).

    Where the best is, the other half says: a seed's own best of several noisy stretches would always be above its end.
    """
    best = best_by_other_half(curves, higher=higher)
    top = curves[np.arange(len(curves)), best]
    return (top - curves[:, 0] if higher else curves[:, 0] - top), top


def neighbours(lines: list[list[tuple[float, int]]], factor: float, *, up: bool) -> dict[int, int]:
    """Setting -> the one that is farthest from it on its line, up or down, within a factor; none where none is."""
    neighbour = {}
    for line in lines:
        for value, setting in line:
            near = [(max(other / value, value / other), there) for other, there in line if (other > value) == up]
            near = [(ratio, there) for ratio, there in near if 1 < ratio <= factor * 1.001]  # 1e-4 x 10 is not 1e-3
            if near:
                neighbour[setting] = max(near)[1]
    return neighbour


def along(evidence: Evidence, side: Side, axis: str, *, whole: bool = True) -> list[list[tuple[float, int]]]:
    """Settings that differ in an axis alone, as lines of (value, place in the side), in order; at least two on a line.

    whole: without those of which a seed is lost, which have no curve to the end.
    """
    lines: dict[tuple[object, ...], list[tuple[float, int]]] = {}
    complete = np.isfinite(side.late).all(0) | (not whole)
    for place, group in enumerate(side.groups):
        settings = dict(evidence.settings[group])
        value = settings.pop(axis, None)
        settings.pop(TIED.get(axis, ""), None)
        if complete[place] and isinstance(value, Real) and float(value) > 0:
            key = tuple(sorted((column, str(each)) for column, each in settings.items()))
            lines.setdefault(key, []).append((float(value), place))
    ordered = [sorted(line) for line in lines.values() if len(line) > 1]
    if not ordered:
        raise Unread(f"{naming.words(axis.rpartition('.')[2])} has no two values, all else equal")
    return ordered
