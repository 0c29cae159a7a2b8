"""How a pack runs: paths with one meaning and one signature, each one file.

An engine holds P members of one shape. Its promises, kept by every path:

- `load(state)` takes and `state()` gives nested dicts of tensors with the member axis in front, (P, ...): "params",
  "state" (of optimizer and methods), "loss" and "correct" (float64 sums of the online measures since they were last
  zeroed). `load(state())` changes nothing, and a member loaded alone trains as it did among others. `load` also reads
  the hyperparameters anew, whose tensors a schedule of step sizes writes into.
- `advance(x, y, which, start)` trains on x (count, S, B, ...) and y (count, S, B, ...) from step `start`, member i on
  stream which[i]. How steps are split over calls changes no bit.
- `takes` names the shorter forms in which it also takes examples, with the bits of `advance`: "rows" of small tables
  by `advance_rows(x, y, index, which, start)`, "pictures" of a data set by `advance_pictures`.
- `owes`: it draws some noise only when a weight is read, so that a state holds, under "path", what is still owed.
- A member that goes to NaN or infinity changes no other. Members may leave: `keep` goes on with the others.
"""

from __future__ import annotations

import warnings
from typing import Protocol

from torch import Tensor

from workloads import native
from workloads.engine.lanes import Lanes
from workloads.engine.layout import Tree
from workloads.engine.lifted import Lifted, settle_products
from workloads.engine.looped import Looped
from workloads.engine.online import Online, refusal
from workloads.engine.online_traced import TracedOnline
from workloads.engine.parts import parts_of
from workloads.errors import InputError
from workloads.learner import Learner
from workloads.paths import PATHS, check
from workloads.registry import unknown


class Engine(Protocol):
    """What every path offers; see the module's promises."""

    @property
    def takes(self) -> tuple[str, ...]:
        """The shorter forms of examples that it takes."""

    @property
    def owes(self) -> bool:
        """Whether its state may hold noise that is not drawn yet."""

    def load(self, state: Tree) -> None:
        """Take the pack's state."""

    def state(self) -> Tree:
        """The pack's state."""

    def keep(self, mask: Tensor, hyper: Tree, seeds: Tensor) -> None:
        """Go on with the members in the mask (P,) alone, to the same bits; `hyper` and `seeds` are theirs."""

    def advance(self, x: Tensor, y: Tensor, which: Tensor, start: int) -> None:
        """Train."""


def build(path: str, learner: Learner, hyper: Tree, seeds: Tensor, *, tf32: bool = False) -> Engine:
    """The engine of a path. `plain` is one network: the same as `looped` over a single member.

    `tf32`: a GPU may round the factors of float32 products to TF32. Raises InputError for what the path does not take.
    """
    if path not in PATHS:
        raise InputError(unknown(path, "path", PATHS))
    check(path, parts_of(learner))
    if path == "plain" and len(seeds) != 1:
        raise InputError(f"path plain trains one network, this pack has {len(seeds)}: use looped")
    if path in ("lanes", "online"):
        try:
            native.check()
        except native.NoCompiler as error:
            # The same numbers but for rounding, and the pack goes on: better slow than not at all.
            warnings.warn(
                f"no working C++ compiler, so packs train uncompiled, many times slower: {error}", stacklevel=2
            )
            return Lifted(learner, hyper, seeds, compiled=False)
        if path == "lanes":
            return Lanes(learner, hyper, seeds)
        return (TracedOnline if refusal(learner) else Online)(learner, hyper, seeds)
    if path == "lifted":
        return Lifted(learner, hyper, seeds, tf32=tf32)
    settle_products(seeds.device, tf32=tf32)
    return Looped(learner, hyper, seeds)
