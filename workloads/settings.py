"""What a thing's settings are, and those that came later: at their default they are not written down, so that ids stay.

A trial's id is a hash of its whole config. A new field, whose default is what was always done, would give every earlier
trial another id and have it trained again.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Protocol, TypeVar

T = TypeVar("T")
LATER = "later"


class Settings(Protocol):
    """A dataclass of one thing's settings: of an optimizer or a method, a network, a workload."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __init__(self, **settings: Any) -> None: ...


def later(default: T) -> T:
    """The default of a config's field that earlier trials do not name: `normalisation: str = later("none")`."""
    field: T = dataclasses.field(default=default, metadata={LATER: True})
    return field


def written(config: Settings) -> dict[str, Any]:
    """A config's settings as a trial's config holds them."""
    fields = dataclasses.fields(config)
    unsaid = {f.name for f in fields if LATER in f.metadata and getattr(config, f.name) == f.default}
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in unsaid}
