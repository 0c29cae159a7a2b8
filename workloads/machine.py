"""What this process may use of the machine."""

import os


def cpus() -> int:
    """CPUs that this process may use: on a shared machine fewer than there are."""
    allowed = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(allowed(0)) if allowed else os.cpu_count() or 1
