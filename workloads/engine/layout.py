"""A pack's state is a nested dict of tensors (P, ...), members in front; this is how such trees are cut and joined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Tree = dict[str, Any]


def mapped(function: Callable[..., Tensor], tree: Tree, *others: Tree) -> Tree:
    """The tree with `function` applied to every tensor (and those at its place in `others`)."""
    result: Tree = pytree.tree_map(function, tree, *others)
    return result


def member(tree: Tree, index: int) -> Tree:
    """One member's part: every tensor without its member axis, copied."""
    return mapped(lambda value: value[index].clone(), tree)


def stacked(trees: list[Tree]) -> Tree:
    """Members joined along a new first axis."""
    return mapped(lambda *values: torch.stack(values), trees[0], *trees[1:])


def shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    """Where in the tree -> the shape of a member's tensor there."""
    leaves, _ = pytree.tree_flatten_with_path(tree)
    return {pytree.keystr(path): tuple(value.shape[1:]) for path, value in leaves}


def in_order(tree: Tree, like: Tree) -> Tree:
    """The tree with its names in the order of another's: a method may return its state in any."""
    return mapped(lambda _, value: value, like, tree)


def written(new: Tree, old: Tree) -> list[bool]:
    """Per tensor of `old`, in its fixed order, whether `new` has another: what a step leaves alone it hands on."""
    return [
        value is not before for value, before in zip(flattened(in_order(new, old))[0], flattened(old)[0], strict=True)
    ]


def flattened(tree: Tree) -> tuple[list[Tensor], Any]:
    """The tree's tensors in a fixed order, and what `unflattened` needs."""
    leaves, spec = pytree.tree_flatten(tree)
    return leaves, spec


def unflattened(leaves: list[Tensor], spec: Any) -> Tree:
    """The inverse of `flattened`."""
    tree: Tree = pytree.tree_unflatten(leaves, spec)
    return tree
