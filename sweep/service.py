"""From a sweep file to a ledger that holds its results: the stages put in a row.

    spec -> rounds -> trials -> (minus ledger) -> packs -> Ray Tune or this process -> shards -> ledger -> MLflow

Every stage takes the last one's value; a sweep of several rounds goes through them once per round. Running the same
file again does what is left, which may be nothing: then neither ray nor torch is imported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from sweep.cluster import calibration, placement
from sweep.cluster.worker import Listener, check_device
from sweep.errors import InputError, PliantError
from sweep.ledger import provenance
from sweep.ledger.commits import Done, attempt_name
from sweep.ledger.failures import Failure, told, without_error
from sweep.ledger.sweeps import SweepRecord
from sweep.lookup import earlier
from sweep.planning import Plan as Plan
from sweep.planning import plan as plan
from sweep.running import Outcome as Outcome
from sweep.running import Run, interrupts, starting, trainer
from sweep.spec.identity import clash, origin
from sweep.spec.model import Spec
from workloads.data.catalogue import DATASETS


def check_data(spec: Spec, stage: Callable[[str], None] = lambda text: None) -> dict[str, str]:
    """Dataset name -> checksum of every dataset the sweep reads, fetched now if need be. Raises DataError."""
    datasets = {setting["dataset"] for setting in spec.workload.settings if "dataset" in setting}
    names = sorted(datasets.intersection(DATASETS))  # a user's own stream may mean something else by the word
    if not names:
        return {}
    stage(f"looking for {', '.join(names)}")
    from workloads.data import front

    return {name: front.checksum(name) for name in names}


def record_of(planned: Plan, datasets: Mapping[str, str], previous: SweepRecord | None) -> SweepRecord:
    """The sweep's record: its file, and everything needed to repeat it."""
    spec = planned.spec
    manifest: dict[str, Any] = {
        **provenance.collect(),
        "question": spec.question,
        "origin": origin(spec),
        "arms": [arm.label for arm in spec.arms],
        "figures": list(spec.figures),
        "track": {"points": spec.track.points, "metrics": spec.track.metrics, "trials": spec.track.trials},
        "datasets": dict(datasets),
        "code": [[name, source] for name, source in spec.code.items()],
        "reused_from": reused_from(planned, previous),
        **({"set": dict(spec.changed)} if spec.changed else {}),
        **rounds_of(planned),
    }
    return SweepRecord(name=spec.name, scale=spec.scale, file_text=spec.text, manifest=manifest, trials=planned.trials)


def rounds_of(planned: Plan) -> dict[str, Any]:
    """What a sweep's record holds of its rounds; nothing where a grid is all there is."""
    spec, rounds = planned.spec, planned.rounds
    facts: dict[str, Any] = {}
    if rounds.total > 1:
        judged = {"objective": spec.objective, "window": str(spec.window)}
        facts["rounds"] = {"asked": len(rounds.asked), "total": rounds.total, "later": rounds.later, **judged}
    if spec.window.end == "first":
        facts["select"] = {"objective": spec.objective, "window": str(spec.window)}
    if spec.search:
        facts["search"] = rounds.record()
    if spec.evaluate:
        facts["seeds"] = {"select": list(spec.seeds), "evaluate": list(spec.evaluate)}
    return facts


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
        spec = planned.spec
        calibration.record({calibration.run_key(spec.name, spec.scale, spec.text): outcome.seconds})
    return outcome


def kept(planned: Plan, datasets: Mapping[str, str], previous: SweepRecord | None) -> SweepRecord:
    """The sweep's record with the trials of this round, saved before they are trained; damaged files are put aside."""
    for damage in planned.damaged:
        planned.ledger.set_aside(damage.file)
    record = record_of(planned, datasets, previous)
    if previous is not None and not planned.packs and same_but_for_its_time(previous, record):
        return previous  # a new one would have figures and tracking looked at again
    planned.ledger.save_sweep(record)
    return record


def lost(planned: Plan, done: Mapping[str, Done], failures: Mapping[str, Failure]) -> dict[str, Failure]:
    """By pack: that its training ended without an error, and the ledger has not all of its trials."""
    unfinished = {}
    for pack in planned.packs:
        missing = sum(trial.id not in done for trial in pack.trials)
        if missing and pack.id not in failures:
            message = f"its training ended without an error, and the ledger lacks {missing:,} of its trials"
            unfinished[pack.id] = without_error("Unfinished", message, pack=pack.id, attempt=attempt_name(), step=0)
            planned.ledger.fail(unfinished[pack.id])
    return unfinished


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
