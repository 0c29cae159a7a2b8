"""What this process may use of the machine, and where it keeps what it made or fetched for later ones."""

from __future__ import annotations

import os
from pathlib import Path


def kept(name: str) -> Path:
    """A folder or file of our own between runs: in $XDG_CACHE_HOME, else ~/.cache."""
    folder = os.environ.get("XDG_CACHE_HOME")
    return (Path(folder).expanduser() if folder else Path.home() / ".cache") / "pliant" / name


def cpus() -> int:
    """CPUs that this process may use: on a shared machine fewer than there are."""
    allowed = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(allowed(0)) if allowed else os.cpu_count() or 1
