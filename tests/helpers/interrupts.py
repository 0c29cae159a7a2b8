"""Processes that tests interrupt."""

from __future__ import annotations

import signal


def heed_interrupts() -> None:
    """For `preexec_fn`: SIGINT stops the process, though a shell has it ignored by all it starts in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
