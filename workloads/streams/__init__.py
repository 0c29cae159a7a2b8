"""What changes while a network learns: one file per stream, which says `STREAMS = {"name": Class}` as a user's does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workloads.registry import fields_of, lookup
from workloads.streams import (
    continual_imagenet,
    incremental_cifar,
    lipschitz_regression,
    permuted_mnist,
    relabelled,
    slowly_changing_regression,
    warm_start,
)
from workloads.streams.base import Stream

SHIPPED = (
    *(slowly_changing_regression, permuted_mnist, continual_imagenet, incremental_cifar, relabelled, warm_start),
    lipschitz_regression,
)
STREAMS: dict[str, type[Stream]] = {name: kind for file in SHIPPED for name, kind in file.STREAMS.items()}


def made(workload: Mapping[str, Any], seed: int) -> Stream:
    """The stream of a trial's `workload`, its name and the fields of its config. Raises InputError for no such name."""
    name, fields = fields_of(workload)
    kind = lookup(STREAMS, name, "workload")
    return kind(kind.Config(**fields), seed)
