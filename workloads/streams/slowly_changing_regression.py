"""Slowly-changing regression, the bit-flipping problem (Dohare et al. 2024, Nature 632:768, ED Fig. 2).

The input is `slow_bits` bits that stay for a period and `fast_bits` bits that are fair coins in every
example. The target is a fixed network of threshold units with weights and biases in {-1, +1},

    y = c + sum_i v_i [w_i . x + b_i > tau_i],      tau_i = beta (n + 1) - S_i,      n = slow_bits + fast_bits

which needs more capacity than the learner has, so the learner must track it. A unit fires where about beta
of its inputs agree with the signs of its weights.

Where the paper and its released code differ, both are here:
- `flip`: "one" toggles one slow bit per period (the paper), "all" redraws all of them (the code's other
  data set).
- `threshold`: the textbook S_i counts the unit's negative weights, bias among them: (n + 1 - sum_j w_ij -
  b_i) / 2. The code has (n - sum_j w_ij + b_i) / 2: thresholds of units with b_i = +1 are lower by 0.5,
  with b_i = -1 higher by 1.5. With 20 inputs "coded" units fire on 2.95 % of random inputs and "textbook"
  units on 3.92 %.

Within a period y depends on the fast bits alone: a table of 2^fast_bits rows per (seed, period) makes data
nearly free.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from workloads.losses import LossName
from workloads.random import integers, words
from workloads.settings import Settings
from workloads.streams.base import Boundaries, EqualTasks, Float32, Rows

Bits = NDArray[np.uint8]
Float64 = NDArray[np.float64]

SPAN = 2048  # counter blocks of fast bits drawn at once: enough to hide numpy's cost per call, and 0.4 MB


@dataclass(frozen=True, kw_only=True, slots=True)
class SlowlyChangingRegressionConfig:
    """The defaults are the paper's; its runs are 100 to 500 periods long."""

    tasks: Annotated[int, Ge(1)] = 100  # periods
    period: Annotated[int, Ge(1)] = 10_000  # steps per task
    flip: Literal["one", "all"] = "one"  # slow bits that change between periods: one toggled, or all redrawn
    # Of a target unit, by the released code or by the published formula
    threshold: Literal["coded", "textbook"] = "coded"
    slow_bits: Annotated[int, Ge(1)] = 15  # inputs that change between periods
    fast_bits: Annotated[int, Ge(1), Le(10)] = 5  # inputs drawn for every example
    target_units: Annotated[int, Ge(1)] = 100  # hidden units of the target
    beta: float = 0.7  # share of a unit's inputs that must agree
    batch: Annotated[int, Ge(1)] = 1  # examples per step
    task_boundaries: Boundaries = "hidden"  # whether methods are told when a task begins


class ThresholdNetwork:
    """The target: one hidden layer of threshold units, all weights and biases -1 or +1."""

    def __init__(self, config: SlowlyChangingRegressionConfig, seed: int) -> None:
        inputs, units = config.slow_bits + config.fast_bits, config.target_units
        self.weight = signs(seed, "stream/target/weight", units * inputs).reshape(units, inputs)
        self.bias = signs(seed, "stream/target/bias", units)
        self.out_weight = signs(seed, "stream/target/out_weight", units)
        self.out_bias = signs(seed, "stream/target/out_bias", 1)[0]
        total = self.weight.sum(1)
        if config.threshold == "coded":
            agreeing = (inputs - total + self.bias) / 2
        else:
            agreeing = (inputs + 1 - total - self.bias) / 2
        self.threshold = config.beta * (inputs + 1) - agreeing

    def drive(self, bits: Bits, first: int = 0) -> Float64:
        """What inputs `first` to first + k - 1 add to each unit's sum: bits (n, k) -> (n, units)."""
        return np.asarray(bits.astype(np.float64) @ self.weight[:, first : first + bits.shape[1]].T)

    def units(self, drive: Float64) -> NDArray[np.bool_]:
        """Which units fire, given what all inputs add to their sums: (n, units) -> (n, units)."""
        return np.asarray(drive + self.bias > self.threshold)

    def output(self, drive: Float64) -> Float64:
        """The target, given what all inputs add to the units' sums: (n, units) -> (n,), whole numbers."""
        return np.asarray(self.units(drive) @ self.out_weight + self.out_bias, dtype=np.float64)


def signs(seed: int, what: str, count: int) -> Float64:
    """Fair draws of -1 and +1, (count,)."""
    return np.where(words(seed, what, 0, count) >> 31, -1.0, 1.0)


