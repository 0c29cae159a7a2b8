"""Whole functions lowered: results that replace what others still read, and random functions to the bit."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
import torch
from lowered import F64, Case, each_member, ran, whole
from torch import Tensor
from torch.nn import functional

Aliased = Callable[..., list[Tensor]]
MATRICES = [whole(3, 3, seed=s) for s in range(3)]
ALIASED: dict[str, Aliased] = {  # a, b and c (3, 3); up to three results, in the places of a, b and c
    "swapped": lambda a, b, c: [b, a],
    "rotated": lambda a, b, c: [b, c, a],
    "rotated back": lambda a, b, c: [c, a, b],
    "swapped and scaled": lambda a, b, c: [2 * b, 3 * a],
    "the last value is kept": lambda a, b, c: [a + 1, a],
    "the last two values are kept": lambda a, b, c: [a + c, a, b],
    "kept, from behind": lambda a, b, c: [b, c, c + a],
    "shifted, one result for two places": lambda a, b, c: [b * c, b * c, b],
    "an elementwise result beside a sum of the old": lambda a, b, c: [a * b, b + a.sum(0)],
    "a sum before an elementwise result": lambda a, b, c: [b * a.sum(), a * 2, c + a.sum(1)],
    "a sum of what replaces": lambda a, b, c: [a + b, b + (a + b).sum(0), c + a],
    "updated from its own row sums": lambda a, b, c: [a - a.sum(1, keepdim=True)],
    "updated from its own column sums": lambda a, b, c: [a - a.sum(0), a - a.sum(0) + b],
    "transposed in place": lambda a, b, c: [a.T],
    "plus its own transpose": lambda a, b, c: [a + a.T, b.T * a, c],
    "transposes swapped": lambda a, b, c: [b.T, a.T],
    "rows rolled": lambda a, b, c: [torch.cat([a[1:], a[:1]]), b],
    "rows rolled into another": lambda a, b, c: [b + 1, torch.cat([a[1:], b[:1]])],
    "one row read by all": lambda a, b, c: [a - a[0], b + a[:, 1:2]],
    "last row read by all": lambda a, b, c: [a - a[2]],
    "flat, read in another order": lambda a, b, c: [a.T.reshape(9).view(3, 3) + a],
    "seen flat": lambda a, b, c: [(a.view(9) + 1).view(3, 3), (a.view(9) * b.view(9)).view(3, 3)],
    "its own product": lambda a, b, c: [a @ a, b @ a],
    "product of what is replaced": lambda a, b, c: [b @ c, a @ b, a],
    "unchanged in another's place": lambda a, b, c: [a, a, b],
    "unchanged for two others": lambda a, b, c: [b + c, a, a],
    "one result for three places": lambda a, b, c: [a + b + c] * 3,
    "constants": lambda a, b, c: [torch.eye(3, dtype=F64), torch.zeros(3, 3, dtype=F64), a],
    "one constant for two places": lambda a, b, c: [torch.eye(3, dtype=F64)] * 2,
    "a constant that depends on a shape": lambda a, b, c: [torch.zeros_like(a), torch.ones_like(a) + a],
    "expanded": lambda a, b, c: [a.sum().expand(3, 3), b[0].expand(3, 3), a],
    "elementwise, each from the others": lambda a, b, c: [b - c, c - a, a - b],
    "in place, as users may write it": lambda a, b, c: [a.clone().mul_(2).add_(b), a + 1],
    "a row written into a copy": lambda a, b, c: [torch.where(torch.arange(3).view(3, 1) == 1, b[0], a), a, b],
    "position of the old": lambda a, b, c: [a + b, b + (torch.arange(3) == a.argmax(1)).double(), c],
    "positions where some are no number": lambda a, b, c: [
        a + (torch.arange(3) == torch.where(b > a, (a - a) / (a - a), c).argmin(1)).double(),
        b - (torch.arange(3) == torch.where(b > a, (a - a) / (a - a), c).argmax(0)).double(),
    ],
    "log softmax of the old": lambda a, b, c: [b, b + (functional.log_softmax(a, 1) > -1).double()],
    "momentum": lambda a, b, c: [a - (b * 2 + c), b * 2 + c, c],
}


def test_results_replace_arguments_as_if_all_at_once() -> None:
    cases = [Case(function, MATRICES) for function in ALIASED.values()]
    for (name, function), results in zip(ALIASED.items(), ran(cases), strict=True):
        expected = each_member(function, MATRICES)
        expected += MATRICES[len(expected) :]
        for place, (got, want) in enumerate(zip(results, expected, strict=True)):
            assert got.equal(want), f"{name}, place {place}"


class Grown:
    """A random function of a, b, c (3, 3), v, w (3,) and s (); exact, for its numbers stay small whole ones."""

    places = ("matrix", "matrix", "matrix", "row", "row", "number")

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)
        self.plan: list[tuple[str, Callable[..., Tensor], list[int]]] = []
        self.pool: dict[str, int] = {"matrix": 3, "row": 2, "number": 1}  # how many of each there are
        for _ in range(self.choose.randint(2, 9)):
            kind, function, operands = self.choose.choice(STEPS)
            picks = [self.choose.randrange(self.pool[o]) for o in operands]
            self.plan.append((kind, self._applied(function, operands), picks))
            self.pool[kind] += 1
        self.results = [self._result(kind) for kind in self.places[: self.choose.randint(1, 6)]]

    def _applied(self, function: Callable[..., Tensor], operands: Sequence[str]) -> Callable[..., Tensor]:
        return lambda pool, picks: function(*(pool[o][p] for o, p in zip(operands, picks, strict=True)))

    def _result(self, kind: str) -> int:
        """Any value of the kind, arguments among them, but rather one computed late."""
        return self.pool[kind] - 1 - int(self.choose.random() ** 2 * self.pool[kind])

    def __call__(self, *arguments: Tensor) -> list[Tensor]:
        pool: dict[str, list[Tensor]] = {"matrix": [], "row": [], "number": []}
        for kind, argument in zip(self.places, arguments, strict=True):
            pool[kind].append(argument)
        for kind, function, picks in self.plan:
            pool[kind].append(function(pool, picks))
        return [pool[kind][pick] for kind, pick in zip(self.places, self.results, strict=False)]


STEPS: list[tuple[str, Callable[..., Tensor], list[str]]] = [
    ("matrix", torch.add, ["matrix", "matrix"]),
    ("matrix", torch.add, ["matrix", "matrix"]),
    ("matrix", lambda x, y: x - (-y), ["matrix", "matrix"]),
    ("matrix", lambda x, y: (x * y).clamp(-9, 9), ["matrix", "matrix"]),
    ("matrix", lambda x, y: torch.where(x > y, x, 1 - y), ["matrix", "matrix"]),
    ("matrix", lambda x: x.T, ["matrix"]),
    ("matrix", lambda x: x.T.reshape(9).view(3, 3), ["matrix"]),
    ("matrix", lambda x: x.reshape(9).view(3, 3).abs(), ["matrix"]),
    ("matrix", lambda x, y: torch.cat([x[1:], y[:1]]), ["matrix", "matrix"]),
    ("matrix", lambda x, y: torch.cat([y[:, 2:], x[:, :2]], 1), ["matrix", "matrix"]),
    ("matrix", lambda x, y: (x @ y).clamp(-9, 9), ["matrix", "matrix"]),
    ("matrix", lambda x, v: x + v, ["matrix", "row"]),
    ("matrix", lambda x, v: x - v.unsqueeze(1), ["matrix", "row"]),
    ("matrix", lambda v, w: torch.outer(v, w).clamp(-9, 9), ["row", "row"]),
    ("matrix", lambda v: v.expand(3, 3), ["row"]),
    ("matrix", lambda x: x - x.sum(1, keepdim=True).clamp(-9, 9), ["matrix"]),
    ("matrix", lambda x, s: torch.where(s > 0, x, x.T), ["matrix", "number"]),
    ("matrix", lambda x: torch.eye(3, dtype=F64), ["matrix"]),
    ("row", lambda x: x.sum(0).clamp(-9, 9), ["matrix"]),
    ("row", lambda x: x.sum(1).clamp(-9, 9), ["matrix"]),
    ("row", lambda x: x[1], ["matrix"]),
    ("row", lambda x: x[:, 2], ["matrix"]),
    ("row", lambda x: x.amax(0), ["matrix"]),
    ("row", lambda x: (x * torch.eye(3, dtype=F64)).sum(1), ["matrix"]),
    ("row", lambda v, w: torch.maximum(v, 2 - w), ["row", "row"]),
    ("row", lambda v: torch.cat([v[1:], v[:1]]), ["row"]),
    ("row", lambda x: (torch.arange(3) == x.sum(0).argmin()).double(), ["matrix"]),
    ("row", lambda v, s: v * s.clamp(-2, 2), ["row", "number"]),
    ("number", lambda x: x.sum().clamp(-9, 9), ["matrix"]),
    ("number", lambda v: v.argmax().double(), ["row"]),
    ("number", lambda x: x[2, 1], ["matrix"]),
    ("number", lambda s, v: s + v[0], ["number", "row"]),
]


@pytest.mark.parametrize("seeds", [range(40), pytest.param(range(40, 1000), marks=pytest.mark.slow)], ids=len)
def test_random_functions_are_torchs_to_the_bit(seeds: range) -> None:
    arguments = [*MATRICES, whole(3, seed=8), whole(3, seed=9), whole(seed=10)]
    for first in range(0, len(seeds), 40):
        grown = [Grown(seed) for seed in seeds[first : first + 40]]
        for seed, function, results in zip(
            seeds[first:], grown, ran([Case(g, arguments) for g in grown]), strict=False
        ):
            expected = each_member(function, arguments)
            expected += arguments[len(expected) :]
            for place, (got, want) in enumerate(zip(results, expected, strict=True)):
                assert got.equal(want), f"seed {seed}, place {place}"


# Draws
