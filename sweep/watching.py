"""How a sweep stands while it trains, from its ledger alone: any machine that reaches the storage can look on.

Packs commit every twenty seconds or so; between two commits nothing is seen of them.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweep.ledger import failures
from sweep.ledger.packs import PackState
from sweep.ledger.so_far import SoFar
from sweep.packing import Shapes

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord
    from sweep.trials import Trial

COST = 0.01  # of this machine that looking on may take: half of it how the packs stand, half what the arms come to
SILENT = 300.0  # seconds without a commit after which a pack is no longer taken to train


class Watched:
    """A sweep that is looked at again and again; what has not changed is not read again."""

    def __init__(self, record: SweepRecord, ledger: Ledger) -> None:
        self.name, self.scale = record.name, record.scale
        self.ledger = SoFar(ledger.storage)
        self.seen: dict[str, int] | None = None  # files, with sizes

    def record(self) -> SweepRecord:
        """As it is now: rounds of a search add trials."""
        return self.ledger.sweep(self.name, self.scale)

    def changed(self) -> bool:
        """Whether anything was written since this was last asked."""
        files = self.ledger.storage.list("ledger") | self.ledger.storage.list("sweeps")
        before, self.seen = self.seen, files
        return files != before


def pause(spent: float, least: float) -> float:
    """How long to wait, in seconds, before looking again after a look that took so many seconds of a processor."""
    return max(least, spent / (COST / 2 * (os.cpu_count() or 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A pack that has begun and not finished."""

    id: str
    members: int
    share: float  # of its steps
    rate: float  # trial-steps per second since its attempt's first commit; 0 where it has failed or is silent
    failed: str  # why, in a line


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a sweep stands."""

    identity: str
    question: str
    trials: int
    done: int
    diverged: int
    failed: int
    left: int
    packs: int  # that are known
    finished: int  # of these
    training: list[Training]  # those that have got furthest first
    share: float  # of all trial-steps
    rate: float  # trial-steps per second, of all
    seconds_left: float | None
    updated: float | None  # last commit, unix seconds
    round: str  # of a search: "round 2 of 5"
    reasons: list[str]  # for which packs failed, a line each

    @property
    def complete(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.left == 0 and not self.round


def look(record: SweepRecord, ledger: Ledger, now: float | None = None) -> Look:
    """How the sweep stands; `now` in unix seconds. Raises StorageError."""
    now = time.time() if now is None else now
    own = {trial.id: trial for trial in record.trials}
    packs = [pack for pack in ledger.packs() if not own.keys().isdisjoint(pack.members)]
    done = {trial: end for trial, end in ledger.done().items() if trial in own}
    fallen = {trial: failure for trial, failure in ledger.failures().items() if trial in own}
    ended = Counter(end.status for end in done.values())
    steps = _steps(own)
    training = [_training(pack, ledger, steps, now) for pack in packs if pack.attempts and not pack.finished]
    trained = float(sum(steps[trial] for trial in done))
    for pack, state in zip((pack for pack in packs if pack.attempts and not pack.finished), training, strict=True):
        trained += state.share * sum(steps[trial] for trial in pack.members if trial in own and trial not in done)
    total = sum(steps.values())
    rate = sum(state.rate for state in training)
    rounds = record.manifest.get("rounds")
    updates = [pack.updated for pack in packs if pack.updated is not None]
    return Look(
        identity=record.identity,
        question=str(record.manifest.get("question", "")),
        trials=len(own),
        done=ended["done"],
        diverged=ended["diverged"],
        failed=len(fallen),
        left=len(own) - len(done),
        packs=len(packs),
        finished=sum(pack.finished for pack in packs),
        training=sorted(training, key=lambda state: -state.share),
        share=trained / total if total else 1.0,
        rate=rate,
        seconds_left=(total - trained) / rate if rate else None,
        updated=max(updates, default=None),
        round=f"round {rounds['asked']} of {rounds['total']}" if rounds and rounds["later"] else "",
        reasons=[line.strip() for line in failures.told({f.pack: f for f in fallen.values()}.values())],
    )


def _training(pack: PackState, ledger: Ledger, steps: Mapping[str, int], now: float) -> Training:
    """A pack under way."""
    planned = next((steps[trial] for trial in pack.members if trial in steps), 0)
    quiet = pack.failure is not None or now - (pack.updated or 0.0) > SILENT
    return Training(
        id=pack.id,
        members=len(pack.members),
        share=min(1.0, pack.step / planned) if planned else 0.0,
        rate=0.0 if quiet else pack.rate * len(pack.members),
        failed=pack.failure.reason if pack.failure else "",
    )


def _steps(trials: Mapping[str, Trial]) -> dict[str, int]:
    """Trial id -> the steps it takes; those of one setting take the same."""
    groups: dict[str, int] = {}
    shapes = Shapes()
    for trial in trials.values():
        if trial.group not in groups:
            groups[trial.group] = shapes.of(trial.config).steps
    return {id: groups[trial.group] for id, trial in trials.items()}
