"""A diagnostic of the user's own, tried on members together and alone before a sweep asks for it."""

from __future__ import annotations

from typing import Any, get_args

from workloads.diagnostics import Part
from workloads.diagnostics.look import Look

PARTS = frozenset(get_args(Part))


class WatchedLook(Look):
    """A look that remembers which of its parts were read; what a part is made of does not count."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.read: set[str] = set()
        self._making = False
        super().__init__(*arguments, **options)

    def __getattribute__(self, name: str) -> Any:
        if name not in PARTS or self._making:
            return super().__getattribute__(name)
        self.read.add(name)
        self._making = True
        try:
            return super().__getattribute__(name)
        finally:
            self._making = False
