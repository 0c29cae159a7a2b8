"""What changes while a network learns: one file per stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workloads.registry import lookup
from workloads.streams.base import Stream
from workloads.streams.continual_imagenet import ContinualImageNet
from workloads.streams.incremental_cifar import IncrementalCIFAR
from workloads.streams.permuted_mnist import PermutedMNIST
from workloads.streams.relabelled import Relabelled
from workloads.streams.slowly_changing_regression import SlowlyChangingRegression
from workloads.streams.warm_start import WarmStart

STREAMS: dict[str, type[Stream]] = {
    "slowly_changing_regression": SlowlyChangingRegression,
    "permuted_mnist": PermutedMNIST,
    "continual_imagenet": ContinualImageNet,
    "incremental_cifar": IncrementalCIFAR,
    "relabelled": Relabelled,
    "warm_start": WarmStart,
}


def made(workload: Mapping[str, Any], seed: int) -> Stream:
    """The stream of a trial's `workload`, its name and the fields of its config. Raises InputError for no such name."""
    fields = dict(workload)
    kind = lookup(STREAMS, fields.pop("name"), "workload")
    return kind(kind.Config(**fields), seed)
