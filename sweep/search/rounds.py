"""The rounds of a sweep: `next(results)` gives the trials to be trained next, once those before are.

    grid      every setting of every arm, all at once
    search    some settings at a time for every arm that has ranges, drawn from what is known of those before
    evaluate  the setting of each arm that did best, on fresh seeds

A sweep is a grid or a search, and may end with an evaluation. Arms without ranges take part in a search with their
whole grid, in the first round. An arm is searched, and its best setting chosen, in every setting of workload and
network by itself: those are what arms are compared in. Everything follows from the file and the results, but for one
thing: what a search asked for is recorded before it is trained, and stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sweep.errors import InputError
from sweep.spec.axes import Section
from sweep.spec.model import Arm, Search, Spec
from sweep.trials import Trial, canonical, digest, settings, together, trial_id, with_seeds
from workloads.metrics import higher_is_better

if TYPE_CHECKING:  # reads the ledger, with pyarrow and numpy
    from sweep.search.judging import Score

GRID, SEARCH, EVALUATION = "grid", "search", "evaluation"
Results = Callable[[Sequence[Trial]], Mapping[str, "Score"]]  # group -> score, of trials that have all ended


@dataclass(frozen=True, slots=True)
class Round:
    """Trials that are asked for at once."""

    stage: str
    trials: list[Trial]


class Rounds:
    """The rounds of one sweep, one after the other."""

    def __init__(self, spec: Spec, recorded: Mapping[str, Any] | None = None) -> None:
        """`recorded` is what `record` said in an earlier run of the sweep, which this one continues."""
        self.spec = spec
        self.asked: list[Round] = []
        self.scores: dict[str, Score] = {}
        searched = [arm for arm in spec.arms if spec.search and arm.ranges]
        self.fixed = [arm for arm in spec.arms if arm not in searched]
        self.searches = [Searched(spec, arm, place, recorded or {}) for arm in searched for place in places(spec, arm)]

    @property
    def trials(self) -> list[Trial]:
        """All that were asked for, each once."""
        return together(round.trials for round in self.asked)

    @property
    def evaluates(self) -> bool:
        """Whether the evaluation is still to be asked for."""
        return bool(self.spec.evaluate) and not any(round.stage == EVALUATION for round in self.asked)

    @property
    def later(self) -> int:
        """How many trials are in rounds that were not asked for yet; where settings meet twice, fewer."""
        spec = self.spec
        if not self.asked:
            return spec.size
        chosen = sum(spec.places(arm) for arm in spec.arms) if self.evaluates else 0
        return sum(search.left for search in self.searches) * len(spec.seeds) + chosen * len(spec.evaluate)

    @property
    def total(self) -> int:
        """How many rounds there will be, those asked for included."""
        left = max((search.rounds_left for search in self.searches), default=0 if self.asked else 1)
        return len(self.asked) + left + self.evaluates

    def next(self, results: Results) -> Round | None:
        """The next round; None when there is none. All trials of the rounds before must have ended."""
        if self.asked and not self.later:
            return None
        if self.asked:
            self.scores |= results(self.asked[-1].trials)
        round = self._selection() or self._evaluation()
        if round is not None:
            self.asked.append(round)
        return round

    def record(self) -> dict[str, Any]:
        """What a later run needs to continue the searches: what they asked for, by search."""
        return {search.key: search.record() for search in self.searches}

    def _selection(self) -> Round | None:
        """Settings to choose from, on the first seeds."""
        configs = [] if self.asked else list(settings(self.spec, self.fixed))
        for search in self.searches:
            configs += search.ask(self.scores)
        stage = SEARCH if self.searches else GRID
        return Round(stage, with_seeds(configs, self.spec.seeds)) if configs else None

    def _evaluation(self) -> Round | None:
        """The best setting of every arm in every place, on fresh seeds."""
        if not self.evaluates:
            return None
        from sweep.search.judging import best

        candidates: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}  # by arm and place: group -> config
        for trial in {(trial.group, trial.arms): trial for trial in self.trials}.values():  # one for all its seeds
            config = {key: value for key, value in trial.config.items() if key != "seed"}
            for arm in trial.arms:
                place = canonical([config["workload"], config["network"]])
                candidates.setdefault((arm, place), {}).setdefault(trial.group, config)
        higher = higher_is_better(self.spec.objective)
        chosen = [
            (arm, groups[best(((group, self.scores[group]) for group in groups), higher=higher)])
            for (arm, _), groups in candidates.items()
        ]
        return Round(EVALUATION, with_seeds(chosen, self.spec.evaluate))


def ranges(manifest: Mapping[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """Arm -> column -> [kind, values] of a sweep that was run; nothing where it has no search, or an older record."""
    searches: Mapping[str, Any] = manifest.get("search", {})
    return {key.rpartition(":")[0]: search["ranges"] for key, search in searches.items() if "ranges" in search}


def places(spec: Spec, arm: Arm) -> Iterator[tuple[Section, Section]]:
    """Every setting of workload and network that an arm is trained in."""
    for workload in alone(spec.workload):
        for network in alone(arm.network):
            yield workload, network


def alone(section: Section) -> Iterator[Section]:
    """Each setting of a section as a section of its own."""
    for config, setting in zip(section.configs, section.settings, strict=True):
        yield replace(section, configs=(config,), settings=(setting,), axes=())


class Searched:
    """The search of one arm in one setting of workload and network."""

    def __init__(self, spec: Spec, arm: Arm, place: tuple[Section, Section], recorded: Mapping[str, Any]) -> None:
        assert spec.search is not None
        self.search: Search = spec.search
        self.spec = replace(spec, workload=place[0])
        self.arm = replace(arm, network=place[1])
        self.key = f"{arm.label}:{digest(canonical([part.settings for part in place]))}"
        earlier = recorded.get(self.key, {})
        self.recorded = self.read(earlier["asked"]) if earlier.get("of") == self.meaning else []
        self.asked: list[list[dict[str, Any]]] = []  # by round
        self.groups: list[str] = []  # of the last round
        self.values: list[list[float | None]] = []  # of the rounds before, as the study is to be told
        self.told = 0  # rounds that the study knows
        self.study: Any = None  # made when something must be drawn

    @property
    def meaning(self) -> str:
        """Equal for searches that ask the same, told the same; the number of trials may grow."""
        spec, search = self.spec, self.search
        ranges = {name: [drawn.kind, drawn.values] for name, drawn in self.arm.ranges.items()}
        fixed = trial_id(self.config({}))
        window = str(spec.window) if spec.window.end == "first" else spec.window.percent / 100
        judged = [spec.objective, window, spec.seeds]
        return digest(canonical([fixed, ranges, search.sampler, search.at_once, search.seed, judged]))

    @property
    def left(self) -> int:
        """Settings to ask for yet."""
        return max(0, self.search.trials - sum(map(len, self.asked)))

    @property
    def rounds_left(self) -> int:
        """Rounds to ask for yet."""
        return math.ceil(self.left / self.search.at_once)

    def record(self) -> dict[str, Any]:
        """What was asked for, round by round, and what an earlier run asked for that this one has not come to yet; of
        which ranges, for those who look at it.
        """
        ranges = {name: [drawn.kind, list(drawn.values)] for name, drawn in self.arm.ranges.items()}
        return {"of": self.meaning, "ranges": ranges, "asked": [*self.asked, *self.recorded[len(self.asked) :]]}

    def read(self, rounds: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[dict[str, Any]]]:
        """What `record` said, from JSON: of a choice the very value, which may be a tuple."""
        ranges = self.arm.ranges
        return [[{name: ranges[name].written(value) for name, value in s.items()} for s in round] for round in rounds]

    def ask(self, scores: Mapping[str, Score]) -> list[tuple[str, dict[str, Any]]]:
        """The settings of the next round, with the arm's label; those before have their scores."""
        if not self.left:
            return []
        if self.asked:
            self.values.append([scores[group].value for group in self.groups])
        recorded = self.recorded[len(self.asked) :][:1]
        settings_of_round = recorded[0][: self.left] if recorded else self.draw(min(self.search.at_once, self.left))
        configs = [self.config(setting) for setting in settings_of_round]
        self.asked.append(settings_of_round)
        self.groups = [trial_id(config) for config in configs]
        return [(self.arm.label, config) for config in configs]

    def draw(self, count: int) -> list[dict[str, Any]]:
        """New settings; the study is first asked and told what came before, so that its sampler is where it was."""
        if self.study is None:
            from sweep.search.study import Study

            search, higher = self.search, higher_is_better(self.spec.objective)
            self.study = Study(self.arm.ranges, sampler=search.sampler, seed=search.seed, higher=higher)
        for settings_of_round, values in zip(self.asked[self.told :], self.values[self.told :], strict=True):
            if not self.study.running:  # a round that an earlier run asked for
                self.study.ask(len(settings_of_round))
            self.study.tell(settings_of_round, values)
        self.told = len(self.values)
        drawn: list[dict[str, Any]] = self.study.ask(count)
        return drawn

    def config(self, setting: Mapping[str, Any]) -> dict[str, Any]:
        """The config, without its seed, of the arm at this setting; a field that is not given is at its low end.

        Raises InputError where the setting is none: a part may allow each of two values and not both.
        """
        try:
            own = replace(
                self.arm,
                optimizer=drawn(self.arm.optimizer, "optimizer", setting),
                methods=tuple(drawn(method, method.name, setting) for method in self.arm.methods),
            )
        except ValueError as error:
            raise InputError(f"arm {self.arm.label}: its ranges hold {dict(setting)}, but {error}") from error
        [(_, config)] = settings(self.spec, [own])
        return config


def drawn(section: Section, part: str, setting: Mapping[str, Any]) -> Section:
    """A section at one setting of what is searched."""
    fields = {field: setting[f"{part}.{field}"] for field in section.ranges if f"{part}.{field}" in setting}
    return section.of(fields)
