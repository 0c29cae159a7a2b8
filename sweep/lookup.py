"""Which storage is meant, and the sweeps it holds: one by its name, or all of them with how far they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sweep.errors import InputError, StorageError
from sweep.ledger.ledger import Ledger
from sweep.ledger.storage import place_of
from sweep.ledger.sweeps import SweepRecord
from sweep.results import kept
from sweep.spec import reading
from sweep.spec.meaning import name_of

DEFAULT_STORAGE = "pliant"


def storage_of(storage: str | None) -> str:
    """The storage to use; local paths become absolute."""
    return place_of(storage_asked(storage))


def storage_asked(storage: str | None) -> str:
    """What was asked for, else $PLIANT_STORAGE, else ./pliant."""
    return storage or os.environ.get("PLIANT_STORAGE") or DEFAULT_STORAGE


def earlier(ledger: Ledger, name: str, scale: str) -> SweepRecord | None:
    """A sweep's record; None where there is none, or a damaged one, which a run writes anew."""
    try:
        return ledger.sweep(name, scale)
    except (InputError, StorageError):
        return None


def find_sweep(ledger: Ledger, name: str, scale: str | None = None) -> SweepRecord:
    """The record of a sweep that was run: by "name@scale", or by name where one scale of it was run (or is given).

    Raises InputError that lists the sweeps there are.
    """
    sweeps = ledger.sweeps()
    base, _, given = name.partition("@")
    file = Path(base) if base.endswith((".yaml", ".yml")) else None
    base = name_of(file) if file else base
    its_scale = given or scale
    matches = [s for s in sweeps if s[0] == base and (not its_scale or s[1] == its_scale)]
    if len(matches) == 1:
        try:
            record = ledger.sweep(*matches[0])
            if file:
                check_file(record, file)
            return record
        except StorageError as error:
            raise StorageError(f"{error}\nRun the sweep again to write it anew; results are not lost.") from error
    if matches:
        scales = " or ".join(f"{n}@{s}" for n, s in matches)
        raise InputError(f"sweep {name!r} was run at several scales: say {scales}")
    listed = ", ".join(f"{n}@{s}" for n, s in sweeps) or "none yet"
    raise InputError(
        f"sweep {name!r} was not run in the storage {ledger.storage.uri} (--storage, PLIANT_STORAGE); there: {listed}"
    )


def latest(ledger: Ledger) -> SweepRecord | None:
    """The sweep that was run last in a storage; None where there is none that can be read."""
    records = (earlier(ledger, name, scale) for name, scale in ledger.sweeps())
    return max(filter(None, records), key=lambda record: record.manifest.get("time") or "", default=None)


def none_yet(ledger: Ledger) -> str:
    """What is said of a storage without a sweep."""
    return f"no sweep was run in {ledger.storage.uri} yet: sweep run STUDY, or name another --storage"


def check_file(record: SweepRecord, file: Path) -> None:
    """Raises InputError where a sweep is another file's than the one it is asked for by."""
    there = record.manifest.get("origin")
    if there in (None, str(file.resolve())) or not file.exists() or reading.read_text(file) == record.file_text:
        return
    raise InputError(
        f"the sweep {record.identity} in this storage is of {there}, not of {file}: "
        f"say {record.identity} if that is meant"
    )


COUNTS = ("trials", "done", "diverged", "left")


def sweeps(ledger: Ledger) -> list[dict[str, Any]]:
    """Every sweep of a storage: sweep, question, trials, done, diverged, left, won, time (UTC, of its last run).

    `won` is what was said when a run ended: nothing where it was not, `so far` where more trials have ended since.
    """
    ended = ledger.done()
    rows = []
    for name, scale in ledger.sweeps():
        record = earlier(ledger, name, scale)
        if record is None:
            question = "damaged; run it again to write its record anew"
            rows.append(
                {"sweep": f"{name}@{scale}", "question": question} | dict.fromkeys(COUNTS, 0) | {"won": "", "time": ""}
            )
            continue
        own = [ended[trial.id].status for trial in record.trials if trial.id in ended]
        won, ended_then = kept.read(ledger.storage, record.identity)
        rows.append(
            {
                "sweep": record.identity,
                "question": str(record.manifest.get("question", "")),
                "trials": len(record.trials),
                "done": own.count("done"),
                "diverged": own.count("diverged"),
                "left": len(record.trials) - len(own),
                "won": won if ended_then == len(own) or not won else f"{won}, so far",
                "time": str(record.manifest.get("time", "")),
            }
        )
    return rows
