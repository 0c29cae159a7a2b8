"""A step as a graph of core operations on the tensors of ONE network: what is lowered, before any C++ is known.

Random draws stay whole: a call each, not the hundreds of integer operations that one is made of. What depends on no
argument is marked, to be computed now.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, fx
from torch._decomp import core_aten_decompositions, get_decompositions
from torch._functorch.compile_utils import fx_graph_cse
from torch.fx.experimental.proxy_tensor import make_fx

from workloads import native
from workloads.random import Draw

aten = torch.ops.aten
FILLS = {aten.full_like.default, aten.zeros_like.default, aten.ones_like.default}  # take a shape from their argument
FURTHER = (  # that torch counts as core operations, and knows how to make of others
    aten.native_layer_norm,
    aten.native_layer_norm_backward,
    aten._softmax,
    aten._softmax_backward_data,
    aten.linalg_vector_norm,
    aten.hardtanh,
    aten.hardtanh_backward,
    aten.repeat,
)


class NotLowered(Exception):
    """The step has an operation that no C++ is known for; the text names it."""


@torch.library.custom_op("pliant::drawn", mutates_args=())
def drawn(seed: Tensor, step: Tensor, offset: Tensor, what: str, normal: bool, count: int, double: bool) -> Tensor:
    """`Draw.normal` or `Draw.uniform` as one operation."""
    draw = Draw(seed, step, torch.float64 if double else torch.float32)
    return draw.normal(what, count, offset=offset) if normal else draw.uniform(what, count, offset=offset)


class MarkedDraw(Draw):
    """Draws that a trace shows as one operation each."""

    def _drawn(self, what: str, count: int, offset: Tensor | int, *, normal: bool) -> Tensor:
        at = offset if isinstance(offset, Tensor) else torch.full((), offset, dtype=torch.int64)
        result: Tensor = drawn(self.seed, self.step, at, what, normal, count, self.dtype == torch.float64)
        return result

    def uniform(self, what: str, count: int, *, offset: Tensor | int = 0) -> Tensor:
        """See Draw."""
        return self._drawn(what, count, offset, normal=False)

    def normal(self, what: str, count: int, *, offset: Tensor | int = 0) -> Tensor:
        """See Draw."""
        return self._drawn(what, count, offset, normal=True)


@functools.lru_cache(maxsize=1)
def decompositions() -> dict[Any, Any]:
    """Operation -> its core operations. Torch finds these anew, in a tenth of a second, whenever it is asked.

    Norms, variances and splits are no operations of their own here: they are made of sums and slices.
    """
    table: Any = core_aten_decompositions()
    own = {
        aten.var.correction: lambda *args, **options: variance_and_mean(*args, **options)[0],
        aten.var_mean.correction: variance_and_mean,
        aten.split_with_sizes.default: parts_of_an_axis,
    }
    return {**dict(table.items()), **get_decompositions(FURTHER), **own}


def variance_and_mean(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """torch.var_mean, from the differences to the mean: nothing is lost where the mean is large."""
    axes = list(range(x.ndim)) if not dim else [axis % x.ndim for axis in dim]
    count = math.prod(x.shape[axis] for axis in axes)
    mean = x.mean(axes, keepdim=True)
    spread = (x - mean).square().sum(axes, keepdim=keepdim) / (count - (1 if correction is None else correction))
    return spread, mean if keepdim else mean.reshape(spread.shape)


def parts_of_an_axis(x: Tensor, sizes: Sequence[int], dim: int = 0) -> list[Tensor]:
    """torch.split, as slices."""
    ends = list(accumulate(sizes))
    return [aten.slice.Tensor(x, dim, end - size, end) for size, end in zip(sizes, ends, strict=True)]


@dataclass(frozen=True, slots=True)
class Trace:
    """A function's graph; every node's value on the example arguments; the nodes that depend on no argument."""

    graph: fx.Graph
    seen: dict[fx.Node, Any]
    constant: set[fx.Node]

    @property
    def arguments(self) -> list[fx.Node]:
        """The graph's placeholders, in order."""
        return [node for node in self.graph.nodes if node.op == "placeholder"]

    @property
    def results(self) -> list[fx.Node]:
        """What the function returns, in order."""
        nodes: list[fx.Node] = [node for node in self.graph.nodes if node.op == "output"][0].args[0]
        return nodes


def trace(function: Callable[..., Sequence[Tensor]], examples: Sequence[Tensor]) -> Trace:
    """The trace of a function of flat tensors like `examples`. Raises NotLowered where it draws numbers by itself."""
    native.torch_keeps_there()
    traced = make_fx(torch.func.functionalize(function), decomposition_table=decompositions())
    graph = traced(*[e.clone() for e in examples])
    graph.graph.eliminate_dead_code()
    graph = fx.GraphModule(graph, fx_graph_cse(graph.graph))
    graph.graph.eliminate_dead_code()
    recorder = _Recorder(graph)
    recorder.run(*examples)
    return Trace(graph.graph, recorder.seen, constant_nodes(graph.graph))


def constant_nodes(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that depend on no argument."""
    constants: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "get_attr":
            constants.add(node)
        elif node.op == "call_function" and node.target != torch.ops.pliant.drawn.default:
            if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
                # It depends on no argument, and would be drawn once, now.
                raise NotLowered(f"{node.target}, whose numbers are not the step's own: use draw")
            if node.target in FILLS or all(source in constants for source in node.all_input_nodes):
                constants.add(node)
    return constants


class _Recorder(fx.Interpreter):
    """Remembers every node's value on the example arguments: shapes, types, and what constants are."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.seen: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """See Interpreter."""
        self.seen[n] = super().run_node(n)
        return self.seen[n]
