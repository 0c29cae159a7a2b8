"""A method of the user's own, watched while it runs: what its hooks give back, and what they may not do.

The engine traces a method's hooks once and runs the trace for every member and step. Whatever a hook computes outside
torch (a counter of its own, a clock, a generator of the process) would stay in the trace as it was in the first step,
without a word. So here every hook is called in plain torch, and refused where it does any of this.
"""

from __future__ import annotations

import linecache
import random
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workloads.errors import InputError
from workloads.extensions import place_of
from workloads.methods.base import PLACES, Hyper, Method, Params, Seen, State
from workloads.random import Draw
from workloads.settings import Settings

CLOCKS = {"time", "monotonic", "perf_counter", "process_time", "thread_time", "now", "utcnow", "today", "localtime"}

# What an error's text contains -> what it means in a method, and what its author should write instead.
BRANCH = "branches on a tensor, where members share one program: write torch.where(condition, a, b)"
NUMBER = "takes a number or an array out of a tensor, where it is one member's in one step: stay in torch"
DRAWS = "draws come from `draw`, e.g. draw.normal(what, count)"
MEANINGS = {
    "data-dependent control flow": BRANCH,
    "Boolean value of Tensor": BRANCH,
    "randomness": f"draws from torch's generator, which members share: {DRAWS}",
    ".item()": NUMBER,
    "data pointer of Tensor": NUMBER,
    "numpy()": NUMBER,
    "'Seen' object has no attribute 'phase'": "reads seen.phase: say `period` in the class, and ask `seen.acts`",
}


