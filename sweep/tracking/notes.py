"""What MLflow's pages say of experiments and runs, as Markdown: the question, how numbers were made, what to look at.

Links and pictures are relative to the page, so that they hold wherever the server is.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from sweep.results import answers, intervals, naming
from sweep.spec import changes
from sweep.spec.identity import SHIPPED
from sweep.tracking import views

if TYPE_CHECKING:
    from sweep.ledger.failures import Failure
    from sweep.ledger.sweeps import SweepRecord
    from sweep.results.answers import Standing
    from sweep.results.intervals import Estimate
    from sweep.results.leaderboard import Leaderboard

TAG = "mlflow.note.content"
APART = "&emsp;"  # the page draws a table's columns without a gap
LENGTH = 7900  # characters; MLflow keeps 8,000 of a run's tag


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of a sweep's trials there are and how they ended; settings are trials that differ in seed alone."""

    trials: int
    settings: int
    ended: int
    diverged: int
    failed: int


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to tell of a sweep."""

    record: SweepRecord
    board: Leaderboard | None  # None while no trial has ended, or without a headline metric
    counts: Counts
    experiment: str  # id
    run: str  # id of the sweep's own run, which holds the files
    pictures: Sequence[str]  # SVG files in its folder figures: the page shows pictures in their own size alone
    report: str | None = None  # its file with the report, where there is one


def of_experiment(told: Told) -> str:
    """The experiment: the answer first, as the page shows the first line alone, then how to read the page."""
    parts = [*_answer(told), _links(told), *_pictures(told), _levels(told), _made(told), _repeat(told)]
    return "\n\n".join(parts)


def of_sweep(told: Told) -> str:
    """The sweep's run: the same without the levels, as its files are beside it."""
    parts = [*_answer(told), _links(told), *_pictures(told), _made(told), _repeat(told)]
    return "\n\n".join(parts)[:LENGTH]


def of_arm(standing: Standing, board: Leaderboard, experiment: str) -> str:
    """An arm's run: at which setting, chosen from how many, and where the others are."""
    chosen = f"the best of its {standing.candidates} settings" if standing.candidates > 1 else "its one setting"
    by = f": late {naming.metric(board.metric)}" if board.evaluated else f" by late {naming.metric(board.metric)}"
    parts = [
        f"**{naming.words(standing.arm)}** at {chosen}{by} ({_late(standing.late)} over {standing.late.seeds} seeds)."
    ]
    if said := board.selection.told():
        parts.append(said)
    if lost := answers.lost(standing):
        parts.append(f"{lost[0].upper()}{lost[1:]}.")
    others = _link("every setting of this arm", experiment, {"pliant.kind": "group", "pliant.arm": standing.arm})
    trials = _link("the trials of this setting", experiment, {"pliant.kind": "trial", "pliant.group": standing.group})
    parts.append(f"Look at {others} or {trials}.")
    return "\n\n".join(parts)


def of_group(group: str, seeds: int, experiment: str) -> str:
    """A setting's run."""
    trials = _link("the trials", experiment, {"pliant.kind": "trial", "pliant.group": group})
    return f"Curves are means over {seeds} seeds with their 95 % intervals. Look at {trials} one by one."


def of_trial(trial: str, reason: str | None, failure: Failure | None) -> str:
    """A trial's run: why it ended early, if it did, and how to train it again."""
    parts = [f"{reason[0].upper()}{reason[1:]}."] if reason else []
    if failure is not None:
        parts.append(f"On {failure.host}, {failure.when}, at step {failure.step:,}. The next run tries it again.")
        parts += [f"```\n{failure.traceback.strip()}\n```"] if failure.traceback else []
    parts.append(f"Train it again and compare: `sweep trial {trial} --run`")
    return "\n\n".join(parts)[:LENGTH]


def _answer(told: Told) -> Iterator[str]:
    question = told.record.manifest.get("question") or told.record.identity
    panels = list(told.board.panels()) if told.board else []
    if panels:
        panel, standings = panels[0]
        yield f"### {f'{panel}: ' if panel else ''}{answers.briefly(standings)}"
        yield f"**{question}**"
    else:
        yield f"### {question}"
    counts = told.counts
    state = "" if counts.ended == counts.trials else f", {counts.ended:,} of them ended"
    diverged = f", {counts.diverged:,} diverged" if counts.diverged else ""
    failed = f", **{counts.failed:,} failed**" if counts.failed else ""
    arms = len(told.record.arms)
    yield (
        f"{counts.trials:,} trials{state}{diverged}{failed}: {arms} {'arm' if arms == 1 else 'arms'}, "
        f"{counts.settings:,} settings, `{told.record.identity}`."
    )
    if told.board and (said := told.board.selection.told()):
        yield said
    if told.board:
        yield from standings_of(told.board)


