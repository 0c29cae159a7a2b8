"""A learner's traced step, cut into what the online path runs: products, chains, and what is small.

The step of one network, forward, loss, backward and update, is one graph of core operations. The products of a weight
matrix in it are found (online_layers.py). What makes a new weight of the old one, its gradient, its slots (whatever
else of the optimizer's and methods' state is of the matrix's shape) and numbers of its unit and its input must be
elementwise: the *chain*, which is traced anew for ONE weight and so runs with a vector of weights. A bias that is one
multiplication and addition has such a chain of its own. All the rest works on a few numbers per unit: activations,
losses, other biases, units' statistics. It is lowered as it stands, in *segments* between the products.

What cannot be cut so (a sum over all weights in every step, a draw for every weight) raises NotLowered, with why.
The file is long because it is one decision: what is a chain decides what is left, and so in what order all is done.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from workloads.engine.online_graph import RESHAPES, stripped, traced
from workloads.engine.online_layers import BACK, DOT, FORWARD, LEARN, PULL, SCALE, SQUARE, SUM, Layer, layers_of
from workloads.engine.operations import SAME
from workloads.engine.trace import NotLowered

aten = torch.ops.aten
OPENING = -1  # before the first step of a call
Op = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Segment:
    """Small nodes to compute together: what they read from elsewhere, and what others read of them."""

    nodes: list[fx.Node]
    reads: list[fx.Node]
    writes: list[fx.Node]
    results: list[int]  # leaves that get their new values here


class Cut:
    """The cut step. `ops` are (operation, number of the layer, which of them), with `segments[i]` before ops[i]."""

    def __init__(
        self,
        step: Callable[..., Sequence[Tensor]],
        examples: Sequence[Tensor],
        leaves: int,
        hypers: int,
        descends: Callable[[Cut, Layer], bool],
    ) -> None:
        """`step` takes the leaves of one network's state, its hyperparameters and more, and returns the leaves.

        `descends`: whether a chain is one multiplication and addition, so that a bias may have one of its own.
        Raises NotLowered.
        """
        self.examples = list(examples)
        trace_of_step = traced(step, examples, leaves)
        self.graph, self.seen, self.constants = trace_of_step.graph, trace_of_step.seen, trace_of_step.constant
        self.placeholders, self.outputs = trace_of_step.arguments, trace_of_step.results
        self.lasting = set(self.placeholders[leaves : leaves + hypers])
        self.leaf_of = {node: k for k, node in enumerate(self.placeholders[:leaves])}
        self.order = {node: k for k, node in enumerate(self.graph.nodes)}
        self.layers = layers_of(trace_of_step, leaves)
        self.ends = list(self.outputs)  # of chains
        self.products: dict[fx.Node, Op] = {}
        for k, layer in enumerate(self.layers):
            self.products[layer.forward] = (FORWARD, k, 0)
            if layer.back is not None:
                self.products[layer.back] = (BACK if layer.apart else LEARN, k, 0)
            self.products |= {own.node: (SUM, k, 0) for own in layer.sums}
            self.products |= {own.node: (SQUARE, k, 0) for own in layer.squares}
            self.products |= {own.node: (DOT, k, i) for i, own in enumerate(layer.dots)}
            self.products |= {own.node: (PULL, k, i) for i, own in enumerate(layer.pulls)}
            if layer.scale is not None:
                self.products[layer.scale.size] = (LEARN, k, 0)
                self.ends[layer.weight] = layer.scale.weights
        self.owner = self._owners()
        self.heavy = self._heavy()
        for k, layer in enumerate(self.layers):
            own = sorted(leaf for leaf, number in self.owner.items() if number == k)
            own.remove(layer.weight)
            self._cut_chain(layer, [layer.weight, *own], self.heavy)
            bias = self._bias(layer)
            layer.bias = bias if bias is not None and descends(self, bias) else None
        self.ops, self.opening, self.segments = self._cut_segments()

    # ---- chains ----

    def _slice(self, roots: Iterable[fx.Node], stop: Container[fx.Node] = ()) -> list[fx.Node]:
        """What the roots are computed from, in order, up to placeholders, constants, products and `stop`."""
        seen: set[fx.Node] = set()
        left = list(roots)
        while left:
            node = left.pop()
            if node in seen:
                continue
            seen.add(node)
            if node not in self.products and node not in self.constants and node not in stop:
                left += node.all_input_nodes
        return sorted(seen, key=self.order.__getitem__)

    def ancestors(self, roots: Iterable[fx.Node]) -> list[fx.Node]:
        """All that the roots are computed from, products and constants too, in order."""
        seen: set[fx.Node] = set()
        left = list(roots)
        while left:
            node = left.pop()
            if node not in seen:
                seen.add(node)
                left += node.all_input_nodes
        return sorted(seen, key=self.order.__getitem__)

    def lasts(self, node: fx.Node) -> bool:
        """Whether a number is the same in all steps: made of hyperparameters alone."""
        sources = {n for n in self.ancestors([node]) if n.op == "placeholder"}
        return sources <= self.lasting and not self.draws([node])

    def draws(self, roots: Iterable[fx.Node]) -> bool:
        """Whether any random number is among what the roots are computed from."""
        return any(n.target == torch.ops.pliant.drawn.default for n in self.ancestors(roots))

    def _owners(self) -> dict[int, int]:
        """Leaf -> the layer whose weights' shape it has and whose chain it is part of."""
        owner = {layer.weight: k for k, layer in enumerate(self.layers)}
        outer = {layer.outer: k for k, layer in enumerate(self.layers)}
        shapes = [tuple(self.examples[layer.weight].shape) for layer in self.layers]
        slices = {k: self._slice([self.outputs[k]]) for k in self.leaf_of.values()}
        changed = True
        while changed:
            changed = False
            for leaf, nodes in slices.items():
                touched = {owner[k] for n in nodes if (k := self.leaf_of.get(n)) in owner}
                touched |= {outer[n] for n in nodes if n in outer}
                wide = tuple(self.examples[leaf].shape) in shapes
                if leaf not in owner and wide and len(touched) == 1:
                    owner[leaf], changed = touched.pop(), True
                if leaf not in owner:
                    continue
                own = owner[leaf]
                for node in nodes:
                    other = self.leaf_of.get(node)
                    if other is not None and other not in owner and tuple(self.examples[other].shape) == shapes[own]:
                        owner[other], changed = own, True
        return owner

    def _heavy(self) -> set[fx.Node]:
        """Nodes made of whole matrices of weights, their gradients or their slots."""
        sources = {node for node, leaf in self.leaf_of.items() if leaf in self.owner}
        sources |= {layer.outer for layer in self.layers if layer.outer is not None}
        return self._made_of(sources | {pull.node for layer in self.layers for pull in layer.pulls})

    def _made_of(self, sources: set[fx.Node]) -> set[fx.Node]:
        """The sources, and what is computed from any of them without a product."""
        made = set(sources)
        for node in self.graph.nodes:
            if node.op == "call_function" and node not in self.products and node not in self.constants:
                if any(n in made for n in node.all_input_nodes):
                    made.add(node)
        return made

    def _bias(self, layer: Layer) -> Layer | None:
        """The layer's bias as a chain of its own; None where it is more, or anybody else needs its values."""
        if layer.start is None or layer.error is None:
            return None
        leaf = self.leaf_of[layer.start]
        new = self.outputs[leaf]
        gradient = next((n for n in self._slice([new]) if self._adds_up(n, layer.error)), None)
        if gradient is None or any(user.op != "output" for user in new.users):
            return None
        bias = Layer(leaf, layer.forward, None, layer.inputs, outer=gradient, error=layer.error)
        try:
            self._cut_chain(bias, [leaf], self._made_of({layer.start, gradient}))
        except NotLowered:
            return None
        own = {layer.start, *bias.nodes} - self.constants
        others = {user for node in own for user in node.users if user not in own and user.op != "output"}
        return bias if others <= {layer.forward} else None

    def _adds_up(self, node: fx.Node, error: fx.Node) -> bool:
        """Whether a node is the error (B, out) summed over examples, (out,)."""
        if node.target not in RESHAPES or tuple(self.seen[node].shape) != tuple(self.seen[error].shape[1:]):
            return False
        source: Any = node
        while source.target in RESHAPES:
            source = source.args[0]
        if source.target == aten.sum.dim_IntList and list(source.args[1]) == [0]:
            return source.args[0] is error
        return source is error and len(self.seen[error]) == 1

    def _cut_chain(self, layer: Layer, own: list[int], heavy: set[fx.Node]) -> None:
        """Fill in the layer's chain; `own` are its leaves, `heavy` what is one for every weight.

        Raises NotLowered where it is not elementwise.
        """
        layer.evolving = [k for k in own if stripped(self.ends[k]) != (self.placeholders[k], False)]
        layer.constant = [k for k in own if k not in layer.evolving]
        if layer.weight not in layer.evolving:
            raise NotLowered("weights that do not learn")
        single = {n for n in self.seen if isinstance(self.seen[n], Tensor) and self.seen[n].numel() == 1}
        stop = (single - heavy) | {other.outer for other in self.layers if other.outer is not None}
        stop |= {layer.outer} if layer.outer is not None else set()
        out, inputs = (self.examples[layer.weight].shape + (1,))[:2]
        wide = ([(inputs,), (1, inputs)] if inputs > 1 else []) + ([(out, 1)] if out > 1 else [])
        vectors = {n for n in self.seen if n not in heavy and tuple(getattr(self.seen[n], "shape", ())) in wide}
        stop |= vectors - self.constants
        pulls = {pull.node: pull.flipped for pull in layer.pulls}
        flipped: dict[fx.Node, bool | None] = {}  # None: alike in all places
        for node in self._slice([self.ends[k] for k in layer.evolving], stop):
            if node in self.constants:
                if not alike(self.seen[node]):
                    raise NotLowered("a constant of its own for every weight")
                flipped[node] = None
                layer.nodes.append(node)
            elif node is layer.outer:
                flipped[node] = layer.flipped
            elif node in pulls:
                flipped[node] = pulls[node]
            elif node in vectors:
                flipped[node] = False
                layer.vectors.append(node)
            elif node in stop:
                flipped[node] = None
                layer.scalars.append(node)
            elif self.leaf_of.get(node) in own:
                flipped[node] = False
            else:
                flipped[node] = self._flipped(node, flipped)
                layer.nodes.append(node)
        if any(flipped[self.ends[leaf]] is not False for leaf in layer.evolving):
            raise NotLowered("weights whose new values are not made one by one")

    def _flipped(self, node: fx.Node, flipped: dict[fx.Node, bool | None]) -> bool | None:
        """Whether an elementwise node is (in, out); None where it is alike in all places. Raises NotLowered."""
        if node.op != "call_function" or node in self.products or any(n not in flipped for n in node.all_input_nodes):
            raise NotLowered(f"{node.name} for every weight")
        orders = {flipped[n] for n in node.all_input_nodes} - {None}
        if node.target == aten.permute.default and orders:
            return not orders.pop()
        if node.target in RESHAPES and not orders:
            return None
        if node.target not in SAME and torch.Tag.pointwise not in getattr(node.target, "tags", ()):
            raise NotLowered(f"{node.target} of whole matrices of weights")
        if len(orders) > 1:
            raise NotLowered("a matrix of weights together with its transpose")
        return orders.pop() if orders else None

    def chain(self, layer: Layer) -> Callable[..., list[Tensor]]:
        """The chain of ONE weight: (gradient, leaves..., scalars...), all 0-d, to the evolving leaves' new values.

        Where the weight is pulled, what it is pulled by comes after the leaves, and then what it reads of vectors.
        """

        def step(gradient: Tensor, *given: Tensor) -> list[Tensor]:
            values: dict[fx.Node, Tensor] = {layer.outer: gradient}  # type: ignore[dict-item]
            arrays = [self.placeholders[k] for k in layer.leaves]
            arrays += [pull.node for pull in layer.pulls]
            values |= dict(zip([*arrays, *layer.vectors, *layer.scalars], given, strict=True))
            for node in layer.nodes:
                if node in self.constants:
                    values[node] = self.seen[node].flatten()[0].clone()
                elif node.target == aten.permute.default or node.target in RESHAPES:
                    values[node] = values[node.args[0]]  # type: ignore[index]
                else:
                    values[node] = evaluated(node, values)
            return [values[self.ends[k]] for k in layer.evolving]

        return step

    def small(self, node: fx.Node, values: dict[fx.Node, Tensor]) -> Tensor:
        """A single number's value from those of placeholders, in whatever precision these have."""
        computed = dict(values)
        for step in self.ancestors([node]):
            if step in self.constants:
                computed[step] = self.seen[step]
            elif step not in computed:
                computed[step] = evaluated(step, computed)
        return computed[node].flatten()[0]

    # ---- segments ----

    def _cut_segments(self) -> tuple[list[Op], Segment, list[Segment]]:
        """The operations in an order, what is computed once before the first step, and what before each of them."""
        layers = list(enumerate(self.layers))
        waiting: list[Op] = [
            *((FORWARD, k, 0) for k, _ in layers),
            *((BACK, k, 0) for k, layer in layers if layer.apart),
            *((SQUARE, k, 0) for k, layer in layers if layer.squares),
            *((DOT, k, i) for k, layer in layers for i in range(len(layer.dots))),
            *((LEARN, k, 0) for k, _ in layers),
            *((SCALE, k, 0) for k, layer in layers if layer.scale is not None),
        ]
        done: set[fx.Node] = set()  # products
        ops: list[Op] = []
        numbers = [n for layer in self.layers for n in layer.scalars if self.lasts(n)]
        placed = {node: OPENING for node in self._slice(numbers) if self._small(node)}
        while waiting:
            for op in waiting:
                if op != next(own for own in waiting if own[1] == op[1]):  # a layer's are in order
                    continue
                nodes = self._slice(self._wanted(op))
                if all(n in done for n in nodes if n in self.products):
                    break
            else:
                raise NotLowered("an update that waits for itself")
            for node in nodes:
                if self._small(node):
                    placed.setdefault(node, len(ops))
            ops.append(op)
            waiting.remove(op)
            made = (SUM, *op[1:]) if op[0] == self.layers[op[1]].last else op
            done |= {node for node, own in self.products.items() if own in (op, made)}
        biases = {layer.bias.weight for layer in self.layers if layer.bias is not None}
        results = [k for k in self.leaf_of.values() if k not in self.owner and k not in biases]
        results = [k for k in results if self.outputs[k] is not self.placeholders[k]]
        for node in self._slice(self.outputs[k] for k in results):
            if self._small(node):
                placed.setdefault(node, len(ops))
        segments = [self._segment(k, placed, results if k == len(ops) else [], ops) for k in range(len(ops) + 1)]
        return ops, self._segment(OPENING, placed, [], ops), segments

    def _wanted(self, op: Op) -> list[fx.Node]:
        """What has to be known before an operation."""
        layer = self.layers[op[1]]
        if op[0] == FORWARD:
            return [layer.inputs]
        if op[0] == BACK:
            assert layer.back is not None
            return [stripped(layer.back.args[0])[0]]
        if op[0] == SQUARE:
            return [own.error for own in layer.squares]
        if op[0] == DOT:
            return [layer.dots[op[2]].vector]
        if op[0] == SCALE:
            assert layer.scale is not None
            return [layer.scale.number]
        assert layer.error is not None
        return [layer.error, *layer.scalars, *layer.vectors]

    def _small(self, node: fx.Node) -> bool:
        if node in self.heavy:
            raise NotLowered(f"{node.target} of all weights in every step")
        return node.op == "call_function" and node not in self.products and node not in self.constants

    def _segment(self, number: int, placed: dict[fx.Node, int], results: list[int], ops: list[Op]) -> Segment:
        nodes = sorted((n for n, at in placed.items() if at == number), key=self.order.__getitem__)
        used = {n for node in nodes for n in node.all_input_nodes} | {self.outputs[k] for k in results}
        reads = [n for n in used if n not in self.constants and placed.get(n) != number]
        elsewhere = {n for node, at in placed.items() if at != number for n in node.all_input_nodes}
        elsewhere |= {n for op in ops for n in self._wanted(op)}
        if not results:
            elsewhere |= {self.outputs[k] for k in self.leaf_of.values() if k not in self.owner}
        writes = [n for n in nodes if n in elsewhere]
        return Segment(nodes, sorted(reads, key=self.order.__getitem__), writes, results)

    def function(self, segment: Segment, arguments: Sequence[fx.Node]) -> Callable[..., list[Tensor]]:
        """A segment as a function of these nodes' values, to those of `writes` and then of `results`."""

        def run(*given: Tensor) -> list[Tensor]:
            values = dict(zip(arguments, given, strict=True))
            for node in segment.nodes:
                for source in node.all_input_nodes:
                    if source in self.constants and source not in values:
                        values[source] = self.seen[source]
                values[node] = evaluated(node, values)
            final = [*segment.writes, *(self.outputs[k] for k in segment.results)]
            return [values[n] if n in values else self.seen[n] for n in final]

        return run


def alike(value: Tensor) -> bool:
    """Whether all elements are one number."""
    flat = value.flatten()
    return flat.numel() > 0 and bool((flat == flat[0]).all() or flat.isnan().all())


def evaluated(node: fx.Node, values: dict[fx.Node, Tensor]) -> Tensor:
    """A node's value from those of its arguments."""
    args = fx.map_arg(node.args, lambda n: values[n])
    kwargs = fx.map_arg(node.kwargs, lambda n: values[n])
    made: Tensor = node.target(*args, **kwargs)  # type: ignore[operator]
    return made