class SlowlyChangingRegression(EqualTasks):
    """Squared error on the target network's output; a task is a period."""

    Config: ClassVar[type[Settings]] = SlowlyChangingRegressionConfig
    name: ClassVar[str] = "slowly_changing_regression"
    label: ClassVar[str] = "Slowly-changing regression"
    semantics: ClassVar[int] = 1
    loss: ClassVar[LossName] = "squared_error"
    default_every: ClassVar[int] = 10
    default_probe: ClassVar[int] = 256

    def __init__(self, config: SlowlyChangingRegressionConfig, seed: int) -> None:
        super().__init__(
            tasks=config.tasks,
            steps_per_task=config.period,
            batch=config.batch,
            boundaries=config.task_boundaries,
        )
        self.config = config
        self.seed = seed
        self.inputs = config.slow_bits + config.fast_bits
        self.outputs = 1
        self.codes_per_word = 32 // config.fast_bits
        self._table: tuple[int, Float32, Float32] | None = None
        self._span: tuple[int, NDArray[np.intp]] | None = None

    @cached_property
    def target(self) -> ThresholdNetwork:
        """The network to be learned; one per seed, for good."""
        return ThresholdNetwork(self.config, self.seed)

    @cached_property
    def slow(self) -> Bits:
        """The slow bits of every task, (tasks, slow_bits)."""
        width = self.config.slow_bits
        if self.config.flip == "all":
            return (words(self.seed, "stream/slow_bits", np.arange(self.tasks), width) >> 31).astype(np.uint8)
        first = words(self.seed, "stream/slow_bits", 0, width) >> 31
        toggled = np.zeros((self.tasks, width), dtype=np.uint8)
        later = np.arange(1, self.tasks)
        toggled[later, integers(self.seed, "stream/toggled_bit", later, 1, width)[:, 0]] = 1
        toggles: Bits = np.bitwise_xor.accumulate(toggled, axis=0)
        return toggles ^ first.astype(np.uint8)

    @cached_property
    def fast(self) -> tuple[Bits, Float64]:
        """By code, (2^fast_bits, ...): the fast bits, and what they add to the sums of the target's units."""
        width = self.config.fast_bits
        bits = (np.arange(1 << width)[:, None] >> np.arange(width) & 1).astype(np.uint8)
        return bits, self.target.drive(bits, first=self.config.slow_bits)

    def table(self, task: int) -> tuple[Float32, Float32]:
        """A task's examples, by the code of their fast bits: x (2^fast_bits, inputs), y (2^fast_bits, 1)."""
        held = self._table
        if held is None or held[0] != task:
            slow = self.slow[task : task + 1]
            fast, drive = self.fast
            x = np.concatenate([np.repeat(slow, len(fast), axis=0), fast], axis=1).astype(np.float32)
            y = self.target.output(drive + self.target.drive(slow)).astype(np.float32)[:, None]
            held = self._table = (task, x, y)
        return held[1:]

    def codes(self, first: int, count: int) -> NDArray[np.intp]:
        """The fast bits of `count` examples of the stream from `first` on, as numbers, (count,).

        Each 32-bit word carries as many examples as fit, lowest bits first; four words share a counter.
        """
        length = SPAN * 4 * self.codes_per_word
        parts, at, end = [], first, first + count
        while at < end:
            span, skip = divmod(at, length)
            parts.append(self._codes_of(span)[skip : skip + end - at])
            at += len(parts[-1])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _codes_of(self, span: int) -> NDArray[np.intp]:
        """All codes of one span; the last span asked for is kept."""
        held = self._span
        if held is None or held[0] != span:
            drawn = words(self.seed, "stream/fast_bits", np.arange(span * SPAN, (span + 1) * SPAN), 4)
            shifts = self.config.fast_bits * np.arange(self.codes_per_word)
            codes = drawn[..., None] >> shifts & ((1 << self.config.fast_bits) - 1)
            held = self._span = (span, codes.reshape(-1).astype(np.intp))
        return held[1]

    def examples(self, task: int, first: int, count: int) -> tuple[Float32, Float32]:
        """Examples of a task: x (count, inputs) zeros and ones, slow bits first; y (count, 1)."""
        x, y = self.table(task)
        codes = self.codes(self.task_start(task) * self.batch + first, count)
        return np.take(x, codes, axis=0, mode="clip"), np.take(y, codes, axis=0, mode="clip")

    def rows(self, start: int, count: int) -> Rows | None:
        """Steps of one task as rows of its table; None where they lie in several tasks."""
        task = self.task_of(start)
        if start < 0 or count < 1 or start + count > min(self.task_start(task + 1), self.task_start(self.tasks)):
            return None
        x, y = self.table(task)
        codes = self.codes(start * self.batch, count * self.batch)
        return Rows(x, y, codes.astype(np.int32).reshape(count, self.batch))


STREAMS = {"slowly_changing_regression": SlowlyChangingRegression}
