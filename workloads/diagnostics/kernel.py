"""The kernel J J^T of what a network gives for each of some examples, J its Jacobian by all parameters; exact.

J is as large as the network times what is asked for, and never held whole. A weight matrix that acts once, z = W h + b,
has of an output f of an example the gradient g h^T, with g = d f / d z, and b has g. So of two examples' outputs their
share of the kernel is

    (h . h' + 1) (g . g')

for which h, and one pass back to z for all outputs of a kind, is all it takes. Which matrices act so is not declared:
it is seen when the network is run once (`Watch`). What is left of parameters, such as gains of norms, and kernels of
convolutions, is multiplied out, some parameters after the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from workloads.diagnostics import TANGENTS

Params = dict[str, Tensor]


class Watch(TorchFunctionMode):
    """While active: how parameters act. `added`, weight matrix -> (N, out), is added to what comes of it."""

    def __init__(self, params: Mapping[str, Tensor], added: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = {id(value): name for name, value in params.items()}
        self.added = added
        self.maps: dict[str, tuple[Tensor, str | None]] = {}  # weight matrix -> its inputs (N, in), its bias
        self.shown: dict[str, Tensor] = {}  # weight matrix -> what comes of it, (N, out)
        self.uses: dict[str, int] = {}

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        for name in (self.names[id(leaf)] for leaf in pytree.tree_leaves((args, kwargs)) if id(leaf) in self.names):
            self.uses[name] = self.uses.get(name, 0) + 1
        result = func(*args, **kwargs)
        return self.seen(result, *args, **kwargs) if func is functional.linear else result

    def seen(self, result: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Note what a linear map does."""
        name = self.names.get(id(weight))
        if name is None or input.ndim != 2:
            return result
        self.maps[name] = input, self.names.get(id(bias))
        self.shown[name] = result
        return result + self.added[name] if name in self.added else result

    @property
    def known(self) -> dict[str, tuple[Tensor, str | None]]:
        """Of `maps` those whose matrix acts nowhere else, with a bias that acts nowhere else."""
        once = {name for name, uses in self.uses.items() if uses == 1}
        return {
            name: (inputs, bias if bias in once else None) for name, (inputs, bias) in self.maps.items() if name in once
        }


def kernel_of(function: Callable[..., Tensor], params: Mapping[str, Tensor], *examples: Tensor) -> Tensor:
    """J J^T of `function(params, *examples)`, (N, outputs) or (N,), as (N x outputs, N x outputs).

    `examples` are (N, ...) each; what is given for one is of that one alone.
    """
    params = dict(params)
    with Watch(params, {}) as watch:
        count = function(params, *examples).numel()
    known = watch.known
    nothing = {name: torch.zeros_like(watch.shown[name]) for name in known}
    gradients = torch.func.jacrev(lambda added: _watched(function, params, examples, added))(nothing) if known else {}
    rest = set(params) - known.keys() - {bias for _, bias in known.values()}
    parts = [_of_map(gradients[name].movedim(0, 1), *known[name]) for name in known]
    if rest:
        parts.append(_of_rest(function, params, sorted(rest), examples, count))
    return sum(parts[1:], parts[0])


def _watched(
    function: Callable[..., Tensor], params: Params, examples: Sequence[Tensor], added: Mapping[str, Tensor]
) -> Tensor:
    """What the function gives, summed over examples, (outputs,): gradients by what is added tell the examples apart."""
    with Watch(params, added):
        values: Tensor = function(params, *examples)
    return values.flatten(1).sum(0) if values.ndim > 1 else values.sum(0, keepdim=True)


def _of_map(gradients: Tensor, inputs: Tensor, bias: str | None) -> Tensor:
    """The share of a linear map with inputs (N, in) and gradients (N, outputs, out) by what comes of it."""
    count, outputs = gradients.shape[:2]
    flat = gradients.flatten(0, 1)
    alike = inputs @ inputs.mT + (0 if bias is None else 1)
    return ((flat @ flat.mT).view(count, outputs, count, outputs) * alike[:, None, :, None]).view(len(flat), len(flat))


def _of_rest(
    function: Callable[..., Tensor], params: Params, names: Sequence[str], examples: Sequence[Tensor], count: int
) -> Tensor:
    """The share of some parameters, whatever they do, in a kernel of `count` rows.

    As many at a time as TANGENTS allows the Jacobian of; by products those that alone are too many.
    """
    groups, large, held = [list[str]()], list[str](), 0
    for name in names:
        size = count * params[name].numel()
        if size > TANGENTS:
            large.append(name)
            continue
        if held + size > TANGENTS:
            groups, held = [*groups, []], 0
        groups[-1].append(name)
        held += size
    parts = [_by_examples(function, params, group, examples) for group in groups if group]
    if large:
        own = {name: params[name] for name in large}
        parts.append(_by_products(lambda own: function({**params, **own}, *examples).flatten(), own))
    return sum(parts[1:], parts[0])


def _by_examples(
    function: Callable[..., Tensor], params: Params, names: Sequence[str], examples: Sequence[Tensor]
) -> Tensor:
    """J J^T by these parameters from J, of which an example's rows take a pass back of that one alone for each."""

    def values(own: Params, *example: Tensor) -> Tensor:
        return function({**params, **own}, *(part[None] for part in example)).flatten()

    own = {name: params[name] for name in names}
    rows = torch.func.vmap(torch.func.jacrev(values), in_dims=(None, *(0 for _ in examples)))(own, *examples)
    flat = torch.cat([rows[name].flatten(2) for name in names], -1).flatten(0, 1)
    return flat @ flat.mT


def _by_products(function: Callable[[Params], Tensor], params: Params) -> Tensor:
    """J J^T (n, n) of `function(params)` (n,).

    A row of J comes from one pass back, and what it makes of all outputs from the transpose of that pass, which is
    linear, for as many rows at a time as TANGENTS allows.
    """
    values, pull = torch.func.vjp(function, params)[:2]
    push = torch.func.vjp(lambda basis: pull(basis)[0], torch.zeros_like(values))[1]

    def column(basis: Tensor) -> Tensor:
        made: Tensor = push(pull(basis)[0])[0]
        return made

    together = max(1, TANGENTS // sum(value.numel() for value in params.values()))
    basis = torch.eye(len(values), dtype=values.dtype, device=values.device)
    kernel: Tensor = torch.func.vmap(column, chunk_size=min(together, len(values)))(basis)
    return kernel
