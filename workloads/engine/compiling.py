"""Programs of the lifted path: functions that write into their arguments, traced once and compiled by torch's compiler.

Small networks keep the member axis last, where matrix products are written out as multiply and sum, so that they fuse
with what follows; of large ones only outer products are, so that a gradient goes straight into the update.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from workloads import native

aten = torch.ops.aten

Program = Callable[..., Any]
ATTEMPTS = 3  # at a program; another process may be at it too


def broadcast_product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b for (P, n, k) and (P, k, m), written as multiply and sum so that it fuses with its neighbours."""
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


def outer_product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b written out where the summed axis has length one (the gradient of one example's layer), else left alone."""
    return a * b if a.shape[-1] == 1 else NotImplemented


class Programs:
    """The compiled programs of one engine, by name; `small` is the layout they are traced for.

    Without a working C++ compiler the same functions run as they are, many times slower; a warning says so once.
    """

    def __init__(self, *, small: bool, compiled: bool) -> None:
        self.small = small
        self.compiled = compiled
        self.programs: dict[Any, Program] = {}

    def run(self, key: Any, function: Program, arguments: list[Tensor]) -> None:
        """Run `function`, which writes into its arguments, as the compiled program called `key`."""
        if self.compiled and key not in self.programs:
            self.compile(key, function, arguments)
        if self.compiled:
            self.programs[key](*arguments)
        else:
            function(*arguments)

    def compile(self, key: Any, function: Program, arguments: list[Tensor]) -> None:
        """Trace and compile; where the machine has no working compiler, go on without, saying so.

        Torch has a library written where it shall lie, and loads whatever lies there: one that was being written when
        somebody killed the process would be in the way for good. It is removed, and made anew.
        """
        for attempt in range(ATTEMPTS):
            try:
                self.programs[key] = compiled_program(function, arguments, small=self.small)
                return
            except (RuntimeError, ImportError) as error:
                from torch._inductor.exc import InductorError

                cause = getattr(error, "inner_exception", error)
                if attempt + 1 < ATTEMPTS and removed(cause):
                    continue
                if not isinstance(error, InductorError):
                    raise
                reason = str(error).strip().splitlines()[0][:200]
                warnings.warn(
                    f"no working C++ compiler, so packs train uncompiled, many times slower: {reason}",
                    stacklevel=2,
                )
                self.compiled = False
                return


def removed(error: Exception) -> bool:
    """Whether an error was of a library of torch's compiler that cannot be loaded, and it is gone now."""
    if not isinstance(error, ImportError) or not error.path:
        return False
    library, folder = Path(error.path), os.environ.get(native.TORCHS_FOLDER)
    if library.suffix != ".so" or folder is None or Path(folder) not in library.parents:
        return False
    try:
        library.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def traced(function: Program, arguments: list[Tensor], *, small: bool) -> torch.fx.GraphModule:
    """`function` as a graph of core operations on arguments like these; shapes are fixed from then on."""
    product = broadcast_product if small else outer_product
    table = {aten.bmm.default: product, aten.mm.default: product}
    graph: torch.fx.GraphModule = make_fx(function, decomposition_table=table)(*[a.clone() for a in arguments])
    if arguments[0].device.type != "cpu":
        numbers_placed(graph, arguments[0].device)
    return graph


def numbers_placed(graph: torch.fx.GraphModule, device: torch.device) -> None:
    """Plain numbers that were traced as tensors of the host become tensors of the device: a replay copies none."""
    for node in graph.graph.find_nodes(op="call_function", target=aten._to_copy.default):
        if isinstance(node.args[0], int | float):
            with graph.graph.inserting_before(node):
                number = graph.graph.call_function(
                    aten.full.default, ((), node.args[0]), {"dtype": node.kwargs["dtype"], "device": device}
                )
            node.replace_all_uses_with(number)
            graph.graph.erase_node(node)
    graph.recompile()


def compiled_program(function: Program, arguments: list[Tensor], *, small: bool) -> Program:
    """`function` traced and compiled."""
    native.torch_keeps_there()
    graph = traced(function, arguments, small=small)
    from torch._inductor import compile as inductor_compile
    from torch._inductor import config

    options: dict[str, Any] = {"cpp.threads": 1, "size_asserts": False}
    if arguments[0].device.type != "cpu":
        # Replays capture these programs themselves; and no stopwatch may decide in which order a sum is taken.
        options = {"size_asserts": False, "triton.cudagraphs": False, "deterministic": True}
        options = {name: value for name, value in options.items() if name in config.get_config_copy()}
    program: Program = inductor_compile(graph, list(arguments), options=options)
    return program
