"""From a sweep file to a ledger that holds its results: the stages put in a row.

    spec -> trials -> (minus ledger) -> packs -> Ray Tune or this process -> shards -> ledger -> MLflow

Every stage takes the last one's value. Running the same file again does what is left, which may be nothing: then
neither ray nor torch is imported.
"""

from __future__ import annotations

import json
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from sweep.cluster import calibration, placement
from sweep.cluster.worker import Listener, Progress, check_device, run_inline
from sweep.errors import InputError, PliantError
from sweep.ledger import provenance
from sweep.ledger.commits import Done, attempt_name
from sweep.ledger.failures import Failure, told, without_error
from sweep.ledger.ledger import Damage, Ledger
from sweep.ledger.sweeps import SweepRecord
from sweep.lookup import earlier, storage_of
from sweep.packing import PlannedPack, pack_id, plan_packs, shape_of
from sweep.spec import studies
from sweep.spec.checking import check_trials
from sweep.spec.doubts import doubts
from sweep.spec.identity import clash, origin
from sweep.spec.model import Spec
from sweep.trials import Trial, expand, of_one_meaning, structure_key
from workloads import native
from workloads.data.catalogue import DATASETS
from workloads.machine import cpus
from workloads.paths import COMPILED

NO_COMPILER = r"no working C\+\+ compiler"
GPU_SHARE = 0.25  # of a GPU per pack: one small pack alone leaves most of it idle


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What running a sweep would do."""

    spec: Spec
    storage: str
    ledger: Ledger
    trials: list[Trial]
    done: Mapping[str, Done]  # of the sweep's trials
    packs: list[PlannedPack]
    failed: Sequence[Failure]  # of packs that had trials which are to run
    damaged: Sequence[Damage] = ()  # files of trials that were done and are to run again
    uncompiled: str | None = None  # why packs would train so on this machine

    def __repr__(self) -> str:
        """One line: a plan holds every trial."""
        left = f"{self.missing:,} to run in {len(self.packs):,} packs"
        return f"<plan of {self.identity}: {len(self.trials):,} trials, {len(self.done):,} done, {left}>"

    @property
    def identity(self) -> str:
        """Name and scale, as the sweep's record will have it."""
        return f"{self.spec.name}@{self.spec.scale}"

    @property
    def missing(self) -> int:
        """Trials to compute."""
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
        return [
            *(["again, after the last attempt failed:", *told(self.failed)] if self.failed else []),
            *(["computed anew, as the file is damaged:", *spoilt] if spoilt else []),
        ]

    def seconds(self, pack: PlannedPack, measured: Mapping[str, float]) -> float | None:
        """How long a pack would take, or None where packs like it were not measured."""
        return placement.measured_seconds(pack, measured)


@dataclass(slots=True, repr=False)
class Outcome:
    """What a run did."""

    record: SweepRecord
    computed: int = 0
    already_done: int = 0
    diverged: int = 0
    failures: dict[str, Failure] = field(default_factory=dict)  # by pack
    interrupted: bool = False
    seconds: float = 0.0

    def __repr__(self) -> str:
        """One line: the record holds every trial."""
        parts = [f"{self.computed:,} trials computed", f"{self.already_done:,} done before"]
        parts += [f"{self.diverged:,} of all diverged"] * bool(self.diverged)
        parts += [f"{len(self.failures):,} packs failed"] * bool(self.failures) + ["interrupted"] * self.interrupted
        return f"<{self.record.identity}: {', '.join(parts)}, in {self.seconds:.0f} s>"

    @property
    def failed_packs(self) -> list[str]:
        """Ids of the packs that are not finished, for another reason than an interruption."""
        return list(self.failures)


def plan(
    study: str | Path | Mapping[str, Any],
    *,
    scale: str | None = None,
    storage: str | None = None,
    workers: int | None = None,
    device: str = "cpu",
) -> Plan:
    """Read a sweep, try the user's code in it and find out what is left. Raises SpecError, InputError, StorageError."""
    found = studies.load(study, scale)
    place = storage_of(storage)
    ledger = Ledger(place)
    trials = expand(found)
    known = ledger.done()
    damaged = ledger.damaged(trial.id for trial in trials)
    lost = {trial for damage in damaged for trial in damage.trials}
    done = {trial.id: known[trial.id] for trial in trials if trial.id in known and trial.id not in lost}
    missing = {trial.id: trial for trial in trials if trial.id not in done}
    check_trials(list(missing.values()))
    resumed = list(resumable(ledger, missing))
    for pack in resumed:
        for trial in pack.trials:
            del missing[trial.id]
    fresh = plan_packs(list(missing.values()), workers=workers or cpus(), device=device)
    failed = ledger.failures()
    again = {failed[trial.id].pack: failed[trial.id] for trial in trials if trial.id in failed}
    packs, uncompiled = as_compiled_here([*resumed, *fresh])
    return Plan(found, place, ledger, trials, done, packs, list(again.values()), damaged, uncompiled)


