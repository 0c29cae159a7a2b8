"""The errors a user can meet, as one tree.

PliantError
├── InputError      a value in a sweep file, on the command line or in a call is not allowed
├── DataError       a dataset is missing, unreachable or damaged
└── CheckpointError a checkpoint does not fit the pack that asked for it

Messages say what was found, where, what was allowed and, for names, the nearest one. The service adds its own
branches in `sweep.errors`.
"""


class PliantError(Exception):
    """Base of every error that is the user's to read; its text fits one screen and needs no traceback."""


class InputError(PliantError):
    """A value is not allowed; the text names the value, its place, what is allowed and the nearest name."""


class DataError(PliantError):
    """A dataset is missing, cannot be fetched, or its bytes are not what they should be."""


class CheckpointError(PliantError):
    """A checkpoint does not belong to the pack that tries to resume from it."""
