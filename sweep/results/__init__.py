"""From curves to answers: tidy tables, bands, leaderboards, and what things are called and coloured.

The package is also what Python calls for a sweep's results: `sweep.results("my_sweep")`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweep.results.results import Results


class Callable(ModuleType):
    """A package that can be called by its own name, which a function beside it would lose to it once imported."""

    def __call__(self, name: str, *, scale: str | None = None, storage: str | None = None) -> Results:
        """What a sweep that was run found, to ask further: see `sweep.results.results.Results`."""
        from sweep import lookup
        from sweep.ledger.ledger import Ledger
        from sweep.results.results import Results

        ledger = Ledger(lookup.storage_of(storage))
        return Results(lookup.find_sweep(ledger, name, scale), ledger)


sys.modules[__name__].__class__ = Callable
