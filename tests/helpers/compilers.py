"""What compilers need not do twice, or thoroughly, for what a test asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

Compile = Callable[..., Any]


def once(patch: pytest.MonkeyPatch) -> None:
    """From here on a program that torch's compiler has made is made no second time: tracing is left, and compared.

    For tests that make an engine many times and ask nothing of the compiler: a program is the same where its graph,
    the constants in it and its arguments are.
    """
    import torch._inductor

    made: dict[Any, Any] = {}
    inner: Compile = torch._inductor.compile

    def compiled(graph: torch.fx.GraphModule, arguments: list[Tensor], **options: Any) -> Any:
        constants = [getattr(graph, node.target).tolist() for node in graph.graph.find_nodes(op="get_attr")]
        given = [(v.dtype, tuple(v.shape), v.stride(), str(v.device)) for v in arguments]
        key = repr((graph.code, constants, given, options))
        if key not in made:
            made[key] = inner(graph, arguments, **options)
        return made[key]

    patch.setattr(torch._inductor, "compile", compiled)


def lightly(patch: pytest.MonkeyPatch) -> None:
    """C++ is compiled as it stands, ten times sooner: for tests of what is written, over more cases than one.

    That the optimizer keeps its meaning is tested on at least one shape of every method.
    """
    from workloads import native

    patch.setattr(native, "FLAGS", (*native.FLAGS, "-O0"))
