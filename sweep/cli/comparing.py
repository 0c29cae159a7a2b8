"""One paired comparison for the terminal, and as JSON."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from sweep.cli.output import sparkline
from sweep.ledger.ledger import Ledger
from sweep.ledger.sweeps import SweepRecord
from sweep.results import answers, intervals, leaderboard, naming, verdicts
from sweep.results.answers import Standing
from sweep.results.comparisons import Comparison
from sweep.results.intervals import Estimate

Again = Callable[[Comparison], dict[str, str]]  # what draws it, and what repeats one of its points


def again(record: SweepRecord, ledger: Ledger) -> Again:
    """The commands that draw a comparison and repeat a point of it."""
    place = f" --storage {shlex.quote(ledger.storage.uri)}"
    first = {trial.group: trial.id for trial in reversed(record.trials)}

    def commands(told: Comparison) -> dict[str, str]:
        arms = shlex.quote(f"{told.ours.arm},{told.theirs.arm}")
        return {
            "draw": f"sweep figure {shlex.quote(record.identity)} --name paired_differences --arms {arms}{place}",
            "repeat": f"sweep trial {first[told.ours.group]} --run{place}",
        }

    return commands


def as_text(told: Comparison, again: Again) -> str:
    """Everything there is to say of it, a line each."""
    ours, theirs = told.ours, told.theirs
    names = naming.words(ours.arm), naming.words(theirs.arm)
    lines = [
        f"{told.panel + ': ' if told.panel else ''}{names[0]} minus {names[1]}: {leaderboard.heading(told.board)}",
        told.board.selection.told(),
        "",
        *(line for standing in (ours, theirs) for line in _arm(standing)),
        "",
    ]
    if (difference := ours.difference) is not None:
        seeds = f"{difference.seeds} seeds" if difference.seeds > 1 else "1 seed"
        estimate = difference.estimate
        size = f"{naming.rounded(estimate.mean, 4, '+')} {answers.between(estimate, '+')}"
        lines += [
            f"difference      {size}, {seeds} that both have",
            *([f"better in       {answers.better_in(difference)}"] if math.isfinite(difference.probability) else []),
            *([f"improvement     {_improvement(told.improvement, names)}"] if told.improvement is not None else []),
            *([f"chance          {_chance(told)}"] if math.isfinite(difference.p) else []),
            f"matters from    {told.smallest:.3g}{_small(told)}",
            *([f"it takes        {_needed(told)}"] if told.seeds_needed is not None else []),
            f"over the tasks  {_over(told)}",
            "",
        ]
    lines.append(_sentence(told))
    commands = again(told)
    lines += ["", f"draw it         {commands['draw']}", f"repeat a point  {commands['repeat']}"]
    return "\n".join(line for place, line in enumerate(lines) if line or place != 1)


def _arm(standing: Standing) -> list[str]:
    """Its setting and how it did."""
    late = standing.late
    chosen = f"best of its {standing.candidates} settings" if standing.candidates > 1 else "its one setting"
    value = f"{naming.rounded(late.mean, 4)} {answers.between(late)}" if late.seeds else "no value"
    lost = f"; {answers.lost(standing)}" if standing.diverged else ""
    return [f"{standing.name}: {value}, {late.seeds} of {standing.members} seeds, {chosen}{lost}"]


def _improvement(odds: Estimate, names: tuple[str, str]) -> str:
    """The probability of improvement, of runs whose seeds need not be the same."""
    chance = f"{odds.mean:.0%} [{odds.low:.0%}, {odds.high:.0%}]"
    return f"{chance}: how likely some run of {names[0]} is better than some run of {names[1]}, whatever their seeds"


def _chance(told: Comparison) -> str:
    difference = told.ours.difference
    assert difference is not None
    normal = ", if differences are normal (Student's t)" if difference.seeds < intervals.FEWEST_SEEDS else ""
    if told.comparisons < 2:
        return f"p = {difference.p:.2g}, of one comparison, not corrected{normal}"
    return (
        f"p = {difference.p:.2g}, and {difference.adjusted:.2g} corrected for the {told.comparisons} arms that are"
        f" compared with {naming.words(told.theirs.arm)} (Holm){normal}"
    )


def _small(told: Comparison) -> str:
    """What the interval says of the smallest effect that matters."""
    difference = told.ours.difference
    assert difference is not None
    if difference.seeds >= intervals.FEWEST_SEEDS and verdicts.too_small(difference, told.smallest):
        return ": if there is a difference, it is too small to matter"
    return ""


def _needed(told: Comparison) -> str:
    difference = told.ours.difference
    assert difference is not None and told.seeds_needed is not None
    what = "a difference of this size" if abs(difference.estimate.mean) >= told.smallest else "one that matters"
    return f"some {told.seeds_needed:,} seeds to tell {what}, in {intervals.POWER:.0%} of sweeps"


def _over(told: Comparison) -> str:
    means = told.curve["mean"].tolist()
    finite = [value for value in means if math.isfinite(value)]
    return f"{sparkline(means)}  from {min(finite):+.3g} to {max(finite):+.3g}" if finite else "no value"


def _sentence(told: Comparison) -> str:
    """The verdict, as `sweep results` has it of these two."""
    if not told.theirs.late.seeds or not told.ours.late.seeds:
        return "One of them has no value, so there is nothing to compare."
    return answers.too_few(told.theirs, [told.ours]) or answers.answer(told.theirs, [told.ours])


def facts(told: Comparison, again: Again) -> dict[str, Any]:
    """The comparison as plain values."""
    board = told.board
    return {
        "sweep": board.sweep,
        "metric": board.metric,
        "higher_is_better": board.higher,
        "window": str(board.window),
        "statistic": board.statistic,
        "panel": told.panel,
        "selection": {**asdict(board.selection), "window": str(board.selection.window)},
        "ours": asdict(told.ours),
        "theirs": asdict(told.theirs),
        "probability_of_improvement": asdict(told.improvement) if told.improvement else None,
        "comparisons": told.comparisons,
        "smallest_effect_that_matters": told.smallest,
        "seeds_needed": told.seeds_needed,
        "curve": told.curve.to_dict("records"),
        "sentence": _sentence(told),
        **again(told),
    }
