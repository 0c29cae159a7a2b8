"""A function whose tensors stay in place, called again and again: on a GPU captured as a CUDA graph, then replayed.

A step of tiny networks is some tens of kernels of a few microseconds each, and a host that starts them one by one
takes longer than the GPU does to run them. A replay starts all kernels of many steps by one call. What is captured may
neither read a number back nor copy anything from the host, and must find its tensors where they were.

On a CPU the function is simply called.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UPS = 3  # calls before the capture, in which kernels are loaded and libraries make their handles


class Shared:
    """What the graphs of one engine share: the stream they are captured on, and the memory of their intermediates.

    That memory may be one, since an engine's graphs never run at the same time and leave nothing in it.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.memory = torch.cuda.graph_pool_handle()


class Replayed:
    """`function`, as a graph where `shared` is given. `changed` are all tensors that outlive a call and are written."""

    def __init__(self, function: Callable[[], None], changed: Sequence[Tensor], shared: Shared | None) -> None:
        self.function = function
        self.changed = changed
        self.shared = shared
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        """One call's effect on the tensors."""
        if self.shared is not None and self.graph is None:
            self.shared = self._captured(self.shared)
        if self.graph is not None:
            self.graph.replay()
        else:
            self.function()

    def _captured(self, shared: Shared) -> Shared | None:
        """`shared`, or None where there is no graph to be had: slower, but the same numbers."""
        current = torch.cuda.current_stream(shared.stream.device)
        self._warm_up(shared.stream, current)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=shared.memory, stream=shared.stream):
                self.function()
        except RuntimeError as error:
            torch.cuda.set_stream(current)  # an exit that fails leaves the stream of the capture behind
            reason = str(error).strip().splitlines()[0][:200]
            warnings.warn(f"no CUDA graph, so every kernel is started on its own, slower: {reason}", stacklevel=4)
            return None
        self.graph = graph
        return shared

    def _warm_up(self, side: torch.cuda.Stream, current: torch.cuda.Stream) -> None:
        """Call the function on the stream it will be captured on, and undo what it did."""
        kept = [value.clone() for value in self.changed]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self.function()
        current.wait_stream(side)
        for value, before in zip(self.changed, kept, strict=True):
            value.copy_(before)
