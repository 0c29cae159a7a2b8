"""The friction under a slippery ant: log-uniform in [0.02, 2.0], a pure function of (seed, task).

Source: Dohare et al. (2024), Nature 632:768, whose frictions are a fixed table of 100 runs by 50, of this distribution.
Ours are drawn, from the first task on, so that any number of runs and tasks has its own.
"""

from __future__ import annotations

import math
from functools import lru_cache

from workloads.random import uniform

LOWEST, HIGHEST = 0.02, 2.0  # of Coulomb friction, without a unit; the stock ant's is 1


@lru_cache(maxsize=4096)  # a draw takes as long as a step of the ant
def friction(seed: int, task: int) -> float:
    """Sliding friction of the floor and of the ant itself."""
    low, high = math.log(LOWEST), math.log(HIGHEST)
    return math.exp(low + (high - low) * float(uniform(seed, "slippery_ant/friction", task, 1)[0]))
