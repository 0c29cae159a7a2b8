"""The layers of a learner's traced step: what products its weight matrices take part in.

Of every weight matrix W (out, in) with input X and error D,

    forward   X Wᵀ      reads the rows (of W as it is stored, [in][out]) whose input is not zero
    back      D W       needs those same rows, where zero input comes from relu and so has slope zero
    outer     Dᵀ X      is the gradient of those rows, and zero elsewhere
    square    ‖Dᵀ X‖²   needs those rows; of one example it is the product of the lengths of D and X
    pull      (W Wᵀ − t I) W, or W (Wᵀ W − t I), on the shorter side: no row sleeps
    dot       W v, or Wᵀ u, of the weights before the step: no row sleeps either
    sum       Σ |W|     of its new weights, over what goes into each unit or out of each, changes with those rows
    size      ‖W‖²      of its new weights, by a multiple of which they may be scaled, all of them

They are written by hand, once (online_rows.h, online_products.h, online_traced.h).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from workloads.engine.online_graph import squares, stripped
from workloads.engine.trace import NotLowered, Trace

aten = torch.ops.aten
FORWARD, BACK, SQUARE, DOT, LEARN, SCALE = "forward", "back", "square", "dot", "learn", "scale"  # operations, in order
SUM, PULL = "sum", "pull"  # products that others make beside


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum, or a mean, of a layer's new weights' absolute values."""

    node: fx.Node
    incoming: bool  # (out,), over what goes into a unit; else (in,), over what leaves it
    mean: bool


@dataclass(frozen=True, slots=True)
class Square:
    """The sum of the squares of a gradient Dᵀ X."""

    node: fx.Node
    error: fx.Node  # D


@dataclass(frozen=True, slots=True)
class Pull:
    """What a weight matrix is pulled by towards an isometry, but for a factor."""

    node: fx.Node
    flipped: bool  # whether it is (in, out)
    target: float  # what its Gram matrix is pulled to, times the identity


@dataclass(frozen=True, slots=True)
class Dot:
    """The product of a weight matrix, as it is before the step, and a vector."""

    node: fx.Node
    vector: fx.Node
    along: bool  # Wᵀ u (in,) of u (out, 1); else W v (out,) of v (in,)


@dataclass(frozen=True, slots=True)
class Scale:
    """What all new weights are multiplied by at last, made of the sum of their squares."""

    number: fx.Node
    weights: fx.Node  # before
    size: fx.Node


@dataclass(slots=True)
class Layer:
    """One weight matrix: its products and its chain. Leaves are numbers of tensors of the state."""

    weight: int
    forward: fx.Node  # (B, out), with `start` added
    start: fx.Node | None  # (out,) of the state, a bias
    inputs: fx.Node  # X
    back: fx.Node | None = None  # (B, in); None where nobody asks
    outer: fx.Node | None = None
    error: fx.Node | None = None  # D, or a multiple of it
    flipped: bool = False  # whether `outer` is (in, out)
    evolving: list[int] = field(default_factory=list)  # leaves that the chain changes, the weight first
    constant: list[int] = field(default_factory=list)  # leaves of the weight's shape that it only reads
    scalars: list[fx.Node] = field(default_factory=list)  # single numbers that it reads
    vectors: list[fx.Node] = field(default_factory=list)  # (out, 1), or (in,), that it reads
    nodes: list[fx.Node] = field(default_factory=list)  # in order
    sums: list[Sum] = field(default_factory=list)
    squares: list[Square] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    pulls: list[Pull] = field(default_factory=list)
    apart: bool = False  # whether the errors of the layer below are made before it is known what moves the weights
    scale: Scale | None = None
    bias: Layer | None = None  # `start`, where its new values are a chain too: it alone, and its gradient as `outer`

    @property
    def leaves(self) -> list[int]:
        """All tensors of the weight's shape that the chain reads."""
        return [*self.evolving, *self.constant]

    @property
    def last(self) -> str:
        """The operation after which the weights are those after the step."""
        return LEARN if self.scale is None else SCALE

    @property
    def restless(self) -> bool:
        """Whether weights change by more than their own gradient and slots, so that no row sleeps."""
        return bool(self.pulls or self.vectors or self.dots)


def layers_of(step: Trace, leaves: int) -> list[Layer]:
    """The layers of a step whose first arguments are so many leaves of the state. Raises NotLowered."""
    return _Finder(step, leaves).layers()


