"""What running a sweep would do: its trials minus what the ledger has, in packs, round after round."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.cluster import placement
from sweep.ledger.commits import Done
from sweep.ledger.failures import Failure, told
from sweep.ledger.ledger import Damage, Ledger
from sweep.lookup import earlier, storage_of
from sweep.packing import PlannedPack, pack_id, plan_packs, shape_of
from sweep.search.rounds import Rounds
from sweep.spec import studies
from sweep.spec.checking import check_trials
from sweep.spec.doubts import doubts
from sweep.spec.model import Spec
from sweep.trials import Trial, of_one_meaning, structure_key
from workloads import native
from workloads.machine import cpus
from workloads.paths import COMPILED

if TYPE_CHECKING:  # imports numpy
    from sweep.search.judging import Score


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What running a sweep would do in its first round that is not done; of later ones the trials are not known yet."""

    spec: Spec
    storage: str
    ledger: Ledger
    rounds: Rounds
    workers: int | None  # packs to make for so many at once; None for this machine's CPUs
    device: str
    trials: list[Trial]  # of all rounds so far
    done: Mapping[str, Done]  # of the sweep's trials
    packs: list[PlannedPack]
    failed: Sequence[Failure]  # of packs that had trials which are to run
    damaged: Sequence[Damage] = ()  # files of trials that were done and are to run again
    uncompiled: str | None = None  # why packs would train so on this machine
    elsewhere: Mapping[str, int] = field(default_factory=dict)  # another device -> trials begun there, left as they are

    def __repr__(self) -> str:
        """One line: a plan holds every trial."""
        left = f"{self.missing:,} to run in {len(self.packs):,} packs"
        return f"<plan of {self.identity}: {len(self.trials):,} trials, {len(self.done):,} done, {left}>"

    @property
    def identity(self) -> str:
        """Name and scale, as the sweep's record will have it."""
        return f"{self.spec.name}@{self.spec.scale}"

    @property
    def later(self) -> int:
        """Trials of rounds that are not known yet."""
        return self.rounds.later

    @property
    def times(self) -> float:
        """How many times this round's trials there are to compute, with those of later rounds."""
        return 1 + self.later / self.missing if self.missing else 1.0

    @property
    def round(self) -> str:
        """`round 2 of 5`; nothing where there is one."""
        return f"round {len(self.rounds.asked)} of {self.rounds.total}" if self.rounds.total > 1 else ""

    @property
    def missing(self) -> int:
        """Trials to compute, in this round."""
        return sum(len(pack.trials) for pack in self.packs)

    def warnings(self) -> list[str]:
        """What is allowed and may not be meant, a sentence each."""
        alike = [f"arms {' and '.join(arms)} mean the same trials" for arms in of_one_meaning(self.trials)]
        return [*alike, *([self.uncompiled] if self.uncompiled else []), *doubts(self.packs)]

    def again(self) -> list[str]:
        """Lines that say what is tried or computed again, and why."""
        spoilt = [
            f"  {self.ledger.storage.where(damage.file)}, results of {len(damage.trials):,} trials"
            for damage in self.damaged
        ]
        begun = [
            f"computed anew on {self.device}: {count:,} trials begun on {device}, which --device {device} goes on with"
            for device, count in self.elsewhere.items()
        ]
        return [
            *(["again, after the last attempt failed:", *told(self.failed)] if self.failed else []),
            *(["computed anew, as the file is damaged:", *spoilt] if spoilt else []),
            *begun,
        ]

    def seconds(self, pack: PlannedPack, measured: Mapping[str, float]) -> float | None:
        """How long a pack would take, or None where packs like it were not measured."""
        return placement.measured_seconds(pack, measured)


def plan(
    study: str | Path | Mapping[str, Any],
    *,
    scale: str | None = None,
    changed: Mapping[str, Any] | None = None,
    storage: str | None = None,
    workers: int | None = None,
    device: str = "cpu",
) -> Plan:
    """Read a sweep, try the user's code in it and find out what is left. Raises SpecError, InputError, StorageError."""
    spec = studies.load(study, scale, changed)
    place = storage_of(storage)
    ledger = Ledger(place)
    previous = earlier(ledger, spec.name, spec.scale) if spec.search else None
    rounds = Rounds(spec, previous.manifest.get("search") if previous else None)
    return first_unfinished(spec, place, ledger, rounds, workers, device)


