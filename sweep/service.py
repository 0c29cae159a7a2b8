"""From a sweep file to a ledger that holds its results: the stages put in a row.

    spec -> rounds -> trials -> (minus ledger) -> packs -> Ray Tune or this process -> shards -> ledger -> MLflow

Every stage takes the last one's value; a sweep of several rounds goes through them once per round. Running the same
file again does what is left, which may be nothing: then neither ray nor torch is imported.
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
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from sweep.cluster import calibration, placement
from sweep.cluster.worker import Listener, Progress, Train, check_device, run_inline
from sweep.errors import InputError, PliantError
from sweep.ledger import provenance
from sweep.ledger.commits import Done, attempt_name
from sweep.ledger.failures import Failure, told, without_error
from sweep.ledger.ledger import Damage, Ledger
from sweep.ledger.sweeps import SweepRecord
from sweep.lookup import earlier, storage_of
from sweep.packing import PlannedPack, pack_id, plan_packs, shape_of
from sweep.search.rounds import Rounds
from sweep.spec import studies
from sweep.spec.checking import check_trials
from sweep.spec.doubts import doubts
from sweep.spec.identity import clash, origin
from sweep.spec.model import Spec
from sweep.trials import Trial, of_one_meaning, structure_key
from workloads import native
from workloads.data.catalogue import DATASETS
from workloads.machine import cpus
from workloads.paths import COMPILED

if TYPE_CHECKING:  # imports numpy
    from sweep.search.judging import Score

NO_COMPILER = r"no working C\+\+ compiler"
GPU_SHARE = 0.25  # of a GPU per pack: one small pack alone leaves most of it idle


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
    packs: list[PlannedPack] = field(default_factory=list)  # of all rounds
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
    spec = studies.load(study, scale)
    place = storage_of(storage)
    ledger = Ledger(place)
    previous = earlier(ledger, spec.name, spec.scale) if spec.search else None
    rounds = Rounds(spec, previous.manifest.get("search") if previous else None)
    return first_unfinished(spec, place, ledger, rounds, workers, device)


def first_unfinished(spec: Spec, place: str, ledger: Ledger, rounds: Rounds, workers: int | None, device: str) -> Plan:
    """The plan of the first round that has something to train; of the last where none has."""
    known, damaged = ledger.done(), list[Damage]()
    while (round := rounds.next(partial(results, ledger, spec))) is not None:
        damaged += ledger.damaged(trial.id for trial in round.trials)
        lost = {trial for damage in damaged for trial in damage.trials}
        if any(trial.id not in known or trial.id in lost for trial in round.trials):
            break
    lost = {trial for damage in damaged for trial in damage.trials}
    trials = rounds.trials
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
        **rounds_of(planned),
    }
    return SweepRecord(
        name=found.name, scale=found.scale, file_text=found.text, manifest=manifest, trials=planned.trials
    )


def rounds_of(planned: Plan) -> dict[str, Any]:
    """What a sweep's record holds of its rounds; nothing where a grid is all there is."""
    spec, rounds = planned.spec, planned.rounds
    found: dict[str, Any] = {}
    if rounds.total > 1:
        judged = {"objective": spec.objective, "window": spec.window}
        found["rounds"] = {"asked": len(rounds.asked), "total": rounds.total, "later": rounds.later, **judged}
    if spec.search:
        found["search"] = rounds.record()
    if spec.evaluate:
        found["seeds"] = {"select": list(spec.seeds), "evaluate": list(spec.evaluate)}
    return found


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
    on_round: Callable[[Plan], None] = lambda planned: None,
    stage: Callable[[str], None] = lambda text: None,
    replace: bool = False,
) -> Outcome:
    """Train what is missing and keep it in the ledger. Interrupted or killed at any moment, the next call continues.

    `on_finished` is called when a pack has finished, `on_round` with the plan of every round after the first. With
    `replace`, the record of another file's sweep of this name may be replaced.

    Raises: StorageError, DataError, ClusterError, InputError (no such device, another file's sweep) before anything is
        trained.
    """
    began = time.monotonic()
    planned.ledger.check_writable()
    if inline or (address is None and not placement.on_ray_already()):
        for device in {pack.device for pack in planned.packs}:
            check_device(device)
    datasets = check_data(planned.spec, stage)
    previous = earlier(planned.ledger, planned.spec.name, planned.spec.scale)
    if previous and not replace and (why := clash(previous, planned.spec, planned.trials)):
        raise InputError(why)
    outcome = Outcome(kept(planned, datasets, previous))
    if planned.packs:
        run = Run(planned, outcome, listener, on_finished, here=inline, timed=address is None)
        with interrupts() as interrupted:
            try:
                stage(starting(address, inline))
                with trainer(planned, address=address, workers=workers, inline=inline) as train:
                    while run.round(train) and (following := run.following()):
                        outcome.record = kept(following, datasets, outcome.record)
                        on_round(following)
            except KeyboardInterrupt:
                interrupted.set()
            outcome.interrupted = interrupted.is_set()
        planned = run.planned
    own = {trial.id for trial in planned.trials}
    done = {trial: done for trial, done in planned.ledger.done().items() if trial in own}
    outcome.computed = sum(trial.id in done for pack in outcome.packs for trial in pack.trials)
    outcome.already_done = len(done) - outcome.computed
    if not outcome.interrupted:
        outcome.failures |= lost(planned, done, outcome.failures)
    outcome.diverged = sum(d.status == "diverged" for d in done.values())
    outcome.seconds = time.monotonic() - began
    if outcome.computed == len(planned.trials) and address is None:
        found = planned.spec
        calibration.record({calibration.run_key(found.name, found.scale, found.text): outcome.seconds})
    return outcome


