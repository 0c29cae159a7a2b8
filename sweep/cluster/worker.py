"""What happens where a pack runs: find how far it got, train it, commit as it goes. The same here and on a cluster.

Also the in-process executor: packs one after the other in this process, without Ray.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sweep.errors import CheckpointError, InputError, StorageError
from sweep.ledger import failures
from sweep.ledger.commits import PACKS, Resume, attempt_name
from sweep.ledger.failures import Failure
from sweep.ledger.ledger import Ledger
from sweep.packing import pack_id
from sweep.trials import trial_id
from workloads.extensions import place_of

if TYPE_CHECKING:  # imports torch
    from workloads.training.pack import Pack, Snapshot

TELL_EVERY = 5.0  # seconds between two words on how far a pack is; on Ray each one waits for the driver


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pack is; small enough to send with every report. A pack that sets itself up has trained nothing."""

    pack: str
    members: int
    step: int  # of each member
    steps: int
    finished: bool
    diverged: int
    seconds: float  # since this attempt began training
    trained: int  # trial-steps of this attempt
    attempt: str
    failed: bool = False  # given up, by this run

    def to_dict(self) -> dict[str, str | int | float | bool]:
        """As plain values."""
        return asdict(self)


def given_up(pack: str) -> Progress:
    """What is said of a pack that failed for good. How far it had got, its earlier reports have told."""
    return Progress(
        pack, members=0, step=0, steps=0, finished=False, diverged=0, seconds=0.0, trained=0, attempt="", failed=True
    )


Listener = Callable[[Progress], None]
# Trains packs (ids described in the ledger) and returns those that failed for good, and why.
Train = Callable[[Sequence[str], Listener], dict[str, Failure]]


def train(id: str, storage: str, listener: Listener) -> Failure | None:
    """Train the pack described in the ledger from its furthest checkpoint; None once it is committed whole.

    What its training raises is written down in the ledger and returned. Raises StorageError where the storage itself
    fails, which is every pack's matter.

    $PLIANT_COMMIT_SECONDS changes how often it commits: less is lost where machines come and go, more is written.
    """
    ledger = Ledger(storage)
    pack, name = described(ledger, id), attempt_name()
    try:
        _train(pack, ledger, name, listener)
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and place_of(error, pack.code) is None:
            raise  # how Ray ends a worker; in a user's own code it is a mistake like any other
        state = ledger.pack(id)
        failure = failures.of_error(
            error,
            pack=id,
            attempt=name,
            step=state.step if state else 0,
            code=pack.code,
            before=state.failure if state else None,
        )
        with suppress(StorageError):  # perhaps what failed
            ledger.fail(failure)
        if isinstance(error, StorageError):
            raise
        return failure
    return None


def check_device(device: str) -> None:
    """Raises InputError where packs are to train on a GPU and this machine has none that torch can use."""
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        built = "is built for CPUs alone" if torch.version.cuda is None else "finds none"
        raise InputError(f"packs are to train on {device}, and torch on {platform.node()} {built}: leave out --device")


def described(ledger: Ledger, id: str) -> Pack:
    """The pack that the ledger describes. Raises StorageError where that is missing or damaged."""
    from workloads.training.pack import Pack

    try:
        pack = Pack.from_json(ledger.description(id))
        if pack_id([member.id for member in pack.members], pack.path, pack.device) != id:
            raise ValueError(f"it describes another pack than {id}")
        if any(trial_id(member.config) != member.id for member in pack.members):
            raise ValueError("a trial in it has another config than its id says")
        return pack
    except (ValueError, KeyError, TypeError) as error:
        place = ledger.storage.where(f"ledger/packs/{id}/pack.json")
        raise StorageError(f"{place} is damaged ({error}): run the sweep again, which writes it anew") from error


