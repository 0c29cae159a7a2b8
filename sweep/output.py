"""What a command prints, where the other end cannot take it: closed early, full, or without our characters."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