def as_compiled_here(packs: list[PlannedPack]) -> tuple[list[PlannedPack], str | None]:
    """The packs, promising no kernel where this machine has no compiler that works; and what to say then."""
    wanting = {pack.id for pack in packs if pack.path in COMPILED and pack.device == "cpu"}
    if not wanting:
        return packs, None
    try:
        native.check()
    except native.NoCompiler as error:
        why = "uncompiled, many times slower: this machine has no working C++ compiler"
        told = [replace(pack, reason=why) if pack.id in wanting else pack for pack in packs]
        return told, f"no working C++ compiler here, so packs train uncompiled, many times slower: {error}"
    return packs, None


def resumable(ledger: Ledger, missing: Mapping[str, Trial]) -> Iterator[PlannedPack]:
    """Packs that were begun, all of whose trials are still wanted: they go on with the members and path they have."""
    taken: set[str] = set()
    # The furthest first, where two begun packs share a trial.
    for known in sorted(ledger.incomplete(), key=lambda pack: (-pack.step, pack.id)):
        if not all(member in missing and member not in taken for member in known.members):
            continue
        taken.update(known.members)
        try:
            description = json.loads(ledger.description(known.id))
            path, device = description["path"], description["device"]
        except (ValueError, KeyError, TypeError):
            continue
        # Damaged where its id is another: its trials begin anew, in another pack if need be.
        if pack_id(known.members, path, device) != known.id:
            continue
        trials = [missing[member] for member in known.members]
        yield PlannedPack(
            id=known.id,
            trials=trials,
            structure=structure_key(trials[0].config),
            path=path,
            reason=f"as it began; continues from step {known.step:,}",
            device=device,
            shape=shape_of(trials[0].config),
            memory=0,
            resumes=True,
        )


def check_data(found: Spec, stage: Callable[[str], None] = lambda text: None) -> dict[str, str]:
    """Dataset name -> checksum of every dataset the sweep reads, fetched now if need be. Raises DataError."""
    asked = {setting["dataset"] for setting in found.workload.settings if "dataset" in setting}
    names = sorted(asked.intersection(DATASETS))  # a user's own stream may mean something else by the word
    if not names:
        return {}
    stage(f"looking for {', '.join(names)}")
    from workloads.data import front

    return {name: front.checksum(name) for name in names}


def record_of(planned: Plan, datasets: Mapping[str, str], previous: SweepRecord | None) -> SweepRecord:
    """The sweep's record: its file, and everything needed to repeat it."""
    found = planned.spec
    manifest: dict[str, Any] = {
        **provenance.collect(),
        "question": found.question,
        "origin": origin(found),
        "arms": [arm.label for arm in found.arms],
        "figures": list(found.figures),
        "track": {"points": found.track.points, "metrics": found.track.metrics, "trials": found.track.trials},
        "datasets": dict(datasets),
        "code": [[name, source] for name, source in found.code.items()],
        "reused_from": reused_from(planned, previous),
    }
    return SweepRecord(
        name=found.name, scale=found.scale, file_text=found.text, manifest=manifest, trials=planned.trials
    )


def reused_from(planned: Plan, previous: SweepRecord | None) -> dict[str, str]:
    """Trial id -> the sweep that had it first, for trials that were done before this sweep ever held them."""
    own = (planned.spec.name, planned.spec.scale)
    before: dict[str, str] = dict(previous.manifest.get("reused_from", {})) if previous else {}
    held = {trial.id for trial in previous.trials} if previous else set()
    fresh = {trial for trial in planned.done if trial not in held and trial not in before}
    for name, scale in planned.ledger.sweeps() if fresh else []:
        other = earlier(planned.ledger, name, scale) if (name, scale) != own else None
        for trial in other.trials if other else []:
            if trial.id in fresh:
                before.setdefault(trial.id, f"{name}@{scale}")
    return {trial.id: before[trial.id] for trial in planned.trials if trial.id in before}


def same_but_for_its_time(one: SweepRecord, other: SweepRecord) -> bool:
    """Whether two records of a sweep differ in when and with what they were made alone."""
    made = provenance.collect().keys()

    def content(record: SweepRecord) -> tuple[Any, ...]:
        manifest = {key: value for key, value in record.manifest.items() if key not in made}
        return record.file_text, manifest, [(trial.id, trial.arms) for trial in record.trials]

    return content(one) == content(other)


