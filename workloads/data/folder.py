"""Where data sets are on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """Where data sets are cached and looked for: $PLIANT_DATA, else ~/.cache/pliant/data."""
    told = os.environ.get("PLIANT_DATA")
    return Path(told).expanduser() if told else Path.home() / ".cache" / "pliant" / "data"
