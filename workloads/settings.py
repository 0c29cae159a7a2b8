"""Settings that came later: at their default they are left out of what is written down, so that older ids stay.

A trial's id is a hash of its whole config. A new field, whose default is what was always done, would give every earlier
trial another id and have it trained again.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

T = TypeVar("T")
LATER = "later"


def later(default: T) -> T:
    """The default of a config's field that earlier trials do not name: `normalisation: str = later("none")`."""
    field: T = dataclasses.field(default=default, metadata={LATER: True})
    return field


def written(config: Any) -> dict[str, Any]:
    """A config's settings as a trial's config holds them."""
    fields = dataclasses.fields(config)
    unsaid = {f.name for f in fields if LATER in f.metadata and getattr(config, f.name) == f.default}
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in unsaid}
