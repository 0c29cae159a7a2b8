"""What a page says of one sweep in words and tables: the answer, what diverged or failed and why, the cost."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from sweep.errors import InputError
from sweep.packing import Shape, Shapes
from sweep.results import answers, frames, leaderboard, naming, so_far
from sweep.results.costs import seconds
from sweep.spec.studies import is_study

if TYPE_CHECKING:
    from sweep.ledger.commits import Done
    from sweep.ledger.failures import Failure
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord
    from sweep.results.answers import Standing
    from sweep.results.leaderboard import Leaderboard

UNSAID = ("question", "figures", "track", "reused_from", "arms", "origin")  # of a manifest: it is said elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A setting some of whose trials diverged."""

    name: str
    diverged: int
    members: int
    first: int  # task, from 1
    last: int
    trial: str  # one of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why packs failed: one reason, with how often it came and one traceback."""

    reason: str
    packs: int
    trials: int
    trial: str  # one of them
    when: str
    host: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an arm's trials took that have ended."""

    arm: str
    trials: int
    settings: int
    parameters: str  # of its networks: "31", "31 to 121"
    steps: int  # of all trials together
    seconds: float  # of one core, all trials together


@dataclass(frozen=True, slots=True)
class Table:
    """One panel of the leaderboard."""

    heads: list[str]
    rows: list[tuple[Standing, list[str]]]  # with a text for every head

    @property
    def lost(self) -> bool:
        """Whether a trial of it diverged."""
        return any(standing.diverged for standing, _ in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One sweep."""

    identity: str
    question: str
    counts: Mapping[str, int]  # trials, done, diverged, censored, failed, left
    board: Leaderboard | None
    without: str  # why there is no board
    stages: str  # on which seeds settings were chosen and are shown
    so_far: str  # what the numbers are while it trains
    losses: list[Lost]
    faults: list[Fault]
    costs: list[Cost]
    manifest: dict[str, str]
    file_text: str
    command: str  # that runs it

    def panels(self) -> Iterator[tuple[str, Table, str]]:
        """Each panel with its standings as a table, and the sentence on them."""
        for panel, standings in self.board.panels() if self.board else ():
            heads, rows = leaderboard.cells(standings)
            table = Table(heads, list(zip(standings, rows, strict=True)))
            yield panel, table, answers.sentence(standings)

    @property
    def heading(self) -> str:
        """What the leaderboard's numbers are."""
        return leaderboard.heading(self.board) if self.board else ""


def of_sweep(
    record: SweepRecord, ledger: Ledger, part: SweepRecord, trials: pd.DataFrame, board: Leaderboard | None, why: str
) -> Told:
    """`trials` are `frames.trials` of the whole record, `part` is what is reported of it."""
    ends, failures = ledger.ends(), ledger.failures()
    once = trials[~trials.index.duplicated()]
    return Told(
        identity=record.identity,
        question=str(record.manifest.get("question") or record.identity),
        counts=_counts(once),
        board=board,
        without=why,
        stages=board.selection.told() if board else "",
        so_far=so_far.told(trials),
        losses=_losses(record, trials),
        faults=_faults({trial: failures[trial] for trial in once.index if trial in failures}),
        costs=_costs(record, ends),
        manifest=_manifest(record.manifest),
        file_text=record.file_text,
        command=f"sweep run {shlex.quote(_file(record.name))} --scale {shlex.quote(record.scale)}",
    )


def _file(name: str) -> str:
    """What `sweep run` is told."""
    return name if is_study(name) else f"{name}.yaml"


def _manifest(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What it takes to repeat the sweep, as text; of code and data sets the names."""
    told = {}
    for name, value in manifest.items():
        if name in UNSAID or value in (None, "", {}, []):
            continue
        if isinstance(value, Mapping):
            value = ", ".join(value) if name == "code" else ", ".join(f"{key} {each}" for key, each in value.items())
        told[naming.words(name)] = str(value)
    return told


def _counts(trials: pd.DataFrame) -> dict[str, int]:
    """How the trials stand; those that have not ended are left."""
    counts = Counter(trials["status"].mask(so_far.under_way(trials), "under way"))
    named = {status: counts[status] for status in ("done", "diverged", "under way", "censored", "failed")}
    return {"trials": len(trials), **named, "left": len(trials) - counts["done"] - counts["diverged"]}


def _losses(record: SweepRecord, trials: pd.DataFrame) -> list[Lost]:
    """The settings with diverged trials, those that lost the largest share first."""
    diverged = trials.loc[trials["status"] == "diverged", "group"].unique()
    if not len(diverged):
        return []
    names = naming.names(record.trials)
    lost = []
    for (arm, group), own in trials[trials["group"].isin(diverged)].groupby(["arm", "group"], sort=False):
        gone = own[own["status"] == "diverged"]
        if len(gone):
            ended = own["status"].isin(frames.FINISHED).sum()
            first, last = int(gone["ended"].min()) + 1, int(gone["ended"].max()) + 1
            trial = str(gone.index[0])
            lost.append(
                Lost(
                    name=names[str(arm), str(group)],
                    diverged=len(gone),
                    members=int(ended),
                    first=first,
                    last=last,
                    trial=trial,
                )
            )
    return sorted(lost, key=lambda each: -each.diverged / each.members)


def _faults(failures: Mapping[str, Failure]) -> list[Fault]:
    """The reasons for which trials failed, the most frequent first."""
    trials: dict[str, list[str]] = {}
    for trial, failure in failures.items():
        trials.setdefault(failure.reason, []).append(trial)
    faults = []
    for reason, own in sorted(trials.items(), key=lambda item: -len(item[1])):
        last = max((failures[trial] for trial in own), key=lambda failure: failure.time)
        packs = len({failures[trial].pack for trial in own})
        faults.append(
            Fault(
                reason=reason,
                packs=packs,
                trials=len(own),
                trial=own[0],
                when=last.when,
                host=last.host,
                traceback=last.traceback or last.message,
            )
        )
    return faults


def _costs(record: SweepRecord, ends: Mapping[str, Done]) -> list[Cost]:
    """What every arm took; a pack's time is shared evenly by its members."""
    spent = seconds(ends)
    made, shapes = Shapes(), dict[str, Shape | None]()
    costs = []
    for arm in record.arms:
        own = [trial for trial in record.trials if arm in trial.arms and trial.id in ends]
        for trial in own:
            if trial.group not in shapes:
                shapes[trial.group] = _shape(made, trial.config)
        shaped = [(ends[trial.id], shape) for trial in own if (shape := shapes[trial.group])]
        sizes = sorted({shape.parameters for _, shape in shaped})
        costs.append(
            Cost(
                arm=arm,
                trials=len(own),
                settings=len({trial.group for trial in own}),
                parameters=_span(sizes),
                steps=sum(shape.steps * min(end.tasks, shape.tasks) // shape.tasks for end, shape in shaped),
                seconds=sum(spent[trial.id] for trial in own),
            )
        )
    return costs


def _shape(made: Shapes, config: Mapping[str, Any]) -> Shape | None:
    """A trial's sizes; None where its network or stream is a user's that is not here."""
    try:
        return made.of(config)
    except InputError:
        return None


def _span(sizes: list[int]) -> str:
    """`31`, `31 to 121`; nothing for none."""
    if not sizes:
        return ""
    return f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