def meant(error: BaseException) -> str:
    """What an error inside a hook means, as said of the hook."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, SystemExit):
        return "ends the program (SystemExit)"
    meanings = [meaning for part, meaning in MEANINGS.items() if part in str(error)]
    return meanings[0] if meanings else f"raised {type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"


def checksum(tensor: Tensor) -> int:
    """A number that any change of any bit changes; asked for as a number, since inside a gradient there is no array."""
    content = tensor.detach().cpu().flatten().view(torch.uint8).long()
    places = torch.arange(1, len(content) + 1) * 0x9E3779B1 % 0x7FFFFFFF
    return int((content * places).sum().item())


def remembered(value: Any, above: tuple[int, ...] = ()) -> Any:
    """A value's content, to be compared: equal before and after, or it was changed."""
    if id(value) in above or isinstance(value, ModuleType):
        return None
    above = (*above, id(value))
    if isinstance(value, Tensor):
        return "tensor", tuple(value.shape), checksum(value)
    if isinstance(value, np.ndarray):
        return "array", value.shape, value.tobytes()
    if isinstance(value, torch.Generator):
        return remembered(value.get_state())
    if isinstance(value, np.random.Generator):
        return str(value.bit_generator.state)
    if isinstance(value, np.random.RandomState | random.Random):
        return str(value.get_state() if isinstance(value, np.random.RandomState) else value.getstate())
    if isinstance(value, dict):
        return {repr(key): remembered(part, above) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [remembered(part, above) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if type(value).__module__.startswith("user_code."):
        return remembered(vars(value), above) if hasattr(value, "__dict__") else None
    return id(value)


def surroundings(method: Method[Settings]) -> dict[str, Any]:
    """Everything that a hook could change and nobody would carry from step to step, by how its author calls it."""
    kind = type(method)
    module = sys.modules.get(kind.__module__)
    held = {f"self.{n}": v for n, v in vars(method).items() if n not in ("network", "config")}
    held |= {f"{kind.__name__}.{n}": v for n, v in vars(kind).items() if not n.startswith("__") and not callable(v)}
    if module is not None and kind.__module__.startswith("user_code."):
        held |= {f"the global {n}": v for n, v in vars(module).items() if not n.startswith("__") and not callable(v)}
    places = {name: remembered(value) for name, value in held.items()}
    return places | {
        "Python's generator (module random)": random.getstate(),
        "numpy's generator": str(np.random.get_state()),
        "torch's generator": remembered(torch.get_rng_state()),
    }


@contextmanager
def clocks_refused(files: Collection[str]) -> Iterator[None]:
    """Notes the first clock that code of these files reads inside, and raises InputError at the end."""
    read: list[str] = []

    def look(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and not read and frame.f_code.co_filename in files:
            name = str(getattr(called, "__name__", ""))
            of = getattr(called, "__module__", None) or getattr(getattr(called, "__self__", None), "__module__", "")
            if of in ("time", "datetime") and name.removesuffix("_ns") in CLOCKS:
                read.append(f"{frame.f_code.co_filename}:{frame.f_lineno}: reads a clock ({of}.{name})")

    watching = bool(files) and sys.getprofile() is None  # whoever profiles this keeps the only place there is
    if watching:
        sys.setprofile(look)
    try:
        yield
    finally:
        if watching:
            sys.setprofile(None)
    if read:
        raise InputError(f"{read[0]}: what it gives would depend on when it ran, and stay as it was when traced")


def described(value: Any) -> str:
    """`float32 (5, 20)`, or what else a value is."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return "None" if value is None else f"{type(value).__name__} {value!r}"[:60]


def differing(actual: Any, expected: Any, path: str) -> str | None:
    """Where a nested dict of tensors is not shaped like another, in words; None where it is."""
    if isinstance(expected, dict):
        if not isinstance(actual, dict):
            return f"{path} is {described(actual)}, expected a dict of {', '.join(map(repr, expected)) or 'nothing'}"
        if missing := [name for name in expected if name not in actual]:
            return f"{path} lacks {', '.join(map(repr, missing))}; it must have what came in: {', '.join(expected)}"
        if more := [name for name in actual if name not in expected]:
            return f"{path} has {', '.join(map(repr, more))}, which did not come in: begin with it in init"
        return next((d for n in expected if (d := differing(actual[n], expected[n], f"{path}[{n!r}]"))), None)
    alike = isinstance(actual, Tensor) and actual.shape == expected.shape and actual.dtype == expected.dtype
    return None if alike else f"{path} is {described(actual)}, expected {described(expected)}"


def not_tensors(state: Any, path: str = "state") -> str | None:
    """Where a state holds something else than tensors in nested dicts; None where it does not."""
    if isinstance(state, dict):
        return next((d for n, part in state.items() if (d := not_tensors(part, f"{path}[{n!r}]"))), None)
    if isinstance(state, Tensor):
        return None
    return f"{path} is {described(state)}, expected a tensor, such as torch.tensor({state!r})"


class Watched:
    """A method's part in a learner, called as it is; every hook's result is compared with what it was given.

    `strict`: attributes, generators and clocks are watched as well, which a traced or batched run cannot be.
    """

    def __init__(self, method: Method[Settings], name: str, file: str) -> None:
        self.method, self.name, self.file = method, name, file
        self.strict = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.method, name)

    def wrong(self, hook: str, text: str) -> InputError:
        """An error at a hook's first line."""
        code = getattr(type(self.method), hook).__code__
        place = f"{self.file}:{code.co_firstlineno}" if code.co_filename == self.file else self.file
        return InputError(f"{place}: {self.name}.{hook} {text}")

    def hint(self, error: BaseException, place: str) -> str:
        """What `hyper` has, where a name was asked of it that it does not have."""
        file, _, line = place.rpartition(":")
        if not isinstance(error, KeyError) or not line.isdigit() or "hyper[" not in linecache.getline(file, int(line)):
            return ""
        return f"; hyper holds what `varies` names: {', '.join(getattr(self.method, 'varies', ())) or 'nothing'}"

    def called(self, hook: str, *arguments: Any, **options: Any) -> Any:
        """The hook's result. Raises InputError for whatever it raises, and for what it may not do."""
        before = surroundings(self.method) if self.strict else {}
        try:
            result = getattr(self.method, hook)(*arguments, **options)
        except (Exception, SystemExit) as error:
            place = place_of(error) or self.file
            raise InputError(f"{place}: {self.name}.{hook} {meant(error)}{self.hint(error, place)}") from error
        after = surroundings(self.method) if self.strict else {}
        if changed := [name for name, value in after.items() if before.get(name) != value]:
            kept = "what lasts from step to step is a tensor in the state, which init begins"
            mend = DRAWS if "generator" in changed[0] else kept
            raise self.wrong(hook, f"changes {changed[0]}, which a traced step cannot do again: {mend}")
        return result

    def pair(
        self, hook: str, result: Any, params: Params, state: State, *, first: str = "params"
    ) -> tuple[Params, State]:
        """The two values a hook gave back, once they are shaped like what it was given."""
        if not isinstance(result, tuple) or len(result) != 2:
            many = (
                f"{len(result)} values"
                if isinstance(result, tuple)
                else "None"
                if result is None
                else f"one {type(result).__name__}"
            )
            raise self.wrong(hook, f"must return ({first}, state), and returned {many}")
        if text := differing(result[0], params, first) or differing(result[1], state, "state"):
            raise self.wrong(hook, f"returned other shapes than it was given: {text}")
        return result

    def init(self, params: Params, *, per_element: bool) -> State:
        """See Method."""
        state: State = self.called("init", params, per_element=per_element)
        if not isinstance(state, dict):
            raise self.wrong("init", f"must return a dict of tensors, and returned {described(state)}")
        if text := not_tensors(state):
            raise self.wrong("init", f"returned a state that is not of tensors: {text}")
        return state

    def observed(self, x: Tensor, state: State, hyper: Hyper) -> State:
        """See Method."""
        value: State = self.called("observed", x, state, hyper)
        if text := differing(value, state, "state"):
            raise self.wrong("observed", f"returned other shapes than it was given: {text}")
        return value

    def inputs(self, x: Tensor, state: State, hyper: Hyper) -> Tensor:
        """See Method."""
        value: Tensor = self.called("inputs", x, state, hyper)
        if text := differing(value, x, "x"):
            raise self.wrong("inputs", f"returned another shape than it was given: {text}")
        return value

    def loss(self, params: Params, state: State, hyper: Hyper) -> Tensor:
        """See Method."""
        value: Tensor = self.called("loss", params, state, hyper)
        if not isinstance(value, Tensor) or value.shape != ():
            raise self.wrong("loss", f"must return one number, a tensor (), and returned {described(value)}")
        return value

    def gradient(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """See Method."""
        result = self.called("gradient", params, state, hyper, seen, draw)
        return self.pair("gradient", result, seen.grads, state, first="grads")

    def optimizer(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """See Method."""
        return self.pair("optimizer", self.called("optimizer", params, state, hyper, seen, draw), params, state)

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """See Method."""
        return self.pair("after_step", self.called("after_step", params, state, hyper, seen, draw), params, state)

    def at_task(self, params: Params, state: State, hyper: Hyper, draw: Draw) -> tuple[Params, State]:
        """See Method."""
        return self.pair("at_task", self.called("at_task", params, state, hyper, draw), params, state)

    def restarted(self, optimizer: State) -> State:
        """See Method."""
        value: State = self.called("restarted", optimizer)
        if text := differing(value, optimizer, "optimizer"):
            raise self.wrong("restarted", f"returned other shapes than it was given: {text}")
        return value

    def repair(
        self, params: Params, state: State, optimizer: State, hyper: Hyper, place: int, draw: Draw
    ) -> tuple[Params, State, State]:
        """See Method."""
        result = self.called("repair", params, state, optimizer, hyper, place, draw)
        if not isinstance(result, tuple) or len(result) != 3:
            raise self.wrong("repair", f"must return (params, state, optimizer), and returned {described(result)}")
        self.pair("repair", result[:2], params, state)
        if text := differing(result[2], optimizer, "optimizer"):
            raise self.wrong("repair", f"returned other shapes than it was given: {text}")
        return result

    def renew(
        self, params: Params, state: State, optimizer: State, hyper: Hyper, draw: Draw
    ) -> tuple[Params, State, State, Tensor]:
        """See Method."""
        result = self.called("renew", params, state, optimizer, hyper, draw)
        if not isinstance(result, tuple) or len(result) != 4:
            said = described(result)
            raise self.wrong("renew", f"must return (params, state, optimizer, how many), and returned {said}")
        self.pair("renew", result[:2], params, state)
        if text := differing(result[2], optimizer, "optimizer"):
            raise self.wrong("renew", f"returned other shapes than it was given: {text}")
        if not isinstance(result[3], Tensor) or result[3].shape != () or result[3].is_floating_point():
            raise self.wrong("renew", f"must say how many units, a whole number (), and said {described(result[3])}")
        return result


def acting_places(method: Method[Settings]) -> frozenset[str]:
    """Where an instance acts. Raises InputError where it names a place that its class does not override."""
    if unknown := set(method.acts) - set(type(method).acts):
        allowed = ", ".join(place for place in PLACES if place in type(method).acts)
        raise InputError(f"self.acts names {', '.join(sorted(unknown))}, and the class overrides {allowed}")
    return frozenset(method.acts)
