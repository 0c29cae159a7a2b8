"""Functions compiled as the lanes path does it, 16 members in a vector or one at a time, many in one compilation.

Each is compared with the same function run by torch on one member after the other.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workloads import native
from workloads.engine.lowering import Lowering
from workloads.engine.values import KINDS
from workloads.paths import LANES

Function = Callable[..., Sequence[Tensor]]
aten = torch.ops.aten
F32, F64 = torch.float32, torch.float64


@dataclass
class Case:
    """A function whose i-th result replaces its i-th argument, and arguments (LANES, ...) to try it on."""

    function: Function
    arguments: list[Tensor]


def ran(cases: Sequence[Case], *, width: int = LANES, tried: set[Any] | None = None) -> list[list[Tensor]]:
    """All arguments of every case after its compiled function ran, `width` members at a time.

    The operations in the traces are added to `tried`.
    """
    parts = [
        "#include <cmath>\n#include <cstdint>\n#include <cstring>",
        "#ifdef __AVX512F__\n#include <immintrin.h>\n#endif",
        f"#define W {width}\n#define STRIDE {LANES}",
        files("workloads.engine").joinpath("lanes.h").read_text(),
    ]
    for number, case in enumerate(cases):
        names = [f"p{k}" for k in range(len(case.arguments))]
        lowering = Lowering(case.function, [a[0].clone() for a in case.arguments], names)
        if tried is not None:
            tried.update(node.target for node in lowering.trace.graph.nodes)
        kinds = [KINDS[a.dtype] for a in case.arguments]
        slots = ", ".join(f"const slot<{kind}v> {name}" for kind, name in zip(kinds, names, strict=True))
        given = ", ".join(f"{{arrays[{k}]+lane*(sizeof({kind}v)/W)}}" for k, kind in enumerate(kinds))
        parts += [f"static void f{number}({slots}) {{", *lowering.code(), "}"]
        parts.append(f'extern "C" void run{number}(char** arrays) {{')
        parts.append(f"for (int lane = 0; lane < {LANES}; lane += W) f{number}({given});}}")
    library = native.compiled("\n".join(parts))
    found = []
    for number, case in enumerate(cases):
        arrays = [aligned(lanes_last(a)) for a in case.arguments]
        pointers = (ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])
        getattr(library, f"run{number}")(pointers)
        found.append([members_first(torch.from_numpy(a), like) for a, like in zip(arrays, case.arguments, strict=True)])
    return found


def lanes_last(argument: Tensor) -> np.ndarray[Any, Any]:
    """An argument (LANES, ...) as a program holds it: (elements, LANES), truth as 0 and -1."""
    flat = argument.reshape(LANES, -1).T
    return (-flat.int() if flat.dtype == torch.bool else flat).numpy()


def members_first(array: Tensor, like: Tensor) -> Tensor:
    """The inverse of `lanes_last`; truth must be 0 or -1, since all else counts on it."""
    if like.dtype == torch.bool:
        assert ((array == 0) | (array == -1)).all()
        array = array != 0
    return array.T.reshape(like.shape)


def aligned(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A copy that begins at a multiple of 64 bytes."""
    room = np.empty(values.nbytes + 64, np.uint8)
    first = -room.ctypes.data % 64
    copy = room[first : first + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def each_member(function: Function, arguments: Sequence[Tensor]) -> list[Tensor]:
    """What torch makes of every member alone, stacked."""
    per_member = [function(*(a[i].clone() for a in arguments)) for i in range(LANES)]
    return [torch.stack(list(results)) for results in zip(*per_member, strict=True)]


def operation(function: Callable[..., Tensor], *inputs: Tensor) -> Case:
    """A case that puts one result into an argument of its own."""
    out = torch.stack([function(*(v[i] for v in inputs)) for i in range(LANES)])
    return Case(lambda _, *values: [function(*values)], [torch.zeros_like(out), *inputs])


def gradient_of(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The gradient of a sum of squares of the function's values, by its first argument."""
    found: Callable[..., Tensor] = torch.func.grad(lambda *inputs: (function(*inputs) ** 2).sum())
    return found


def noise(*shape: int, dtype: torch.dtype = F64, seed: int = 0) -> Tensor:
    """Normal numbers, (LANES, *shape)."""
    return torch.randn(LANES, *shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def whole(*shape: int, seed: int = 0, dtype: torch.dtype = F64, low: int = -4, high: int = 5) -> Tensor:
    """Small whole numbers, (LANES, *shape)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (LANES, *shape), generator=generator).to(dtype)


def ulps(got: Tensor, truth: Tensor) -> Tensor:
    """The distance from the truth (float64) in units in the last place of float32 there."""
    spacing = torch.from_numpy(np.spacing(truth.abs().float().clamp(min=2.0**-126).numpy())).double()
    return (got.double() - truth).abs() / spacing


# Elementary functions over their range
