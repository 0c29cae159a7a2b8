"""Hooks of a module that its copies do not share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Hook:
    """A hook that stays with its module: in a copy, deep or through a file, stands one that does nothing."""

    def __init__(self, act: Callable[..., None]) -> None:
        self.act = act

    def __call__(self, *given: Any) -> None:
        self.act(*given)

    def __reduce__(self) -> tuple[type[Hook], tuple[Callable[..., None]]]:
        return Hook, (nothing,)


def nothing(*_: Any) -> None:
    """See `Hook`."""