def first_unfinished(spec: Spec, place: str, ledger: Ledger, rounds: Rounds, workers: int | None, device: str) -> Plan:
    """The plan of the first round that has something to train; of the last where none has."""
    ends, damaged = ledger.done(), list[Damage]()
    while (round := rounds.next(partial(results, ledger, spec))) is not None:
        damaged += ledger.damaged(trial.id for trial in round.trials)
        lost = {trial for damage in damaged for trial in damage.trials}
        if any(trial.id not in ends or trial.id in lost for trial in round.trials):
            break
    lost = {trial for damage in damaged for trial in damage.trials}
    trials = rounds.trials
    done = {trial.id: ends[trial.id] for trial in trials if trial.id in ends and trial.id not in lost}
    missing = {trial.id: trial for trial in trials if trial.id not in done}
    check_trials(list(missing.values()))
    away = resumable(ledger, missing, lambda its: its != device)
    elsewhere = Counter(pack.device for pack in away for _ in pack.trials)
    resumed = list(resumable(ledger, missing, lambda its: its == device))
    for pack in resumed:
        for trial in pack.trials:
            del missing[trial.id]
    fresh = plan_packs(list(missing.values()), workers=workers or cpus(), device=device)
    failed = ledger.failures()
    again = {failed[trial.id].pack: failed[trial.id] for trial in trials if trial.id in failed}
    packs, uncompiled = as_compiled_here([*resumed, *fresh])
    return Plan(
        spec,
        place,
        ledger,
        rounds,
        workers,
        device,
        trials,
        done,
        packs,
        list(again.values()),
        damaged,
        uncompiled,
        elsewhere,
    )


def results(ledger: Ledger, spec: Spec, trials: Sequence[Trial]) -> Mapping[str, Score]:
    """How settings did, whose trials have all ended, for the next round to be chosen by."""
    from sweep.search.judging import scores

    return scores(ledger, trials, spec.objective, spec.window)


def as_compiled_here(packs: list[PlannedPack]) -> tuple[list[PlannedPack], str | None]:
    """The packs, promising no kernel where this machine has no compiler that works; and what to say then."""
    wanting = {pack.id for pack in packs if pack.path in COMPILED and pack.device == "cpu"}
    if not wanting:
        return packs, None
    try:
        native.check()
    except native.NoCompiler as error:
        why = "uncompiled, many times slower: this machine has no working C++ compiler"
        plain = [replace(pack, reason=why) if pack.id in wanting else pack for pack in packs]
        return plain, f"no working C++ compiler here, so packs train uncompiled, many times slower: {error}"
    return packs, None


def resumable(ledger: Ledger, missing: Mapping[str, Trial], on: Callable[[str], bool]) -> Iterator[PlannedPack]:
    """Packs begun `on` such a device, all of whose trials are still wanted: with the members and path they have."""
    taken: set[str] = set()
    # The furthest first, where two begun packs share a trial.
    for begun in sorted(ledger.incomplete(), key=lambda pack: (-pack.step, pack.id)):
        if not all(member in missing and member not in taken for member in begun.members):
            continue
        try:
            description = json.loads(ledger.description(begun.id))
            path, device = description["path"], description["device"]
        except (ValueError, KeyError, TypeError):
            taken.update(begun.members)
            continue
        if not on(device):
            continue
        taken.update(begun.members)
        # Damaged where its id is another: its trials begin anew, in another pack if need be.
        if pack_id(begun.members, path, device) != begun.id:
            continue
        trials = [missing[member] for member in begun.members]
        yield PlannedPack(
            id=begun.id,
            trials=trials,
            structure=structure_key(trials[0].config),
            path=path,
            reason=f"as it began; continues from step {begun.step:,}",
            device=device,
            shape=shape_of(trials[0].config),
            memory=0,
            resumes=True,
        )
