"""What a command prints: numbers and tables for people, and what to do where the other end cannot take it."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from sweep.tracking.redaction import redacted

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 140  # of a table in a file
BARS = "▁▂▃▄▅▆▇█"
LINE = 40  # characters of a sparkline
BAR = 20  # characters of a bar
GONE = (errno.EPIPE, errno.ENOSPC, errno.EIO)


@contextmanager
def kept_quiet() -> Iterator[None]:
    """Run a command so that what it prints never ends it with a traceback.

    Characters that the output cannot encode become question marks. A reader that has gone (`| head`) ends the command
    with status 1 and no word; a full disk or a broken device with a sentence, and status 1 too.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a stand-in for a stream may have no encoding
            stream.reconfigure(errors="replace")
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        if error.errno not in GONE or error.filename is not None:  # a file's trouble is not the output's
            raise
        _forget_output()
        if error.errno != errno.EPIPE and sys.stderr is not None:
            print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(1)


def _forget_output() -> None:
    """Let what is still to be flushed as the interpreter ends go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def count(number: int, thing: str) -> str:
    """1 pack, 2 packs."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def and_later(round: str, later: int) -> str:
    """`round 1 of 3; later ones have up to 1,200 more trials`."""
    return round + (f"; later ones have up to {later:,} more trials" if later else "")


def duration(seconds: float | None) -> str:
    """2.5 h, 3 min, 12 s; "not measured" for None."""
    if seconds is None:
        return "not measured"
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def size(count: float) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def bar(done: float) -> str:
    """`[#####---------------]  25 %`."""
    full = int(BAR * done)
    return f"[{'#' * full}{'-' * (BAR - full)}] {100 * done:3.0f} %"


def speed(rate: float) -> str:
    """`21.5 M trial-steps/s`."""
    return f"{rate / 1e6:.1f} M trial-steps/s" if rate >= 1e5 else f"{rate:,.0f} trial-steps/s"


def sparkline(values: list[float]) -> str:
    """A curve in one line of text; a middle dot where a value is not finite."""
    if len(values) > LINE:
        values = [values[round(i * (len(values) - 1) / (LINE - 1))] for i in range(LINE)]
    finite = [v for v in values if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    span = (high - low) or 1.0
    return "".join(BARS[int((v - low) / span * (len(BARS) - 1))] if math.isfinite(v) else "·" for v in values)


def width() -> int:
    """Characters in a line of the terminal, or of a file."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if terminal else WIDTH


def rendered(table: Table) -> str:
    """A table as text, as wide as the terminal or as a file allows."""
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, width=width()).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def say(text: str = "") -> None:
    """A line for the person at the terminal."""
    typer.echo(redacted(text), file=sys.stdout)  # as set up: click's own stream would not ask what it can encode


def warn(sentences: Iterable[str]) -> None:
    """What is allowed and may not be meant, on standard error."""
    for sentence in sentences:
        typer.echo(f"warning: {sentence}", err=True)


def show(table: Table) -> None:
    """A table, as wide as the terminal or as a file allows."""
    say(rendered(table))


def print_json(value: Any) -> None:
    """JSON on standard output, for scripts; null for what JSON has no number for."""
    typer.echo(json.dumps(finite(value), indent=2, default=str, allow_nan=False))


def finite(value: Any) -> Any:
    """The value with null where it holds NaN or infinity."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