class _Finder:
    """Looks for products in a graph."""

    def __init__(self, step: Trace, leaves: int) -> None:
        self.graph, self.seen, self.constants = step.graph, step.seen, step.constant
        self.placeholders, self.outputs = step.arguments, step.results
        self.leaf_of = {node: k for k, node in enumerate(self.placeholders[:leaves])}

    def layers(self) -> list[Layer]:
        """See `layers_of`."""
        layers: list[Layer] = []
        backs: dict[int, fx.Node] = {}
        others: list[fx.Node] = []
        pulls, within = self._pulls()
        for node in self.graph.nodes:
            if node.target != aten.mm.default or node in within:
                continue
            leaf, odd = stripped(node.args[1])
            number = self.leaf_of.get(leaf)
            if number is None:
                others.append(node)
            elif odd:
                if any(number == layer.weight for layer in layers):
                    raise NotLowered("a weight matrix that is used twice")
                layers.append(Layer(number, *self._begun(node), node.args[0]))
            elif number in backs:
                raise NotLowered("a weight matrix that is used twice")
            else:
                backs[number] = node
        if not layers:
            raise NotLowered("a network without a matrix of weights")
        for layer in sorted(layers, key=lambda own: own.weight not in backs):
            layer.back, layer.pulls = backs.get(layer.weight), pulls.get(layer.weight, [])
            self._find_gradient(layer, others)
            layer.sums, layer.dots, layer.scale = self._sums(layer), list(self._dots(layer)), self._scale(layer)
        measured = any(layer.squares for layer in layers)
        for layer in layers:
            layer.apart = layer.back is not None and (measured or stripped(layer.back.args[0])[0] is not layer.error)
        return layers

    # ---- forward and back ----

    def _begun(self, product: fx.Node) -> tuple[fx.Node, fx.Node | None]:
        """The product with its bias added, where that is all it is for, and the bias."""
        only = next(iter(product.users)) if len(product.users) == 1 else product
        if only.target == aten.add.Tensor and not only.kwargs and only.args[1] is product:
            start = only.args[0]
            if isinstance(start, fx.Node) and start in self.leaf_of:
                if self.seen[start].shape == self.seen[product].shape[1:]:
                    return only, start
        return product, None

    def _find_gradient(self, layer: Layer, products: list[fx.Node]) -> None:
        """The layer's gradient among products that are left, and the sums of its squares; they are taken out."""
        for node in [node for node in products if self._matches(layer, node)]:
            lengths, moves = self._lengths(node)
            layer.squares += [Square(own, self._error(layer, node)[0]) for own in lengths]
            if moves and layer.outer is not None:
                raise NotLowered("the gradient of a weight matrix in two forms")
            if moves:
                layer.outer = node
                layer.error, layer.flipped = self._error(layer, node)
            products.remove(node)
        if layer.outer is None:
            raise NotLowered("a weight matrix whose gradient is no product of its input and its error")

    def _matches(self, layer: Layer, node: fx.Node) -> bool:
        """Whether a product is the gradient of the layer's weights, or a multiple of it."""
        error = self._error(layer, node)[0]
        if error is None or self.seen[error].shape != self.seen[layer.forward].shape:
            return False
        if layer.back is None:
            return True
        own = (stripped(layer.back.args[0])[0], False)
        many = error.target == aten.mul.Tensor and any(
            stripped(one) == own and self.seen[number].numel() == 1
            for one, number in (error.args[:2], error.args[1::-1])
            if isinstance(number, fx.Node)
        )
        return stripped(layer.back.args[0]) == (error, False) or many

    def _error(self, layer: Layer, node: fx.Node) -> tuple[Any, bool]:
        """(D, whether transposed) of a product Dᵀ X, or Xᵀ D, with the layer's input X; (None, False) of another."""
        (left, left_odd), (right, right_odd) = stripped(node.args[0]), stripped(node.args[1])
        wanted = stripped(layer.inputs)
        if (right, right_odd) == wanted and left_odd:
            return left, False
        if (left, not left_odd) == wanted and not right_odd:
            return right, True
        return None, False

    def _lengths(self, gradient: fx.Node) -> tuple[list[fx.Node], bool]:
        """The sums of a gradient's squares, and whether it is used for anything else."""
        views, lengths, moves = [gradient], [], False
        for view in views:
            for user in view.users:
                if user.target == aten.permute.default:
                    views.append(user)
                elif squares(user, view):
                    totals = list(self._totals(user))
                    lengths += totals
                    moves |= not totals
                else:
                    moves = True
        return lengths, moves

    def _totals(self, node: fx.Node) -> Iterator[fx.Node]:
        """The sums of all elements of a matrix, at once or of its rows first. Over one row there is nothing to add."""
        for user in node.users:
            adds = user.target in (aten.sum.dim_IntList, aten.view.default)
            if adds and self.seen[user].ndim < self.seen[node].ndim:
                yield from [user] if self.seen[user].ndim == 0 else self._totals(user)

    # ---- of the weights as they are before the step ----

    def _pulls(self) -> tuple[dict[int, list[Pull]], set[fx.Node]]:
        """Weight -> its pulls towards an isometry, and the products that they are made of."""
        pulls: dict[int, list[Pull]] = {}
        within: set[fx.Node] = set()
        for node in self.graph.nodes:
            if node.target != aten.mm.default:
                continue
            for right, (factor, other) in enumerate((node.args, node.args[::-1])):
                (weight, odd), gram = stripped(factor), self._gram(stripped(other)[0])
                leaf = self.leaf_of.get(weight)
                if leaf is None or gram is None or node in within:
                    continue
                product, target = gram
                first, second = (stripped(own) for own in product.args)
                by_rows = bool(right) != odd  # W Wᵀ, else Wᵀ W
                if (first, second) != ((weight, not by_rows), (weight, by_rows)):
                    continue
                if len(self.seen[product]) == min(self.seen[weight].shape):
                    pulls.setdefault(leaf, []).append(Pull(node, odd, target))
                    within |= {node, product}
        return pulls, within

    def _gram(self, node: fx.Node) -> tuple[fx.Node, float] | None:
        """(product, t) of a node that is a product less t times the identity."""
        if node.target != aten.sub.Tensor or node.args[1] not in self.constants or node.kwargs:
            return None
        product, less = stripped(node.args[0])[0], self.seen[node.args[1]]  # type: ignore[index]
        if product.target != aten.mm.default or less.ndim != 2 or less.shape[0] != less.shape[1]:
            return None
        alike = torch.equal(less, less[0, 0] * torch.eye(len(less), dtype=less.dtype))
        return (product, float(less[0, 0])) if alike else None

    def _dots(self, layer: Layer) -> Iterator[Dot]:
        """Products with vectors, written as sums of products of elements."""
        weight = self.placeholders[layer.weight]
        out, inputs = self.seen[weight].shape
        for product in weight.users:
            if product.target != aten.mul.Tensor or product.args.count(weight) != 1:
                continue
            vector = next(arg for arg in product.args if arg is not weight)
            if not isinstance(vector, fx.Node) or vector in self.constants:
                continue
            shape = tuple(self.seen[vector].shape)
            for user in product.users:
                if user.target != aten.sum.dim_IntList or self.seen[user].ndim != 1:
                    continue
                across, along = shape == (inputs,), shape == (out, 1)
                alike = len({self.seen[n].dtype for n in (weight, vector, user)}) == 1
                if alike and ((across and user.args[1] in ([1], [-1])) or (along and user.args[1] in ([0], [-2]))):
                    yield Dot(user, vector, along)

    # ---- of the new weights ----

    def _sums(self, layer: Layer) -> list[Sum]:
        """The sums of the layer's new weights, as they are after the whole step."""
        new, odd = stripped(self.outputs[layer.weight])
        sums = []
        for node in self.graph.nodes:
            if node.target not in (aten.mean.dim, aten.sum.dim_IntList) or len(node.args[1]) != 1:
                continue
            size, turned = stripped(node.args[0])
            if size.target != aten.abs.default or self.seen[size].ndim != 2 or self.seen[node].ndim != 1:
                continue
            base, flipped = stripped(size.args[0])
            if base is new:
                incoming = (node.args[1][0] % 2 == 1) != (turned ^ flipped ^ odd)
                sums.append(Sum(node, incoming, node.target == aten.mean.dim))
        return sums

    def _scale(self, layer: Layer) -> Scale | None:
        """What the new weights are multiplied by at last, where it is made of the sum of their squares."""
        new = self.outputs[layer.weight]
        if new.target != aten.mul.Tensor:
            return None
        for number, weights in (new.args, new.args[::-1]):
            if not isinstance(number, fx.Node) or not isinstance(weights, fx.Node) or self.seen[number].numel() != 1:
                continue
            squared = (user for user in weights.users if squares(user, weights))
            for size in (total for user in squared for total in self._totals(user)):
                if self.seen[weights].shape == self.seen[new].shape and set(weights.users) <= {*size_of(size), new}:
                    return Scale(number, weights, size)
        return None


def size_of(node: fx.Node) -> list[fx.Node]:
    """What a sum is made of, back to the squares."""
    chain = [node]
    while chain[-1].target in (aten.sum.dim_IntList, aten.view.default):
        chain.append(chain[-1].args[0])  # type: ignore[arg-type]
    return chain
