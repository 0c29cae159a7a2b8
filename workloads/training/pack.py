"""What a pack is: trials of one shape that are trained together, and what it reports on its way. No torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from workloads.training.rows import Rows


class Member(Protocol):
    """A trial as a pack sees it."""

    @property
    def id(self) -> str:
        """The trial's id."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The trial's whole config."""


@dataclass(frozen=True, slots=True)
class PackMember:
    """A trial's id and config, as read back from a pack's description."""

    id: str
    config: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pack:
    """Trials that differ in seed and varying scalars alone, with the path and device they run on."""

    id: str
    members: Sequence[Member]
    path: str = "lifted"
    device: str = "cpu"
    code: Mapping[str, str] = field(default_factory=dict)  # user's files, name -> source

    def to_json(self) -> str:
        """The description a worker, or a resumed run, rebuilds the pack from."""
        members = [{"id": m.id, "config": dict(m.config)} for m in self.members]
        return json.dumps(
            {
                "id": self.id,
                "path": self.path,
                "device": self.device,
                "code": list(self.code.items()),  # in order, in which the methods of several files act
                "members": members,
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> Pack:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        members = [PackMember(m["id"], m["config"]) for m in fields.pop("members")]
        return cls(members=members, code=dict(fields.pop("code")), **fields)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a pack reports: rows since the last report, where every member stands, and how to continue."""

    tasks: int  # complete tasks
    step: int  # steps done
    rows: Rows
    statuses: list[str]  # per member: running, done, diverged, or censored where it was told to stop
    ended: list[int]  # per member: the task it diverged in, else its complete tasks
    checkpoint: bytes | None  # None once finished
    weights: dict[str, bytes]  # file name -> torch.save of {"params", "config"}, as `keep` asks


# Told how a pack is getting on; it may answer with the ids of trials to stop.
Report = Callable[[Snapshot], Collection[str] | None]