def execute(
    planned: Plan,
    *,
    listener: Listener,
    address: str | None = None,
    workers: int | None = None,
    inline: bool = False,
    on_finished: Callable[[], None] = lambda: None,
    stage: Callable[[str], None] = lambda text: None,
    replace: bool = False,
) -> Outcome:
    """Train what is missing and keep it in the ledger. Interrupted or killed at any moment, the next call continues.

    With `replace`, the record of another file's sweep of this name may be replaced.

    Raises: StorageError, DataError, ClusterError, InputError (no such device, another file's sweep) before anything is
        trained.
    """
    began = time.monotonic()
    planned.ledger.check_writable()
    if inline:
        for device in {pack.device for pack in planned.packs}:
            check_device(device)
    datasets = check_data(planned.spec, stage)
    previous = earlier(planned.ledger, planned.spec.name, planned.spec.scale)
    if previous and not replace and (why := clash(previous, planned.spec, planned.trials)):
        raise InputError(why)
    for damage in planned.damaged:
        planned.ledger.set_aside(damage)
    record = record_of(planned, datasets, previous)
    if previous is not None and not planned.packs and same_but_for_its_time(previous, record):
        record = previous  # a new one would have figures and tracking looked at again
    else:
        planned.ledger.save_sweep(record)
    outcome = Outcome(record, already_done=len(planned.done))
    if planned.packs:
        train_packs(
            planned,
            outcome,
            listener,
            address=address,
            workers=workers,
            inline=inline,
            on_finished=on_finished,
            stage=stage,
        )
    own = {trial.id for trial in planned.trials}
    done = {trial: done for trial, done in planned.ledger.done().items() if trial in own}
    outcome.computed = len(done) - len(planned.done)
    if not outcome.interrupted:
        outcome.failures |= lost(planned, done, outcome.failures)
    outcome.diverged = sum(d.status == "diverged" for d in done.values())
    outcome.seconds = time.monotonic() - began
    if outcome.computed == len(planned.trials) and address is None:
        found = planned.spec
        calibration.record({calibration.run_key(found.name, found.scale, found.text): outcome.seconds})
    return outcome


def lost(planned: Plan, done: Mapping[str, Done], failures: Mapping[str, Failure]) -> dict[str, Failure]:
    """By pack: that its training ended without an error, and the ledger has not all of its trials."""
    found = {}
    for pack in planned.packs:
        missing = sum(trial.id not in done for trial in pack.trials)
        if missing and pack.id not in failures:
            message = f"its training ended without an error, and the ledger lacks {missing:,} of its trials"
            found[pack.id] = without_error("Unfinished", message, pack=pack.id, attempt=attempt_name(), step=0)
            planned.ledger.fail(found[pack.id])
    return found


def train_packs(
    planned: Plan,
    outcome: Outcome,
    listener: Listener,
    *,
    address: str | None,
    workers: int | None,
    inline: bool,
    on_finished: Callable[[], None],
    stage: Callable[[str], None],
) -> None:
    """Hand the packs to Ray, or train them here; fills in what failed and whether it was interrupted."""
    keys = {pack.id: calibration.key_of(pack) for pack in planned.packs}
    where = placement.HERE if inline else placement.RAY
    began: float | None = time.monotonic()

    def heard(progress: Progress) -> None:
        nonlocal began
        if began is not None and address is None:
            calibration.record({placement.start_key(where): time.monotonic() - began})
        began = None
        listener(progress)
        if progress.finished:
            if progress.trained:
                steps = progress.trained / progress.members
                calibration.record({keys[progress.pack]: progress.seconds / steps})
            on_finished()

    ids = [pack.id for pack in planned.packs]
    with interrupts() as interrupted:
        try:
            on_ray = f"reaching the Ray cluster at {address}" if address else "starting Ray"
            stage("loading torch" if inline else on_ray)
            describe(planned)
            if inline:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message=NO_COMPILER)  # the plan has said it
                    outcome.failures = run_inline(ids, planned.storage, heard)
            else:
                from sweep.cluster.execute import run_on_ray

                on_gpu = any(pack.device != "cpu" for pack in planned.packs)
                outcome.failures = run_on_ray(
                    ids,
                    planned.storage,
                    heard,
                    address=address,
                    workers=workers,
                    gpus_per_pack=GPU_SHARE if on_gpu else 0.0,
                )
        except KeyboardInterrupt:
            interrupted.set()
        outcome.interrupted = interrupted.is_set()


def describe(planned: Plan) -> None:
    """Write down what every pack is, for the workers; what was written of one that goes on is checked."""
    from workloads.training.pack import Pack

    for pack in planned.packs:
        planned.ledger.describe(
            Pack(id=pack.id, members=pack.trials, path=pack.path, device=pack.device, code=planned.spec.code)
        )


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """SIGTERM is taken like Ctrl-C: both end in a KeyboardInterrupt here, and set the event."""
    seen = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        seen.set()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM,)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def describe_failure(planned: Plan, outcome: Outcome) -> PliantError | None:
    """The error to end a run with, if any pack failed for good."""
    if not outcome.failures:
        return None
    lost = sum(len(pack.trials) for pack in planned.packs if pack.id in outcome.failures)
    fallen = next(pack for pack in planned.packs if pack.id in outcome.failures)
    return PliantError(
        f"{len(outcome.failures)} of {len(planned.packs)} packs failed ({lost:,} trials); "
        "what they committed is kept.\n"
        + "\n".join(told(outcome.failures.values()))
        + f"\nThe same command tries them again. `sweep trial {fallen.trials[0].id}` shows an error with its traceback."
    )
