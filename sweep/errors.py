"""The errors of the service, below the tree of `workloads.errors`.

PliantError
├── InputError
│   └── SpecError       a sweep file cannot be read, parsed or understood; names file, line, key, value
├── DataError
├── CheckpointError
├── StorageError        the storage cannot be read or written
├── TrackingError       the tracking server does not answer, or its database is not usable
└── ClusterError        no Ray cluster answers at the address, or a job there failed
"""

from workloads.errors import CheckpointError as CheckpointError
from workloads.errors import DataError as DataError
from workloads.errors import InputError as InputError
from workloads.errors import PliantError as PliantError


class SpecError(InputError):
    """A sweep file cannot be read, parsed or understood."""


class StorageError(PliantError):
    """The sweep's storage cannot be read or written."""


class TrackingError(PliantError):
    """The tracking server does not answer, or its database is not usable."""


class ClusterError(PliantError):
    """No Ray cluster answers at the address, or a job there failed."""
