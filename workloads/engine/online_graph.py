"""A step's trace made ready for the online path: the same numbers, in a form that online_cut.py can cut.

Every bias apart from its product, matrices of the state on the right of theirs, no sums of one number, and what all of
a gradient is multiplied by moved into the error that the gradient is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    told = of.target == aten.mul.Tensor and any(own in state for own in of.args)
    told |= bool(of.args) and squares(of, of.args[0])
    return whole.seen[node].numel() == whole.seen[of].numel() and not told


@dataclass(frozen=True, slots=True)
class Gradient:
    """What a gradient of the state is made of, linearly: the error D (B, out) of a layer."""

    error: fx.Node
    product: fx.Node | None  # Dᵀ X, or Xᵀ D; None of a bias, whose gradient is a sum of D


def scale_errors(whole: Trace, state: set[fx.Node]) -> None:
    """Where gradients are multiplied by a number that was made of products, as clipping does, their errors are.

    n (Dᵀ X) = (n D)ᵀ X: what a weight's gradient is made of is small, and what moves a weight is its gradient alone.
    """
    shapes = {whole.seen[leaf].shape for leaf in state}
    products = products_of(whole, state)
    errors = set(products.values())
    made: dict[tuple[fx.Node, fx.Node], fx.Node] = {}
    for node in list(whole.graph.nodes):
        if node.target != aten.mul.Tensor or whole.seen[node].shape not in shapes or whole.seen[node].numel() == 1:
            continue
        for number, one in (node.args, node.args[::-1]):
            if not all(isinstance(n, fx.Node) for n in (number, one)) or number is one:
                continue
            gradient = gradient_of(one, products, errors)
            if gradient is None or whole.seen[one].shape != whole.seen[node].shape:
                continue
            if whole.seen[number].numel() != 1 or not of_products(number):
                continue
            if gradient.product is not None and not multiplied(gradient.product, number):
                continue
            error = gradient.error
            with whole.graph.inserting_before(node):
                if (error, number) not in made:
                    made[error, number] = whole.graph.call_function(aten.mul.Tensor, (error, number))
                    whole.seen[made[error, number]] = whole.seen[error] * whole.seen[number]
                node.replace_all_uses_with(of_another(whole, one, gradient, made[error, number]))
            whole.graph.erase_node(node)
            break
    if made:
        whole.graph.eliminate_dead_code()


def products_of(whole: Trace, state: set[fx.Node]) -> dict[fx.Node, fx.Node]:
    """Products Dᵀ X or Xᵀ D of an error and the input of its layer -> D. Neither is the input of any other layer."""
    products = [node for node in whole.graph.nodes if node.target == aten.mm.default]
    forward = {stripped(n.args[0])[0] for n in products if stripped(n.args[1])[0] in state and stripped(n.args[1])[1]}
    found = {}
    for node in products:
        (left, odd), (right, _) = (stripped(factor) for factor in node.args)
        if odd and left not in state and right not in state and (left in forward) != (right in forward):
            found[node] = right if left in forward else left
    return found


def gradient_of(node: Any, products: dict[fx.Node, fx.Node], errors: set[fx.Node]) -> Gradient | None:
    """What a node shows of a gradient, as it is or turned; None where it is no gradient."""
    while isinstance(node, fx.Node):
        if node in products:
            return Gradient(products[node], node)
        if node in errors:
            return Gradient(node, None)
        if node.target not in CARRIES:
            return None
        node = node.args[0]
    return None


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


def multiplied(product: fx.Node, number: fx.Node) -> bool:
    """Whether a gradient's product is only multiplied by a number, and summed up as squares."""
    views = [product]
    for view in views:
        views += [user for user in view.users if user.target in CARRIES]
        for user in view.users:
            if user.target in CARRIES or (user.target == aten.mul.Tensor and number in user.args):
                continue
            if not squares(user, view) or any(own.target != aten.sum.dim_IntList for own in user.users):
                return False
    return True


def of_another(whole: Trace, node: fx.Node, gradient: Gradient, other: fx.Node) -> fx.Node:
    """A gradient made of another error, before the place where nodes are inserted."""
    if node is gradient.error:
        return other
    given: list[Any] = list(node.args)
    if node is gradient.product:
        place = next(k for k, factor in enumerate(given) if stripped(factor)[0] is gradient.error)
    else:
        place = 0
    given[place] = of_another(whole, given[place], gradient, other)
    target: Any = node.target
    made = whole.graph.call_function(target, tuple(given), node.kwargs)
    whole.seen[made] = target(*fx.map_arg(made.args, lambda n: whole.seen[n]), **made.kwargs)
    return made


def squares(node: fx.Node, of: fx.Node) -> bool:
    """Whether a node is the square of another, element by element."""
    by_itself = node.target == aten.mul.Tensor and node.args == (of, of)
    return by_itself or (node.target == aten.pow.Tensor_Scalar and node.args == (of, 2))


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
