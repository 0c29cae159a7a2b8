"""A ledger in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.ledger.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path))
