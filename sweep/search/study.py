"""One search as Optuna's study: asks for settings and is told how they did. Only this module imports optuna.

A study lives in the driver's memory and nowhere else. It is rebuilt by asking it the same once more and telling it
the same: its sampler is seeded, so that it comes to the same settings. Where it does not, as after an upgrade of
Optuna, the settings that were asked for then stand. Of one that is over, `known` makes a study to look at.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from sweep.spec.ranges import Range

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

Picture = Literal["slices", "contours"]
DIGITS = 4  # significant ones of a drawn number: a setting is to be read, and written by hand again
SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "tpe": TPESampler,  # Bergstra et al. 2011; settings that run count as poor ones (constant liar)
    "random": RandomSampler,
    "gp": GPSampler,
    "cmaes": CmaEsSampler,
    "qmc": functools.partial(QMCSampler, scramble=True),  # Sobol' points
}


class Study:
    """Settings drawn from ranges, better ones where the sampler learns from what it is told."""

    def __init__(self, ranges: Mapping[str, Range], *, sampler: str, seed: int, higher: bool) -> None:
        """`higher`: whether more of the objective is better."""
        self.ranges = ranges
        self.sampler = sampler
        self.higher = higher
        with quiet():
            self.study = optuna.create_study(
                sampler=SAMPLERS[sampler](seed=seed),
                direction="maximize" if higher else "minimize",
            )
        self.distributions = {name: distribution(drawn) for name, drawn in ranges.items()}
        self.running: list[optuna.Trial] = []

    def ask(self, count: int) -> list[dict[str, Any]]:
        """The next settings, by the names of the ranges; what was asked for before must have been told."""
        with quiet(), one_thread() if self.sampler == "gp" else nullcontext():
            self.running = [self.study.ask(self.distributions) for _ in range(count)]
        return [self._setting(trial.params) for trial in self.running]

    def tell(self, settings: Sequence[Mapping[str, Any]], values: Sequence[float | None]) -> None:
        """How the settings did that were asked for, or others that were trained in their place.

        None is a setting that diverged, told as the worst there can be: a failed trial would teach a sampler nothing,
        and it would come back.
        """
        worst = -math.inf if self.higher else math.inf
        with quiet():
            for trial, setting, value in zip(self.running, settings, values, strict=True):
                score = worst if value is None else value
                if self._setting(trial.params) == setting:
                    self.study.tell(trial, score)
                    continue
                self.study.tell(trial, state=TrialState.FAIL)
                params = {name: self._drawn(name, setting[name]) for name in self.ranges}
                self.study.add_trial(create_trial(params=params, distributions=self.distributions, value=score))
        self.running = []

    def _setting(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What a sampler has drawn, as a sweep file would say it."""
        return {name: as_written(params[name], drawn) for name, drawn in self.ranges.items()}

    def _drawn(self, name: str, value: Any) -> Any:
        """The inverse of `as_written`, up to rounding."""
        drawn = self.ranges[name]
        return drawn.values.index(value) if drawn.kind == "choice" else value


def distribution(drawn: Range) -> BaseDistribution:
    """A range as Optuna has it; of a choice, the places of its values, which may be of any type."""
    if drawn.kind == "choice":
        places: list[CategoricalChoiceType] = list(range(len(drawn.values)))
        return CategoricalDistribution(places)
    low, high = drawn.values
    if drawn.kind == "int" or isinstance(low, int):
        return IntDistribution(int(low), int(high), log=drawn.kind == "log")
    return FloatDistribution(low, high, log=drawn.kind == "log")


def as_written(value: Any, drawn: Range) -> Any:
    """A drawn value as its field takes it, numbers with `DIGITS` digits and inside their range."""
    if drawn.kind == "choice":
        return drawn.values[value]
    low, high = drawn.values
    if isinstance(low, int):
        return int(value)
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)


def known(
    ranges: Mapping[str, Range], settings: Sequence[Mapping[str, Any]], values: Sequence[float | None], *, higher: bool
) -> optuna.Study:
    """The study of a search that is over: its settings in their order, and how they did, None where one diverged.

    Of a choice it has the words and not their places, as it is to be shown.
    """
    worst = -math.inf if higher else math.inf
    kinds = {
        name: CategoricalDistribution(list(_words(drawn))) if drawn.kind == "choice" else distribution(drawn)
        for name, drawn in ranges.items()
    }
    with quiet():
        study = optuna.create_study(direction="maximize" if higher else "minimize")
        for setting, value in zip(settings, values, strict=True):
            params = {
                name: next(w for w, own in zip(_words(drawn), drawn.values, strict=True) if _same(own, setting[name]))
                if drawn.kind == "choice"
                else setting[name]
                for name, drawn in ranges.items()
            }
            score = worst if value is None else value
            study.add_trial(create_trial(params=params, distributions=kinds, value=score))
    return study


def _words(drawn: Range) -> tuple[str, ...]:
    """A choice's values as they are shown; with their quotes where two would read alike, such as 1 and "1"."""
    words = tuple(str(value) for value in drawn.values)
    return words if len(set(words)) == len(words) else tuple(repr(value) for value in drawn.values)


def _same(choice: Any, value: Any) -> bool:
    """Whether a value is that choice, 1.0 being 1 but no True."""
    return bool(choice == value) and isinstance(choice, bool) == isinstance(value, bool)


def importances(study: optuna.Study) -> dict[str, float]:
    """How much each range decided, as shares of 1, by Optuna's own measure (PED-ANOVA)."""
    with quiet():
        return optuna.importance.get_param_importances(study)


def draw(picture: Picture, study: optuna.Study, figure: SubFigure, label: str) -> None:
    """Optuna's own picture of a study on a part of a figure; `label` is what settings are valued by."""
    from optuna.visualization import matplotlib as pictures

    plot = pictures.plot_slice if picture == "slices" else pictures.plot_contour
    with quiet(), drawing_on(figure):
        plot(study, target_name=label)
    figure.suptitle("")
    for axes in figure.axes:
        axes.set_title("")
        if axes.get_ylabel() == "Trial":  # a bar of colours: what is a trial there is a setting here
            axes.set_ylabel("place in the search")


@contextmanager
def drawing_on(figure: SubFigure) -> Iterator[None]:
    """pyplot, with which Optuna makes a figure of its own in a style of its own, gives it this one as it is."""
    from matplotlib import pyplot

    def subplots(*args: Any, figsize: object = None, **options: Any) -> tuple[SubFigure, Any]:
        return figure, figure.subplots(*args, **options)

    before = pyplot.subplots, pyplot.style.use
    pyplot.subplots, pyplot.style.use = subplots, lambda style: None  # type: ignore[assignment]
    try:
        yield
    finally:
        pyplot.subplots, pyplot.style.use = before


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch, which the sampler gp computes with, on one thread: more would wait for each other most of the time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its log of every trial, and without warnings about what is meant: experimental samplers, a
    categorical choice that is drawn by itself, values that are infinite."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", message="Clip non-finite values")
            yield
    finally:
        optuna.logging.set_verbosity(before)
