"""A unit's weights as they lie in a matrix, in a kernel and behind a flattened picture."""

from __future__ import annotations

import torch

from workloads.networks.base import Site, as_examples, by_activation, channels_inside


def site(units: int) -> Site:
    return Site(
        name="a",
        units=units,
        weight="a.weight",
        bias=None,
        outgoing_weight="b.weight",
        outgoing_bias=None,
        fan_in=1,
        fan_out=1,
    )


def test_every_place_of_a_picture_is_an_example() -> None:
    """2 examples of 3 channels of 2 x 2: example 0's four places come first."""
    hidden = torch.arange(24).reshape(2, 3, 2, 2)
    rows = as_examples(hidden)
    assert rows.shape == (8, 3)
    assert rows[:4].T.tolist() == hidden[0].flatten(1).tolist()
    assert rows[6].tolist() == hidden[1, :, 1, 0].tolist()
    assert as_examples(hidden[:, :, 0, 0]).tolist() == hidden[:, :, 0, 0].tolist()


def test_outgoing_weights_by_the_activation_they_leave() -> None:
    kernel = torch.arange(1.0, 17.0).reshape(2, 2, 2, 2)
    assert by_activation(kernel, site(2))[1, 1].tolist() == [13, 14, 15, 16]
    flat = torch.arange(1.0, 13.0).reshape(2, 6)
    assert by_activation(flat, site(3))[1].tolist() == [[7, 8], [9, 10], [11, 12]]


def test_channels_inside_are_the_same_numbers_in_another_order_of_memory() -> None:
    pictures = torch.arange(24.0).reshape(1, 2, 3, 4)
    found = channels_inside(pictures)
    assert torch.equal(found, pictures)
    assert found.stride()[1] == 1
