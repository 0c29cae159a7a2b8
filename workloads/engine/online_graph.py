"""A step's trace made ready for the online path: the same numbers, in a form that online_cut.py can cut.

Every bias apart from its product, matrices of the state on the right of theirs, no sums of one number, and what all of
a gradient is multiplied by moved into the error that the gradient is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from workloads.engine.trace import Trace, trace

aten = torch.ops.aten
RESHAPES = {aten.expand.default, aten.view.default, aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims}
CARRIES = RESHAPES | {aten.permute.default, aten.sum.dim_IntList, aten.alias.default, aten.clone.default}


def traced(step: Callable[..., Sequence[Tensor]], examples: Sequence[Tensor], leaves: int) -> Trace:
    """The step's trace with every bias apart from its product, the one small and the other not, and nothing for show.

    Many numbers over one become their products with its reciprocal, a rounding away at most. Zeros are not added, so
    that what is rectified shows that it is. `leaves`: how many arguments are of the state. Their matrices stand on the
    right of their products.
    """
    whole = trace(step, examples)
    state = set(whole.arguments[:leaves])
    for node in list(whole.graph.nodes):
        if node.target == aten.addmm.default and not node.kwargs:
            with whole.graph.inserting_before(node):
                product = whole.graph.call_function(aten.mm.default, node.args[1:])
                both = whole.graph.call_function(aten.add.Tensor, (node.args[0], product))
            whole.seen[product] = whole.seen[both] = whole.seen[node]
            node.replace_all_uses_with(both)
            whole.graph.erase_node(node)
        elif node.target == aten.view.default and whole.seen[node].shape == whole.seen[node.args[0]].shape:
            node.replace_all_uses_with(node.args[0])
            whole.graph.erase_node(node)
        elif node.target == aten.add.Tensor and (kept := beside_zeros(whole, node)) is not None:
            node.replace_all_uses_with(kept)
            whole.graph.erase_node(node)
        elif node.target == aten.sum.dim_IntList and of_one(whole, node, state):
            with whole.graph.inserting_before(node):  # over one example
                same = whole.graph.call_function(aten.view.default, (node.args[0], list(whole.seen[node].shape)))
            whole.seen[same] = whole.seen[node]
            node.replace_all_uses_with(same)
            whole.graph.erase_node(node)
        elif node.target == aten.div.Tensor and isinstance(by := node.args[1], fx.Node):
            if whole.seen[by].numel() == 1 < whole.seen[node].numel() and by not in whole.constant:
                with whole.graph.inserting_before(node):
                    inverse = whole.graph.call_function(aten.reciprocal.default, (by,))
                    same = whole.graph.call_function(aten.mul.Tensor, (node.args[0], inverse))
                whole.seen[inverse], whole.seen[same] = whole.seen[by].reciprocal(), whole.seen[node]
                node.replace_all_uses_with(same)
                whole.graph.erase_node(node)
        elif node.target == aten.mm.default and stripped(node.args[0])[0] in state:
            # So torch has a gradient by inputs that lie by columns, as a single number does: AB = (Bᵀ Aᵀ)ᵀ.
            turned(whole, node)
    scale_errors(whole, state)
    return whole


def of_one(whole: Trace, node: fx.Node, state: set[fx.Node]) -> bool:
    """Whether a sum is of one number each, and no product or length of a matrix, which online_layers.py looks for."""
    of: Any = node.args[0]
    told = of.target == aten.mul.Tensor and (of.args[0] is of.args[1] or any(own in state for own in of.args))
    return whole.seen[node].numel() == whole.seen[of].numel() and not told


def scale_errors(whole: Trace, state: set[fx.Node]) -> None:
    """Where gradients are multiplied by a number that was made of products, as clipping does, their errors are.

    n (Dᵀ X) = (n D)ᵀ X: what a weight's gradient is made of is small, and what moves a weight is its gradient alone.
    """
    shapes = {whole.seen[leaf].shape for leaf in state}
    errors = errors_of(whole, state)
    made: dict[tuple[fx.Node, fx.Node], fx.Node] = {}
    for node in list(whole.graph.nodes):
        if node.target != aten.mul.Tensor or whole.seen[node].shape not in shapes:
            continue
        for number, gradient in (node.args, node.args[::-1]):
            if not all(isinstance(n, fx.Node) for n in (number, gradient)) or whole.seen[number].numel() != 1:
                continue
            error = error_in(gradient, errors)
            if error is None or whole.seen[gradient].shape != whole.seen[node].shape or not of_products(number):
                continue
            with whole.graph.inserting_before(node):
                if (error, number) not in made:
                    made[error, number] = whole.graph.call_function(aten.mul.Tensor, (error, number))
                    whole.seen[made[error, number]] = whole.seen[error] * whole.seen[number]
                node.replace_all_uses_with(of_another(whole, gradient, error, made[error, number]))
            whole.graph.erase_node(node)
            break
    if made:
        whole.graph.eliminate_dead_code()


def errors_of(whole: Trace, state: set[fx.Node]) -> set[fx.Node]:
    """The errors D (B, out) that gradients of matrices are made of, with their inputs X (B, in), as Dᵀ X or Xᵀ D."""
    products = [node for node in whole.graph.nodes if node.target == aten.mm.default]
    forward = {stripped(n.args[0])[0] for n in products if stripped(n.args[1])[0] in state and stripped(n.args[1])[1]}
    errors = set()
    for node in products:
        (left, odd), (right, _) = (stripped(factor) for factor in node.args)
        if odd and right in forward and left not in state:
            errors.add(left)
        elif odd and left in forward and right not in state:
            errors.add(right)
    return errors


def error_in(node: Any, errors: set[fx.Node]) -> fx.Node | None:
    """The error that a gradient, as it is or turned, is made of, linearly; None where it is no such gradient."""
    while isinstance(node, fx.Node) and node not in errors:
        if node.target == aten.mm.default:
            factors = [stripped(factor)[0] for factor in node.args]
            return next((factor for factor in factors if factor in errors), None)
        if node.target not in CARRIES:
            return None
        node = node.args[0]
    return node if isinstance(node, fx.Node) else None


def of_products(node: fx.Node) -> bool:
    """Whether a number depends on any product of matrices."""
    left, seen = [node], {node}
    while left:
        one = left.pop()
        if one.target == aten.mm.default:
            return True
        left += [n for n in one.all_input_nodes if n not in seen]
        seen.update(one.all_input_nodes)
    return False


def of_another(whole: Trace, node: fx.Node, error: fx.Node, other: fx.Node) -> fx.Node:
    """A gradient that is made of one error, made of another one, before the place where nodes are inserted."""
    if node is error:
        return other
    args = [
        of_another(whole, a, error, other) if isinstance(a, fx.Node) and error_in(a, {error}) is error else a
        for a in node.args
    ]
    made = whole.graph.call_function(node.target, tuple(args), node.kwargs)
    whole.seen[made] = made.target(*fx.map_arg(made.args, lambda n: whole.seen[n]), **made.kwargs)  # type: ignore[operator]
    return made


def beside_zeros(whole: Trace, node: fx.Node) -> fx.Node | None:
    """The summand that a sum is equal to, as all of the other one is 0; None where there is none."""
    for kept, other in (node.args[:2], node.args[1::-1]):
        if not isinstance(kept, fx.Node) or other not in whole.constant or whole.seen[other].any():  # type: ignore[index]
            continue
        if whole.seen[kept].shape == whole.seen[node].shape:
            return kept
    return None


def turned(whole: Trace, node: fx.Node) -> None:
    """The product of two matrices becomes the transpose of that of their transposes, in the other order."""
    with whole.graph.inserting_before(node):
        left, right = (transposed(whole, factor) for factor in reversed(node.args))
        product = whole.graph.call_function(aten.mm.default, (left, right))
        whole.seen[product] = whole.seen[node].mT
        node.replace_all_uses_with(transposed(whole, product))
    whole.graph.erase_node(node)


def transposed(whole: Trace, node: Any) -> fx.Node:
    """A node for a matrix's transpose."""
    made = whole.graph.call_function(aten.permute.default, (node, [1, 0]))
    whole.seen[made] = whole.seen[node].mT
    return made


def stripped(node: Any) -> tuple[fx.Node, bool]:
    """What a node shows, and whether transposed: without permutations of two axes and copies."""
    odd = False
    while isinstance(node, fx.Node) and node.op == "call_function":
        if node.target == aten.permute.default and list(node.args[1]) == [1, 0]:  # type: ignore[arg-type]
            odd = not odd
        elif node.target not in (aten.alias.default, aten.clone.default, aten.detach.default):
            break
        node = node.args[0]
    return node, odd
