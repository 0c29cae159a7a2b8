"""What k steps without gradient do to a weight, found from its chain; so that a row nobody reads need not be touched.

With gradient 0 the chain is a function of the weight and its slots alone. Where it is

    linear    s ← A s + c: decay, pulls towards fixed weights, momentum. k steps are Aᵏ s + (1 + A + ... + Aᵏ⁻¹) c, with
              A a small matrix (slots x slots), the same for all weights, and c whatever fixed weights make of it
    clamped   w ← clamp(a w) between bounds: one step, which clamps, and then k - 1 steps of a alone, where a is in
              [0, 1] and 0 between the bounds; else it is replayed
    replayed  anything else that depends on nothing but itself: k steps are taken one after the other, in registers,
              with the bits that k steps have
    dense     it depends on numbers that change meanwhile (Adam's count of steps, what other weights are): no row
              sleeps, all are read

nobody has to say so: nothing can get out of step with what the method does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor, fx

from workloads.engine.online_cut import Cut
from workloads.engine.online_graph import RESHAPES
from workloads.engine.online_layers import Layer
from workloads.engine.online_layout import LEAST, LONGEST, REFRESH
from workloads.engine.operations import SAME

aten = torch.ops.aten


class Sleep(IntEnum):
    """How rows of a layer sleep; see `constants`."""

    DENSE = 0
    LINEAR = 1
    CLAMPED = 2
    REPLAYED = 3


class Mode(IntEnum):
    """What a member's rows need when they wake; see `constants`."""

    STILL = 0  # nothing
    ONCE = 1  # one step, however long they slept
    PACED = 2  # as many steps as they slept, at once
    STEPPED = 3  # as many steps as they slept, one after the other
    OWED = 4  # as many steps as they slept, which may stay owed as a factor of the row


@dataclass(frozen=True, slots=True)
class Asleep:
    """What is found of a layer's chain."""

    sleep: Sleep
    homogeneous: bool = False  # zeros stay zeros
    descends: bool = False  # w ← a w + b g, alone, with two numbers that are the same for all weights


TABLE = 512  # lengths of sleep whose effect on a weight is kept
DOUBLINGS = 48  # and powers of two of them, of which longer ones are made
LENGTHS = 2 * 8 * (TABLE + DOUBLINGS)  # bytes that this takes of scratch memory, for one number kept per weight


def constants() -> str:
    """What the C++ is told of all this."""
    told = {
        **Sleep.__members__,
        **Mode.__members__,
        "TABLE": TABLE,
        "DOUBLINGS": DOUBLINGS,
        "LONGEST": LONGEST,
        "REFRESH": REFRESH,
    }
    lines = [f"constexpr int {name} = {int(value)};" for name, value in told.items()]
    return "\n".join([*lines, f"constexpr double LEAST = {LEAST};"])


# What a node is, with gradient 0, as a function of the weight and its slots. Numbers are the same for all weights.
ZERO, NUMBER, FIXED, LINEAR, AFFINE, CLAMPED, OTHER = range(7)
ADDS = {aten.add.Tensor, aten.sub.Tensor, aten.add.Scalar, aten.sub.Scalar, aten.rsub.Scalar}
TIMES = {aten.mul.Tensor, aten.mul.Scalar}
OVER = {aten.div.Tensor, aten.div.Scalar}
BOUNDS = {
    *(aten.clamp.default, aten.clamp.Tensor, aten.clamp_min.default, aten.clamp_max.default),
    *(aten.clamp_min.Tensor, aten.clamp_max.Tensor, aten.minimum.default, aten.maximum.default),
}
FAR, NEAR = 1e100, 1e-100  # far beyond any bound, and within it


def sleep_of(cut: Cut, layer: Layer) -> Asleep:
    """How the layer's rows sleep."""
    if layer.restless or not all(cut.lasts(number) for number in layer.scalars):
        return Asleep(Sleep.DENSE)
    results = kinds(cut, layer)
    alone = descends(cut, layer)
    if layer.sums and not alone:  # only of those do the sums change by what the rows that are read change by
        return Asleep(Sleep.DENSE)
    if all(kind in (ZERO, NUMBER, FIXED, LINEAR, AFFINE) for kind in results):
        homogeneous = all(kind in (ZERO, LINEAR) for kind in results)
        return Asleep(Sleep.LINEAR, homogeneous, alone)
    return Asleep(Sleep.CLAMPED, homogeneous=True) if results == [CLAMPED] else Asleep(Sleep.REPLAYED)