def standings_of(board: Leaderboard) -> Iterator[str]:
    """Every panel's leaderboard and what can be told of it."""
    for panel, standings in board.panels():
        heading = [f"**{panel}**"] if panel else []
        yield "\n\n".join([*heading, "\n".join(_table(standings, board)), answers.sentence(standings)])


def _table(standings: Sequence[Standing], board: Leaderboard) -> Iterator[str]:
    """The leaderboard as a Markdown table."""
    heads = (
        "arm at its best setting",
        f"late {naming.metric(board.metric)}",
        "seeds",
        f"minus {naming.words(board.first)}",
        "verdict",
        "diverged",
    )
    yield f"|{'|'.join(head + APART for head in heads)}|"
    yield "|---|---|---|---|---|---|"
    for standing in standings:
        difference = _late(standing.difference.estimate) if standing.difference else ""
        lost = f"{standing.diverged} of {standing.members}" if standing.diverged else ""
        cells = (f"{standing.name}{APART}", _late(standing.late), standing.late.seeds, f"{difference}{APART}")
        yield f"| {' | '.join(map(str, cells))} | {standing.verdict} | {lost} |"


def _late(estimate: Estimate) -> str:
    """`0.512 [0.50, 0.53]`; a dash where there is no value."""
    if not math.isfinite(estimate.mean):
        return "–"
    interval = f" [{estimate.low:.3g}, {estimate.high:.3g}]" if math.isfinite(estimate.low) else ""
    return f"{estimate.mean:.3g}{interval}"


def _links(told: Told) -> str:
    """To what is kept with the sweep's own run: the report, the figures, its files."""
    own = f"#/experiments/{told.experiment}/runs/{told.run}/artifacts"
    files = {"the report": told.report, "figures and their data": "figures" if told.pictures else None}
    links = [f"[{text}]({own}/{file})" for text, file in files.items() if file]
    return f"See {naming.listed([*links, f'[its file, manifest and trials]({own})'])}."


def _pictures(told: Told) -> Iterator[str]:
    for name in told.pictures:
        place = f"get-artifact?run_uuid={told.run}&path={quote(f'figures/{name}', safe='')}"
        yield f"![{name}]({place})"


def _levels(told: Told) -> str:
    """What the views of the page are."""
    arms = f"[Arms at their best]({views.address(told.experiment, 'arms')[1:]}): one run per arm."
    settings = (
        f"[Every setting]({views.address(told.experiment, 'settings')[1:]}): one run per setting, over its seeds."
    )
    trials = f"[Every trial]({views.address(told.experiment, 'trials')[1:]}): one run per setting and seed."
    return f"Levels, also in the menu *Views*:\n\n- {arms}\n- {settings}\n- {trials}"


def _made(told: Told) -> str:
    """How the numbers were made."""
    late, seeds = "", 1
    if told.board:
        board = told.board
        seeds = max(standing.late.seeds for standing in board.standings)
        late = (
            f"Late performance (`final/...`) is the mean of {naming.metric(board.metric)} over {board.window.words};"
            f" {'higher' if board.higher else 'lower'} is better. `difference/...` is the same minus that of"
            f" {naming.words(board.first)}, within each seed; `{views.VERDICT}` says what can be told of it at"
            f" {intervals.LEVEL:.0%}, corrected for all arms. "
        )
    return (
        f"**How the numbers were made.** The step of every curve is the task. {late}Curves of arms and settings are"
        f" means over seeds; `/ci_low` and `/ci_high` are the {intervals.made(seeds)}. A seed fixes stream and initial"
        " weights, so that differences between arms are paired."
    )


def _repeat(told: Told) -> str:
    manifest = told.record.manifest
    commit = f" at commit `{manifest['commit']}`" if manifest.get("commit") else ""
    origin = str(manifest.get("origin"))
    study = origin.removeprefix(SHIPPED) if origin.startswith(SHIPPED) else f"{told.record.name}.yaml"
    words = [study, *changes.options(told.record.scale, manifest)]
    return (
        f"**How to repeat it.** `sweep run {shlex.join(words)}`{commit}; the file and the manifest with versions and"
        " checksums are with the sweep's own run. One point of a curve: `sweep trial ID --run` trains its trial again"
        " and compares; the id is the tag `pliant.trial` of every trial's run."
    )


def _link(text: str, experiment: str, where: dict[str, str]) -> str:
    return f"[{text}]({views.searched(experiment, where)[1:]})"
