"""Measurements of a pack, a row each: as they come, and as they are handed on. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Rows:
    """Measurements, one per index: member number, metric (index into `names`), task, step, value."""

    names: tuple[str, ...]
    member: NDArray[np.int32]
    metric: NDArray[np.int16]
    task: NDArray[np.int32]
    step: NDArray[np.int64]
    value: NDArray[np.float64]


class Table:
    """Rows as they come, column by column, until they are taken."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.parts: list[tuple[Any, ...]] = []

    def add(self, name: str, task: int, step: int, values: Tensor, members: Tensor) -> None:
        """A value (n,) for each of the members of these numbers in the pack, (n,)."""
        code = self.names.setdefault(name, len(self.names))
        numbers = members.cpu().numpy().astype(np.int32)
        self.parts.append((numbers, code, task, step, values.detach().cpu().double().numpy()))

    def take(self) -> Rows:
        """All rows since the last take."""
        sizes = [len(part[0]) for part in self.parts]

        def column(position: int, dtype: Any) -> Any:
            return np.repeat(np.array([part[position] for part in self.parts], dtype=dtype), sizes)

        rows = Rows(
            names=tuple(self.names),
            member=np.concatenate([part[0] for part in self.parts] or [np.empty(0, np.int32)]),
            metric=column(1, np.int16),
            task=column(2, np.int32),
            step=column(3, np.int64),
            value=np.concatenate([part[4] for part in self.parts] or [np.empty(0)]),
        )
        self.parts = []
        return rows