def kept(planned: Plan, datasets: Mapping[str, str], previous: SweepRecord | None) -> SweepRecord:
    """The sweep's record with the trials of this round, saved before they are trained; damaged files are put aside."""
    for damage in planned.damaged:
        planned.ledger.set_aside(damage)
    record = record_of(planned, datasets, previous)
    if previous is not None and not planned.packs and same_but_for_its_time(previous, record):
        return previous  # a new one would have figures and tracking looked at again
    planned.ledger.save_sweep(record)
    return record


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


@contextmanager
def trainer(planned: Plan, *, address: str | None, workers: int | None, inline: bool) -> Iterator[Train]:
    """What trains the packs of every round: this process, or a Ray that is started, or reached, once."""
    if inline:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=NO_COMPILER)  # the plan has said it
            yield partial(run_inline, planned.storage)
        return
    from sweep.cluster.execute import on_ray

    gpus = GPU_SHARE if any(pack.device != "cpu" for pack in planned.packs) else 0.0
    with on_ray(planned.storage, address=address, workers=workers, gpus_per_pack=gpus) as train:
        yield train


def starting(address: str | None, inline: bool) -> str:
    """What a run is at before the first pack reports."""
    on_ray = f"reaching the Ray cluster at {address}" if address else "starting Ray"
    return "loading torch" if inline else on_ray


class Run:
    """A sweep under way: trains a round after the other, and learns how long things take here."""

    def __init__(
        self,
        planned: Plan,
        outcome: Outcome,
        listener: Listener,
        on_finished: Callable[[], None],
        *,
        here: bool,
        timed: bool,
    ) -> None:
        """`here`: in this process; `timed`: on this machine, so that times are worth knowing."""
        self.planned = planned
        self.outcome = outcome
        self.listener = listener
        self.on_finished = on_finished
        self.where = placement.HERE if here else placement.RAY
        self.keys: dict[str, str] = {}
        self.began: float | None = time.monotonic() if timed else None  # until the first pack reports

    def round(self, train: Train) -> bool:
        """Train the packs of the current round; whether all of its trials are done."""
        packs = self.planned.packs
        self.keys |= {pack.id: calibration.key_of(pack) for pack in packs}
        self.outcome.packs += packs
        describe(self.planned)
        self.outcome.failures |= train([pack.id for pack in packs], self.heard)
        done = self.planned.ledger.done()
        return all(trial.id in done for pack in packs for trial in pack.trials)

    def following(self) -> Plan | None:
        """The plan of the next round, which is the current one from here on; None where nothing is left."""
        now = self.planned
        if now.rounds.later:
            self.planned = first_unfinished(now.spec, now.storage, now.ledger, now.rounds, now.workers, now.device)
        return self.planned if self.planned is not now else None

    def heard(self, progress: Progress) -> None:
        """A pack has reported."""
        if self.began is not None and not progress.failed:
            calibration.record({placement.start_key(self.where): time.monotonic() - self.began})
        self.began = None
        self.listener(progress)
        if progress.finished:
            if progress.trained:
                steps = progress.trained / progress.members
                calibration.record({self.keys[progress.pack]: progress.seconds / steps})
            self.on_finished()


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


def describe_failure(outcome: Outcome) -> PliantError | None:
    """The error to end a run with, if any pack failed for good."""
    if not outcome.failures:
        return None
    fallen = [pack for pack in outcome.packs if pack.id in outcome.failures]
    first = fallen[0].trials[0].id
    return PliantError(
        f"{len(fallen)} of {len(outcome.packs)} packs failed ({sum(len(pack.trials) for pack in fallen):,} trials); "
        "what they committed is kept.\n"
        + "\n".join(told(outcome.failures.values()))
        + f"\nThe same command tries them again. `sweep trial {first}` shows an error with its traceback."
    )