def descends(cut: Cut, layer: Layer) -> bool:
    """Whether a chain is w ← a w + b g, alone, with two numbers that last and are the same for all weights."""
    lasting = not layer.restless and all(cut.lasts(number) for number in layer.scalars)
    return lasting and kinds(cut, layer) == [LINEAR] == kinds(cut, layer, gradient=LINEAR)


def kinds(cut: Cut, layer: Layer, gradient: int = ZERO) -> list[int]:
    """What the chain's results are, where the gradient is of a kind."""
    kind_of: dict[fx.Node, int] = dict.fromkeys(layer.scalars, NUMBER)
    if layer.outer is not None:
        kind_of[layer.outer] = gradient
    kind_of |= {cut.placeholders[k]: LINEAR for k in layer.evolving}
    kind_of |= {cut.placeholders[k]: FIXED for k in layer.constant}
    for node in layer.nodes:
        if node in cut.constants:
            kind_of[node] = ZERO if bool((cut.seen[node] == 0).all()) else NUMBER
        else:
            kind_of[node] = _kind(node, [_of(a, kind_of) for a in node.args if isinstance(a, fx.Node | int | float)])
    return [kind_of[cut.ends[k]] for k in layer.evolving]


def _of(argument: fx.Node | float, kind_of: dict[fx.Node, int]) -> int:
    if isinstance(argument, fx.Node):
        return kind_of[argument]
    return ZERO if argument == 0 else NUMBER


def _kind(node: fx.Node, given: list[int]) -> int:
    """What an elementwise operation makes of operands of these kinds."""
    target, highest = node.target, max(given)
    if target in SAME or target in RESHAPES or target == aten.permute.default:
        return given[0]
    if target in TIMES and ZERO in given:
        return ZERO
    if highest <= FIXED and not (target in ADDS | OVER and ZERO in given):
        return max(highest, NUMBER)
    if target in ADDS:
        first, second = (given + [ZERO])[:2]
        if ZERO in (first, second):
            return highest
        return OTHER if highest > AFFINE else LINEAR if (first, second) == (LINEAR, LINEAR) else AFFINE
    if target == aten.neg.default and highest <= AFFINE:
        return highest
    if target in TIMES and NUMBER in given and highest <= AFFINE:
        return highest
    if target in OVER and given[1] == NUMBER and highest <= AFFINE:
        return given[0]
    if target in BOUNDS and sorted(given)[-1] in (LINEAR, CLAMPED) and max(sorted(given)[:-1], default=0) <= NUMBER:
        return CLAMPED
    return OTHER if highest > FIXED else max(highest, NUMBER)


def descent(cut: Cut, layer: Layer, numbers: list[Tensor]) -> tuple[float, float]:
    """(b, a) of a chain w ← a w + b g, from its single numbers, in float64."""
    chain = cut.chain(layer)
    zero, one = (torch.tensor(v, dtype=torch.float64) for v in (0.0, 1.0))
    return float(chain(one, zero, *numbers)[0]), float(chain(zero, one, *numbers)[0])


def pace(cut: Cut, layer: Layer, asleep: Asleep, numbers: list[Tensor]) -> list[float]:
    """[mode, b, A row by row] of one member, whose chain's single numbers are `numbers`, in float64."""
    size = len(layer.evolving)
    if asleep.sleep in (Sleep.DENSE, Sleep.REPLAYED):
        return [float(Mode.STEPPED), *[0.0] * (1 + size * size)]
    chain, zero = cut.chain(layer), torch.zeros((), dtype=torch.float64)

    def after(values: list[float]) -> list[float]:
        slots = (torch.tensor(v, dtype=torch.float64) for v in values)
        return [float(v) for v in chain(zero, *slots, *[zero] * len(layer.constant), *numbers)]

    if asleep.sleep == Sleep.CLAMPED:
        low, high, by = after([-FAR])[0], after([FAR])[0], after([NEAR])[0] / NEAR
        if not (low < 0 < high and 0 <= by <= 1):
            return [float(Mode.STEPPED), 0.0, 0.0]
        return [float(Mode.ONCE if by == 1 else Mode.PACED), 0.0, by]
    if asleep.descends:
        gain, by = descent(cut, layer, numbers)
        lasting = Mode.OWED if LEAST <= abs(by) <= 1 / LEAST else Mode.PACED
        return [float(Mode.STILL if by == 1 else lasting), gain, by]
    start = after([0.0] * size)
    columns = [after([float(i == j) for i in range(size)]) for j in range(size)]
    matrix = [columns[j][i] - start[i] for i in range(size) for j in range(size)]
    identity = [float(i == j) for i in range(size) for j in range(size)]
    still = asleep.homogeneous and matrix == identity
    return [float(Mode.STILL if still else Mode.PACED), 0.0, *matrix]
