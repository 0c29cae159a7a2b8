"""How much sooner a pack takes a step once members have left it, path by path, on this machine.

A search stops trials and some diverge; what is left of a pack should take less time in proportion. Two packs of the
same newborn trials train by turns: one whole, one that every second member has left (`Training.keep`), which leaves
lanes and blocks half empty unless they close up. All is on one core and within the first task; the same number of
steps is trained every time, the first time to warm up, and the best of the others counts. Beside it, how long the
leaving takes, up to the next step: the lifted path compiles programs for the new width.

    python -m sweep.benchmarks.leaving
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from sweep.benchmarks.bench import new_pack
from sweep.benchmarks.cases import IMAGES, REGRESSION, Case
from sweep.benchmarks.turns import REPEATS, by_turns, on_one_core
from workloads.training.loop import Training

# Few enough that a block of the lifted path holds them all, of few streams, whose making none of the paths does sooner.
SMALL = Case(REGRESSION, "sgd", 32, 80, 5)
WIDE = Case(IMAGES, "sgd", 8, 2, 100)
ROWS = [("lanes", SMALL, 2048), ("lifted", SMALL, 512), ("online", WIDE, 1024)]  # the last: steps that are timed


@dataclass(frozen=True, slots=True)
class Left:
    """One row: a path, its trials, and microseconds per step of all of them and of those who stay."""

    path: str
    network: str
    members: int
    stay: int
    whole_us: float
    left_us: float
    leaving_s: float  # from before they leave to after the next step

    @property
    def sooner(self) -> float:
        """How many times sooner a step of those who stay is done; `members / stay` is what could be hoped for."""
        return self.whole_us / self.left_us


def measured(path: str, case: Case, steps: int) -> Left:
    """One row, in this process."""
    (whole, _), (left, _) = new_pack(case, path=path), new_pack(case, path=path)
    began = time.perf_counter()
    left.keep(torch.arange(case.members) % 2 == 0)
    left.train(left.step + 1)
    leaving = time.perf_counter() - began
    times = by_turns([lambda: trained(whole, steps), lambda: trained(left, steps)], 1 + REPEATS)
    whole_us, left_us = (min(side[1:]) / steps * 1e6 for side in times)
    return Left(path, case.network, case.members, len(left.held), whole_us, left_us, leaving)


def trained(training: Training, steps: int) -> float:
    """Seconds of so many more steps of the task at hand."""
    began = time.perf_counter()
    training.train(training.step + steps)
    return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> int:
    """How much sooner packs take a step once half of their members have left."""
    parser = argparse.ArgumentParser(prog="python -m sweep.benchmarks.leaving", description=main.__doc__)
    parser.add_argument("--path", choices=[path for path, *_ in ROWS], help="only this one")
    parser.add_argument("--json", action="store_true", help="one line of JSON per path")
    options = parser.parse_args(arguments)
    on_one_core()
    for path, case, steps in ROWS:
        if options.path in (None, path):
            row = measured(path, case, steps)
            print(json.dumps(asdict(row)) if options.json else told(row), flush=True)
    return 0


def told(row: Left) -> str:
    """A row in words."""
    return (
        f"{row.path:6} {row.network}: {row.members:,} trials {row.whole_us:,.1f} us a step, {row.stay:,} of them "
        f"{row.left_us:,.1f} us: {row.sooner:.2f} times sooner; leaving took {row.leaving_s:.2g} s"
    )


if __name__ == "__main__":
    sys.exit(main())
