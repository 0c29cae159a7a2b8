"""A sweep under way: its rounds trained one after another, in this process or on a Ray, until done or interrupted."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import FrameType

from sweep.cluster import calibration, placement
from sweep.cluster.worker import Listener, Progress, Train, run_inline
from sweep.ledger.failures import Failure
from sweep.ledger.sweeps import SweepRecord
from sweep.packing import PlannedPack
from sweep.planning import Plan, first_unfinished

NO_COMPILER = r"no working C\+\+ compiler"
GPU_SHARE = 0.25  # of a GPU per pack: one small pack alone leaves most of it idle


@dataclass(slots=True, repr=False)
class Outcome:
    """What a run did."""

    record: SweepRecord
    packs: list[PlannedPack] = field(default_factory=list)  # of all rounds
    computed: int = 0
    already_done: int = 0
    diverged: int = 0
    failures: dict[str, Failure] = field(default_factory=dict)  # by unfinished pack; none where it was stopped
    interrupted: bool = False
    seconds: float = 0.0

    def __repr__(self) -> str:
        """One line: the record holds every trial."""
        parts = [f"{self.computed:,} trials computed", f"{self.already_done:,} done before"]
        parts += [f"{self.diverged:,} of all diverged"] * bool(self.diverged)
        parts += [f"{len(self.failures):,} packs failed"] * bool(self.failures) + ["interrupted"] * self.interrupted
        return f"<{self.record.identity}: {', '.join(parts)}, in {self.seconds:.0f} s>"


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
        if not packs:  # all of it was done before, by another sweep perhaps
            return True
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
