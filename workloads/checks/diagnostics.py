"""A diagnostic of the user's own, tried on newborn members before a sweep asks for it.

What it gives has a value per member, or per hidden layer and member; it is the same asked twice, of a member alone, and
beside one whose numbers are not finite; and it reads the parts of a look that it says it needs.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from workloads.checks.watch import described
from workloads.diagnostics import DIAGNOSTICS, Part
from workloads.diagnostics.base import diagnostic
from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import measure
from workloads.engine.layout import Tree, mapped
from workloads.errors import InputError
from workloads.extensions import place_of, told
from workloads.training.loop import Training
from workloads.training.pack import Member, Pack, PackMember

PARTS = frozenset(get_args(Part))
FEWEST = 3  # members: one alone, among others, and beside one that is spoilt
ROUNDING = 1e-6  # of a value: what is measured in the trial's type, alone and among others


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

    @classmethod
    def of(cls, look: Look) -> WatchedLook:
        """The same look, watched."""
        known = {"gradients": look.known_gradients, "activations": look.known_activations, "ages": look.known_ages}
        past = {"before": look.before, "initial": look.initial}
        return cls(look.network, look.params, look.x, targets=look.targets, loss=look.loss, **known, **past)


def check_diagnostic(name: str, members: Sequence[Member], file: str) -> dict[str, float]:
    """Metric -> its mean over the newborn members. Raises InputError that names file, line and what is wrong."""
    try:
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            problem, values = _tried(name, (list(members) * FEWEST)[: max(FEWEST, len(members))])
    except (Exception, SystemExit) as error:
        raise InputError(told(error) if place_of(error) else f"{file}: {name}: {told(error)}") from error
    if problem:
        raise InputError(f"{file}: {name} {problem}")
    return {metric: float(of_members.double().mean()) for metric, of_members in values.items()}


def _tried(name: str, members: Sequence[Member]) -> tuple[str | None, dict[str, Tensor]]:
    """What is wrong, if anything, and what it measures."""
    asked = [PackMember(member.id, {**member.config, "metrics": [name]}) for member in members]
    training = Training(Pack(id="", members=asked, path="looped"))
    training.begin()
    everyone = list(range(len(members)))
    tree = training.engine.state()
    look = WatchedLook.of(_look(training, name, tree, everyone))
    shared = {**look.params, **look.activations}
    before = mapped(torch.clone, shared)
    result = diagnostic(name).measure(look)
    problem = _reads(name, look) or _shape(name, result, look)
    if not all(torch.equal(value, before[n]) for n, value in shared.items()):
        problem = "changes tensors of the look, which other diagnostics read after it: work on a copy"
    if problem:
        return problem, {}
    values = measure([name], _look(training, name, tree, everyone))
    if not _alike(values, measure([name], _look(training, name, tree, everyone)), everyone, everyone, 0.0):
        return "gives another value when it is asked again", values
    # Twice, as one matrix is multiplied by other code than several.
    if not _alike(values, measure([name], _look(training, name, tree, [1, 1])), [1], [0], ROUNDING):
        return "gives a member another value alone than among others: keep the members, axis 0, apart", values
    spoilt = {**tree, "params": mapped(lambda v: torch.cat([v[:-1], v[-1:] * torch.nan]), tree["params"])}
    others = everyone[:-1]
    if not _alike(values, measure([name], _look(training, name, spoilt, everyone)), others, others, ROUNDING):
        return "gives members another value beside one whose numbers are not finite", values
    return None, values


def _look(training: Training, name: str, tree: Tree, part: Sequence[int]) -> Look:
    """At some of the members, as a pack looks at them."""
    places = torch.tensor(part)
    count = DIAGNOSTICS[name].probe or training.config["probe"]
    probes = [training.probes.probe(int(training.which[place]), 0, count) for place in places]
    x, y = (torch.stack(each) for each in zip(*probes, strict=True))
    return training.probes.look([name], tree, x, y, places, training.past)


def _reads(name: str, look: WatchedLook) -> str | None:
    """It reads what it says it needs."""
    needs = set(DIAGNOSTICS[name].needs)
    if more := sorted(look.read - needs):
        return f"reads {', '.join(more)} of the look: name what it reads in `needs`, which has {sorted(needs)}"
    if idle := sorted(needs - look.read):
        return f"needs {', '.join(idle)} and does not read it"
    return None


def _shape(name: str, result: Any, look: Look) -> str | None:
    """A value per member, or per hidden layer or weight matrix one per member."""
    count, spec = len(look.x), DIAGNOSTICS[name]
    if spec.deciles:
        return _shape_of_many(result, count)
    if spec.per_layer or spec.per_matrix:
        said, many = ("per_layer", len(look.activations)) if spec.per_layer else ("per_matrix", len(look.weights))
        if not isinstance(result, list | tuple) or len(result) != many:
            return f"is {said}: a list of {many} tensors ({count},) is expected, not {described(result)}"
        values = list(result)
    else:
        values = [result]
    for value in values:
        if not isinstance(value, Tensor) or tuple(value.shape) != (count,) or not value.is_floating_point():
            per = " per hidden layer, with per_layer = True" if isinstance(value, list | tuple) else ""
            return f"must return a floating-point tensor of a value per member, ({count},){per}, not {described(value)}"
    return None


def _shape_of_many(result: Any, count: int) -> str | None:
    """Many values per weight matrix and member."""
    expected = f"has deciles: a list of floating-point tensors ({count}, K), one per weight matrix, is expected"
    if not isinstance(result, list | tuple) or not result:
        return f"{expected}, not {described(result)}"
    for values in result:
        fits = isinstance(values, Tensor) and values.ndim == 2 and len(values) == count and values.shape[1] > 0
        if not fits or not values.is_floating_point():
            return f"{expected}, not one of {described(values)}"
    return None


Values = Mapping[str, Tensor]  # metric -> (P,)


def _alike(one: Values, other: Values, here: Sequence[int], there: Sequence[int], by: float) -> bool:
    """Whether values of the members `here` are those of the members `there` in another look."""
    pairs = [(one[name].double()[list(here)], other[name].double()[list(there)]) for name in one]
    return all(torch.allclose(a, b, rtol=by, atol=by, equal_nan=True) for a, b in pairs)
