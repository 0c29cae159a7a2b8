"""What changes while a network learns: one file per stream."""

from __future__ import annotations

from workloads.streams.base import Stream
from workloads.streams.permuted_mnist import PermutedMNIST
from workloads.streams.slowly_changing_regression import SlowlyChangingRegression

STREAMS: dict[str, type[Stream]] = {
    "slowly_changing_regression": SlowlyChangingRegression,
    "permuted_mnist": PermutedMNIST,
}