class Telling:
    """Tells a listener how far an attempt at a pack is."""

    def __init__(
        self, pack: Pack, attempt: str, listener: Listener, resume: Resume | None, *, steps: int, began: float
    ) -> None:
        """`resume`: where the attempt goes on from; `steps`: of each member; `began`: as `time.monotonic` has it."""
        self.members, self.steps = len(pack.members), steps
        self.pack, self.attempt, self.listener = pack.id, attempt, listener
        self.diverged = resume.manifest.statuses.count("diverged") if resume else 0
        self.training = self.members - self.diverged  # members
        self.reached, self.trained = resume.step if resume else 0, 0
        self.began = self.last = began

    def begin(self) -> None:
        """Nothing is trained yet. The first steps, which are compiled for, are told at once."""
        self.tell(self.reached)
        self.last = self.began

    def tell(self, step: int, *, finished: bool = False) -> None:
        """Every member that trains is at this step."""
        self.last = time.monotonic()
        self.trained += (step - self.reached) * self.training
        self.reached = step
        self.listener(
            Progress(
                pack=self.pack,
                members=self.members,
                step=self.steps if finished else step,  # who left early needs no more
                steps=self.steps,
                finished=finished,
                diverged=self.diverged,
                seconds=self.last - self.began,
                trained=self.trained,
                attempt=self.attempt,
            )
        )

    def stepped(self, step: int) -> None:
        """As `tell`, where it is time to."""
        if step < self.steps and (self.last == self.began or time.monotonic() - self.last > TELL_EVERY):
            self.tell(step)

    def committed(self, snapshot: Snapshot) -> None:
        """What is known now of the members is in the ledger."""
        self.diverged = snapshot.statuses.count("diverged")
        self.tell(snapshot.step, finished=snapshot.checkpoint is None)
        self.training = snapshot.statuses.count("running")


def _train(pack: Pack, ledger: Ledger, name: str, listener: Listener) -> None:
    """Train a pack in an attempt of this name; returns when it is committed whole.

    A checkpoint that another version of the code wrote, with other parts, is set aside: the pack goes on from an older
    one that fits, or begins anew.
    """
    import torch

    torch.set_num_threads(1)  # one pack, one core: packs run beside each other
    check_device(pack.device)
    while True:
        resume = ledger.resume(pack.id)
        if resume is not None and resume.finished:  # by a process thought dead, or another run
            ended, now = resume.manifest.attempt, time.monotonic()
            Telling(pack, ended, listener, resume, steps=resume.step, began=now).tell(resume.step, finished=True)
            return
        try:
            return _attempt(pack, ledger, name, listener, resume)
        except CheckpointError:
            if resume is None or resume.manifest.checkpoint is None:
                raise
            ledger.set_aside(f"{PACKS}/{pack.id}/{resume.manifest.checkpoint.file}")


def _attempt(pack: Pack, ledger: Ledger, name: str, listener: Listener, resume: Resume | None) -> None:
    """Train a pack from a checkpoint, or from the beginning. Raises CheckpointError where it does not fit."""
    from workloads.extensions import load_code
    from workloads.training.assembled import workload_of
    from workloads.training.loop import run_pack

    attempt = ledger.open(pack, resume=resume, name=name)
    began = time.monotonic()
    load_code(pack.code)  # the stream may be the user's own
    config = pack.members[0].config
    stream = workload_of(config, config["seed"])
    steps = stream.task_start(stream.tasks)
    telling = Telling(pack, attempt.name, listener, resume, steps=steps, began=began)

    def report(snapshot: Snapshot) -> None:
        attempt.commit(snapshot)
        telling.committed(snapshot)

    telling.begin()
    often = os.environ.get("PLIANT_COMMIT_SECONDS")
    run_pack(
        pack,
        report,
        resume.checkpoint if resume else None,
        commit_seconds=float(often) if often else None,
        stepped=telling.stepped,
    )


def run_inline(storage: str, packs: Sequence[str], listener: Listener) -> dict[str, Failure]:
    """Train packs one after the other in this process; returns those that failed, and why."""
    import torch

    failures: dict[str, Failure] = {}
    threads = torch.get_num_threads()  # of a process that may be a notebook with work of its own
    try:
        for pack in packs:
            if (failure := train(pack, storage, listener)) is not None:
                failures[pack] = failure
                listener(given_up(pack))
    finally:
        torch.set_num_threads(threads)
    return failures
