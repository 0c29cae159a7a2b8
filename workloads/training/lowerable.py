"""Whether the step of a trial can be written as C++ for lanes: by trying."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workloads.engine.computing import computing
from workloads.engine.lanes import Lanes
from workloads.engine.online_traced import TracedOnline
from workloads.engine.trace import NotLowered
from workloads.training.loop import Training
from workloads.training.pack import Pack, PackMember


def not_lowered(config: Mapping[str, Any], path: str) -> str | None:
    """Why the step of trials like this one cannot be written as C++ for lanes or online; None where it can."""
    members = [PackMember("", config)]
    with computing():
        training = Training(Pack(id="", members=members, path="looped"))
        training.begin()
        # Not by `build`, which wants a compiler: what plans a sweep need not have one.
        kind: type[Lanes] | type[TracedOnline] = Lanes if path == "lanes" else TracedOnline
        engine = kind(training.learner, training.hyper, training.seeds)
        engine.load(training.engine.state())
        try:
            engine.source(*(v[0, 0] for v in training.feed.batches(0, 1)))
        except NotLowered as error:
            return f"its step has {error}"
        except Exception as error:  # a user's code may fail in any way, and lifted may be able to run it
            said = (str(error).splitlines() or [""])[0][:80]
            return f"tracing its step failed ({type(error).__name__}: {said})"
    return None
