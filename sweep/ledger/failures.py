"""What a pack raised, as its worker writes it down: shown wherever somebody asks how a sweep stands."""

from __future__ import annotations

import json
import os
import platform
import time
import traceback
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from sweep.errors import InputError
from workloads.extensions import place_of

MESSAGE_LENGTH = 2000  # characters
FRAMES = 12  # of a traceback, the innermost
LIBRARIES = f"{os.sep}site-packages{os.sep}"  # in a frame's path: torch's forty frames say nothing about a method
TRANSIENT = ("OSError", "MemoryError", "OutOfMemoryError")  # may pass, whoever raised them; the last is torch's
REASON_LENGTH = 200  # characters of a failure in one line
SHOWN = 5  # reasons told at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt at a pack ended before the pack did."""

    pack: str
    attempt: str
    type: str  # of the exception
    message: str
    place: str | None  # FILE:LINE in the user's own code, where the error passed through it
    traceback: str  # without libraries' frames; empty where a process died
    step: int  # that the pack had committed
    host: str
    time: float  # unix seconds
    deterministic: bool  # would come again: not tried again within a run, only by the next one

    @property
    def reason(self) -> str:
        """The failure in one line: `ArithmeticError: the switch is on (faulty.py:8)`."""
        first = next(iter(self.message.splitlines()), "")
        said = f"{self.type}: {first}" if first else self.type
        shown = said if len(said) <= REASON_LENGTH else f"{said[:REASON_LENGTH]} ..."
        return f"{shown} ({self.place})" if self.place and self.place not in shown else shown

    @property
    def when(self) -> str:
        """`2026-11-26 03:04 UTC`."""
        return f"{datetime.fromtimestamp(self.time, UTC):%Y-%m-%d %H:%M} UTC"

    def to_json(self) -> bytes:
        """For the ledger."""
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Failure:
        """The inverse of `to_json`. Raises ValueError or TypeError for a torn text."""
        return cls(**json.loads(text))


def of_error(
    error: BaseException, *, pack: str, attempt: str, step: int, code: Collection[str], before: Failure | None
) -> Failure:
    """The failure that an error is.

    Args:
        step: that the pack has committed.
        code: names of the user's files.
        before: the pack's last failure: the same once more, at the same step, is taken for one that comes again.
    """
    kind, message = type(error).__name__, str(error)[:MESSAGE_LENGTH]
    place = place_of(error, code)
    again = before is not None and (before.type, before.message, before.step) == (kind, message, step)
    passing = any(ancestor.__name__ in TRANSIENT for ancestor in type(error).__mro__)
    return Failure(
        pack=pack,
        attempt=attempt,
        type=kind,
        message=message,
        place=place,
        traceback=trimmed(error),
        step=step,
        host=platform.node(),
        time=time.time(),
        deterministic=again or isinstance(error, InputError) or (place is not None and not passing),
    )


def without_error(type: str, message: str, *, pack: str, attempt: str, step: int) -> Failure:
    """The failure of an attempt that could raise nothing, as when its process was killed."""
    return Failure(
        pack=pack,
        attempt=attempt,
        type=type,
        message=message,
        place=None,
        traceback="",
        step=step,
        host=platform.node(),
        time=time.time(),
        deterministic=False,
    )


def trimmed(error: BaseException) -> str:
    """The error's traceback without libraries' frames, but for the last, which raised it."""
    report = traceback.TracebackException.from_exception(error)
    *outer, last = report.stack or [None]
    frames = [frame for frame in outer if frame is not None and LIBRARIES not in frame.filename][1 - FRAMES :]
    report.stack = traceback.StackSummary.from_list([*frames, *([last] if last else [])])
    report.__cause__ = report.__context__ = None
    return "".join(report.format())


def told(failures: Iterable[Failure]) -> list[str]:
    """A line for each reason, the most frequent first: a hundred packs may fail for one."""
    counts = Counter(failure.reason for failure in failures).most_common()
    lines = [f"  {number} {'pack' if number == 1 else 'packs'}: {reason}" for reason, number in counts[:SHOWN]]
    return lines + ([f"  {len(counts) - SHOWN} further reasons"] if len(counts) > SHOWN else [])
