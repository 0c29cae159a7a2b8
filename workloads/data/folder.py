"""Where data sets are on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from workloads import machine


def data_folder() -> Path:
    """Where data sets are cached and looked for: $PLIANT_DATA, else pliant/data in $XDG_CACHE_HOME or ~/.cache."""
    folder = os.environ.get("PLIANT_DATA")
    return Path(folder).expanduser() if folder else machine.kept("data")
