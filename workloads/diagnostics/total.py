"""Sums over layers, from first to last: `torch.stack(...).sum(0)` adds in another order for other numbers of members.

So what is measured of a member has the same bits whoever shares its pack.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

from torch import Tensor


def total(parts: Sequence[Tensor]) -> Tensor:
    """The sum of tensors of one shape, at least one, from first to last."""
    return functools.reduce(operator.add, parts)
