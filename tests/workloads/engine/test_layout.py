"""Trees of tensors with a member axis: cut, joined and flattened without loss."""

from __future__ import annotations

import torch

from workloads.engine.layout import flattened, mapped, member, stacked, unflattened

TREE = {"params": {"w": torch.arange(6.0).view(3, 2)}, "state": {"sgd": {}, "due": torch.tensor([[1], [2], [3]])}}


def test_members_are_cut_and_joined_again() -> None:
    cut = [member(TREE, i) for i in range(3)]
    assert cut[1]["params"]["w"].tolist() == [2.0, 3.0] and cut[2]["state"]["due"].tolist() == [3]
    joined = stacked(cut)
    assert joined["params"]["w"].equal(TREE["params"]["w"]) and joined["state"]["due"].equal(TREE["state"]["due"])


def test_a_member_is_a_copy() -> None:
    own = member(TREE, 0)
    own["params"]["w"].fill_(-1)
    assert TREE["params"]["w"][0].tolist() == [0.0, 1.0]


def test_flattening_keeps_structure_empty_parts_included() -> None:
    leaves, spec = flattened(TREE)
    assert [tuple(leaf.shape) for leaf in leaves] == [(3, 2), (3, 1)]
    again = unflattened(leaves, spec)
    assert again["state"]["sgd"] == {} and again["params"]["w"] is leaves[0]


def test_mapping_takes_tensors_of_several_trees_together() -> None:
    doubled = mapped(lambda a, b: a + b, TREE, TREE)
    assert doubled["params"]["w"][2].tolist() == [8.0, 10.0]
    assert doubled["state"]["due"].tolist() == [[2], [4], [6]]
