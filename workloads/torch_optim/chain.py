"""Which layer of a module feeds which: read off the graph that autograd built for one forward pass.

So activations may be modules or plain functions, and nothing has to be traced or declared. From what a layer was given
the graph is followed back to the layers that it came from. Units are renewed where a layer feeds exactly one layer
and that one is fed by it alone: what leaves a unit can then be cut in one place. Anything else is refused by name
rather than guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _current_graph_task_id as current_graph
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node
from torch.utils import _pytree as pytree

from workloads.errors import InputError
from workloads.torch_optim.attached import INSTEAD, LAYERS, NORMS, Names, layer_of
from workloads.torch_optim.axes import Axes, shape_of
from workloads.torch_optim.hooks import Hook

# What a graph holds where units change places, are mixed, or stop being whole: by the names of autograd's nodes.
MOVING = (
    *("Permute", "Transpose", "T", "Flip", "Roll", "Index", "IndexSelect", "Gather", "Slice", "Select", "Split"),
    *("SplitWithSizes", "Chunk", "Unbind", "Stack", "Repeat", "PixelShuffle", "PixelUnshuffle", "Glu", "Unfold"),
    *("Mm", "Addmm", "Bmm", "Baddbmm", "Mv", "Dot", "ScaledDotProduct", "Cumsum", "Sort", "Topk"),
    *("ChannelShuffle", "NativeChannelShuffle", "Take", "AsStrided", "MaskedSelect", "Scatter", "IndexPut"),
    *("FftC2C", "FftR2C", "FftC2R", "Cumprod", "Logcumsumexp", "Cummax", "Cummin", "Diagonal", "Convolution"),
)
MOVES = re.compile(rf"(?:{'|'.join(MOVING)})(?:[A-Z]\w*Attention\w*)?Backward\d*")
VIEWS = re.compile(r"(?:Unsafe)?ViewBackward\d*|ReshapeAliasBackward\d*")
JOINS = re.compile(r"(?:Cat|Add|Sub)Backward\d*")
OWN = re.compile(r"[A-Z]\w*Backward\d*|torch::autograd::AccumulateGrad")  # of torch, where the name says what it does
HOOKED = "BackwardHookFunctionBackward"  # where a module has a full backward hook: its input or output as it is


@dataclass(slots=True)
class Fed:
    """What one tensor came from, back to the nearest layers."""

    layers: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)  # nodes that move units
    between: list[Node] = field(default_factory=list)  # all that is neither a layer nor a norm
    joined: bool = False  # whether tensors were put side by side


class Chain:
    """Watches a module's forward passes, until `layers` has been understood of the last one."""

    def __init__(self, model: nn.Module, watch: Callable[[str, Tensor], None]) -> None:
        """`watch` is told of every layer that is called, and what it is given."""
        self.model = model
        self.watch = watch
        self.given: dict[str, Tensor] = {}  # layer -> its input
        self.result: list[Tensor] = []  # of the whole module, where it was called as a whole
        self._made: dict[str, Node] = {}  # layer or norm -> the node of its output
        self._normed: dict[str, Node | None] = {}  # norm -> the node of its input
        self._entered: list[Tensor] = []  # what the whole module was called with
        self._detached: set[str] = set()  # layers whose input came from nowhere that is known
        watched = [(n, m) for n, m in model.named_modules() if n and isinstance(m, (*LAYERS, *NORMS))]
        self._hooks = [m.register_forward_hook(Hook(self._noter(n, m)), with_kwargs=True) for n, m in watched]
        self._hooks.append(model.register_forward_pre_hook(Hook(self._note_entered), with_kwargs=True))
        self._hooks.append(model.register_forward_hook(Hook(self._note_result)))

    def _noter(self, name: str, watched: nn.Module) -> Any:
        def note(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Tensor) -> None:
            # A copy of the module, such as a target network, has its hooks too and is none of this one's affairs.
            # Nor is a pass that a checkpoint repeats in the backward pass, whose graph is another.
            if module is not watched or not self.model.training or output.grad_fn is None or current_graph() != -1:
                return
            self._made[name] = output.grad_fn
            given = args[0] if args else kwargs["input"]
            if not isinstance(module, LAYERS):
                self._normed[name] = given.grad_fn
                return
            self.given[name] = given
            self.watch(name, given)
            self._detached.discard(name)
            if given.grad_fn is None and not self._is_from_outside(given):
                self._detached.add(name)

        return note

    def _is_from_outside(self, given: Tensor) -> bool:
        """Whether an input without a graph is the module's or that of its first layer, and not a unit's, detached."""
        first = next(iter(self.given.values()))
        return any(same_values(given, other) for other in (first, *self._entered))

    def _note_entered(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if module is self.model and module.training:
            self._entered = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]

    def _note_result(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if module is self.model and module.training:
            self.result = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]

    def close(self) -> None:
        """Watch no longer, and let go of the graph."""
        for hook in self._hooks:
            hook.remove()
        self.given, self.result, self._made, self._normed, self._entered = {}, [], {}, {}, []

    def layers(self) -> list[Names]:
        """(layer, norms between, the layer that it feeds), in the order in which they were computed.

        Raises InputError, which names the module, for a graph in which a unit's share cannot be told apart.
        """
        found: dict[str, Names] = {}
        for name, given in self.given.items():
            if name in self._detached:
                raise InputError(
                    f"{name} was given a tensor without a graph which is not the module's input (detached?); {INSTEAD}"
                )
            fed = self._fed(given.grad_fn, f"the input of {name}")
            if len(fed.layers) > 1:
                both = " and ".join(sorted(fed.layers))
                raise InputError(f"{name} is fed by {both} together (a sum, a product or a concatenation); {INSTEAD}")
            if not fed.layers:
                continue
            (before,) = fed.layers
            self._check_path(before, name, fed)
            if before in found:
                raise InputError(f"{before} feeds two layers, {found[before][-1]} and {name}; {INSTEAD}")
            found[before] = (before, *fed.norms, name)
        self._check_result(found)
        if not found:
            raise InputError("no Linear or Conv2d layer feeds another: there are no hidden units to renew")
        return [found[name] for name in self.given if name in found]

    def _check_path(self, before: str, name: str, fed: Fed) -> None:
        if fed.moved:
            raise InputError(
                f"between {before} and {name} stands {fed.moved[0]}, after which a unit is not found again; {INSTEAD}"
            )
        axes = Axes.of(shape_of(self._made[before]), layer_of(self.model, before), layer_of(self.model, name))
        own = axes.inputs == axes.units
        if fed.joined and (axes.flattened or own) or not (fed.joined or axes.flattened or own):
            raise InputError(
                f"{before} has {axes.units} units, and {name} takes {axes.inputs} inputs: not each one's own; {INSTEAD}"
            )
        self._check_order(before, name, fed, axes)

    def _check_order(self, before: str, name: str, fed: Fed, axes: Axes) -> None:
        """By the shapes on the way: units keep their axis and their order, and nothing from elsewhere joins them."""
        for node in fed.between:
            kind, shape = re.sub(r"Backward\d*$", "", node.name()), shape_of(node)
            if VIEWS.fullmatch(node.name()) and not axes.keeps(shape) or axes.is_reduced(node):
                raise InputError(
                    f"between {before} and {name} stands {kind}, after which a unit is not found again; {INSTEAD}"
                )
            parts = [other for other, _ in node.next_functions]
            if JOINS.fullmatch(node.name()) and axes.has_units(shape) and not all(map(self._is_ours, parts)):
                raise InputError(
                    f"between {before} and {name}, in {kind}, joins what no layer made (an input, a number); {INSTEAD}"
                )
        if not axes.fit(tuple(self.given[name].shape)):
            raise InputError(
                f"{before} has {axes.units} channels, and {name} takes the last axis of pictures; {INSTEAD}"
            )

    def _is_ours(self, start: Node | None) -> bool:
        """Whether a node leads to a layer, or to a parameter of the module."""
        made = {node for name, node in self._made.items() if name in self.given}
        own = set(self.model.parameters())
        return any(node in made or getattr(node, "variable", None) in own for node in walk(start, right_before))

    def _check_result(self, found: Mapping[str, Names]) -> None:
        """What leaves the module must not come straight from a layer that feeds another."""
        for tensor in self.result:
            for name in self._fed(tensor.grad_fn, "the module's output").layers:
                if name in found:
                    raise InputError(f"{name} feeds {found[name][-1]}, and goes to the module's output too; {INSTEAD}")

    def _fed(self, start: Node | None, what: str) -> Fed:
        """Everything between a node and the layers before it. Raises InputError for a layer of an unknown kind."""
        named = {node: name for name, node in self._made.items()}

        def onward(node: Node) -> Iterable[Node | None]:
            name = named.get(node)
            return right_before(node) if name is None else () if name in self.given else (self._normed[name],)

        fed = Fed()
        for node in walk(start, onward):
            name = named.get(node)
            if name is not None:
                (fed.layers if name in self.given else fed.norms).append(name)
                continue
            fed.between.append(node)
            if MOVES.fullmatch(node.name()) or opaque(node):
                fed.moved.append(re.sub(r"Backward\d*$", "", node.name()))
            fed.joined |= node.name().startswith("CatBackward")
            variable = getattr(node, "variable", None)
            if variable is not None and variable.ndim > 1:
                self._refuse(variable, what)
        return fed

    def _refuse(self, weight: Tensor, what: str) -> None:
        """For a matrix on the way that belongs to no layer just called: raises InputError that names its module."""
        names = (name for name, parameter in self.model.named_parameters() if parameter is weight)
        name = next(names, None)
        if name is None:
            return  # not the module's: an input that asks for a gradient
        owner = name.rpartition(".")[0]
        kind = type(self.model.get_submodule(owner)).__name__
        if owner in self.given:
            raise InputError(f"{owner} is used more than once in a forward pass, on the way to {what}; {INSTEAD}")
        raise InputError(f"{name} of a {kind} stands on the way to {what}, and is not renewed; {INSTEAD}")


def walk(start: Node | None, onward: Callable[[Node], Iterable[Node | None]]) -> Iterator[Node]:
    """A node of a graph and all that lead to it, each once; `onward` gives those right before one."""
    waiting, seen = [start], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting.extend(onward(node))


def right_before(node: Node) -> Iterable[Node | None]:
    """The nodes right before one."""
    return (earlier for earlier, _ in node.next_functions)


def same_values(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other))


def opaque(node: Node) -> bool:
    """Whether a node may hold anything at all: a Function of the user's, a reentrant checkpoint, a compiled part."""
    return node.name() != HOOKED and (isinstance(node, BackwardCFunction) or not OWN.fullmatch(node.name()))


def seen_by(names: Iterable[Names]) -> list[str]:
    """The layers whose inputs are looked at: the last of each."""
    return list(dict.fromkeys(each[-1] for each in names))
