"""Held-out accuracy by hand, the weights that validation chooses, step sizes, bins and newborn copies in a pack.

The oracle of the runs is a loop over one network: the plain path's `train` from stop to stop, with what happens at a
stop written out here.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from workloads.engine import compiling
from workloads.engine.layout import Tree, mapped
from workloads.engine.plain import train
from workloads.learner import Learner
from workloads.losses.implementations import IMPLEMENTATIONS as LOSSES
from workloads.streams.base import TaskStream
from workloads.training import feed
from workloads.training.assembled import network_of, ways_of_learning
from workloads.training.held_out import HeldOut, evaluated
from workloads.training.loop import run_pack
from workloads.training.pack import Pack, PackMember, Snapshot

Config = dict[str, Any]
STEPS = (12, 20, 16)  # of the three tasks
BATCH = 4
CLASSES = 3
TESTED = (4, 9)  # steps of a task after which it is tested, beside its end
SLOWER = ((0, 1.0), (5, 0.25), (10, 0.03125))  # the step sizes' factors from these steps of a task on


class Noisy(TaskStream):
    """Pictures 1 x 8 x 8 of three classes, each around a picture of its own that is drawn anew for every task."""

    loss: ClassVar[Any] = "cross_entropy"
    online_metric: ClassVar[Any] = "online_accuracy"
    tested: ClassVar[bool] = True
    reloads = True
    shape = (1, 8, 8)

    def __init__(self, seed: int) -> None:
        super().__init__(starts=np.append(0, np.cumsum(STEPS)), batch=BATCH, boundaries="shown")
        self.seed = seed
        self.inputs = 64
        self.outputs = CLASSES

    def drawn(self, task: int, what: int, count: int) -> tuple[Any, Any]:
        centres = np.random.default_rng((self.seed, task)).normal(size=(CLASSES, self.inputs))
        generator = np.random.default_rng((self.seed, task, what))
        y = generator.integers(0, CLASSES, count)
        noise = generator.normal(size=(count, self.inputs))
        return (0.15 * centres[y] + noise).astype(np.float32), y.astype(np.int64)

    def examples(self, task: int, first: int, count: int) -> tuple[Any, Any]:
        x, y = self.drawn(task, 0, STEPS[task] * BATCH)
        return x[first : first + count], y[first : first + count]

    def test(self, task: int) -> tuple[Any, Any]:
        return self.drawn(task, 1, 50)

    def validation(self, task: int) -> tuple[Any, Any]:
        return self.drawn(task, 2, 10)  # few, so that there are ties

    def evaluations(self, task: int) -> tuple[int, ...]:
        return (*(self.task_start(task) + k for k in TESTED), self.task_start(task + 1))

    def step_sizes(self, task: int) -> tuple[tuple[int, float], ...]:
        return tuple((self.task_start(task) + step, factor) for step, factor in SLOWER)


class Last(Noisy):
    """The same, which ends a task with the last weights."""

    reloads = False


class Untested(Noisy):
    """The same examples, of which none are held out."""

    tested: ClassVar[bool] = False

    def evaluations(self, task: int) -> tuple[int, ...]:
        return ()


MLP = {"name": "mlp", "width": 6, "depth": 1}
RESNET = {"name": "resnet18", "width": 2}
GENTLE = {"name": "sgd", "step_size": 0.005, "momentum": 0.9}  # so deep and narrow a network soon diverges
METRICS = ["online_accuracy", "online_loss", "plasticity_gap", "test_accuracy", "test_accuracy_max", "within_task"]


def config(seed: int, **changes: Any) -> Config:
    """A trial on such a stream; `changes` replace whole parts."""
    return {
        "workload": {"name": "handed in"},
        "network": MLP,
        "optimizer": {"name": "sgd", "step_size": 0.1, "momentum": 0.9},
        "methods": {},
        "seed": seed,
        "metrics": METRICS,
        "every": 1,
        "fresh_every": 2,
        "probe": 8,
        "dtype": "float32",
        "keep": {"every": 1},
        **changes,
    }


def run(trials: list[Config], resume: bytes | None = None, path: str = "looped", make: Any = Noisy) -> list[Snapshot]:
    """All snapshots of a run."""
    members = [PackMember(f"t{i}", trial) for i, trial in enumerate(trials)]
    seen: list[Snapshot] = []
    run_pack(Pack(id="p", members=members, path=path), seen.append, resume, stream=make, commit_seconds=0)
    return seen


def table(snapshots: list[Snapshot]) -> dict[tuple[str, int, int], float]:
    """(metric, member, task) -> value."""
    found: dict[tuple[str, int, int], float] = {}
    for rows in (snapshot.rows for snapshot in snapshots):
        for i in range(len(rows.value)):
            key = (rows.names[rows.metric[i]], int(rows.member[i]), int(rows.task[i]))
            assert key not in found
            found[key] = float(rows.value[i])
    return found


def weights(snapshots: list[Snapshot]) -> dict[str, bytes]:
    """All that was kept."""
    return {name: value for snapshot in snapshots for name, value in snapshot.weights.items()}


def read(kept: bytes) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(io.BytesIO(kept), weights_only=True)["params"]
    return found


# ------------------------------------------------------------------------------------------------ the oracle


@dataclass
class ByHand:
    """One trial alone, from stop to stop."""

    trial: Config
    make: Any = Noisy

    def __post_init__(self) -> None:
        self.stream = self.make(self.trial["seed"])
        self.network = network_of(self.trial, self.stream)
        optimizer, methods = ways_of_learning(self.trial)
        self.learner = Learner(self.network, self.stream.loss, optimizer, methods)
        numbers = self.learner.hyper_of(optimizer[1], methods)
        self.dtype = getattr(torch, self.trial["dtype"])
        self.hyper = mapped(lambda v: torch.tensor(v, dtype=self.dtype), numbers)
        self.seed = torch.tensor(self.trial["seed"])
        self.values: dict[tuple[str, int], float] = {}
        self.kept: list[dict[str, Tensor]] = []

    def newborn(self, at: int) -> tuple[dict[str, Tensor], Tree]:
        params = {k: v.to(self.dtype) for k, v in self.network.init(self.trial["seed"], at).items()}
        return params, self.learner.init(params)

    def step(self, params: dict[str, Tensor], state: Tree, step: int, factor: float) -> Any:
        hyper = {**self.hyper, "optimizer": dict(self.hyper["optimizer"])}
        hyper["optimizer"]["step_size"] = hyper["optimizer"]["step_size"] * factor
        x, y = (torch.from_numpy(v) for v in self.stream.batches(step, 1))
        return train(self.learner, params, state, hyper, x.to(self.dtype), y, self.seed, step)

    def accuracy(self, params: dict[str, Tensor], state: Tree, examples: tuple[Any, Any]) -> float:
        given = {**params, **state.get("buffers", {})}
        output = self.network.apply(given, torch.from_numpy(examples[0]).to(self.dtype))[0]
        return float((output.argmax(-1).numpy() == examples[1]).sum()) / len(examples[1])

    def trained(self) -> ByHand:
        with torch.no_grad():
            params, state = self.newborn(0)
            for task in range(3):
                fresh = self.newborn(task + 1)
                params, state = self.task(task, params, state, fresh if task % 2 == 0 else None)
        return self

    def task(self, task: int, params: dict[str, Tensor], state: Tree, fresh: Any) -> Any:
        start, stream = self.stream.task_start(task), self.stream
        best = tested = highest = -1.0
        chosen, correct, fresh_correct, losses = None, [], [], []
        for k in range(STEPS[task]):
            factor = [value for step, value in SLOWER if step <= k][-1]
            one = self.step(params, state, start + k, factor)
            params, state = one.params, one.state
            correct.append(one.correct)
            losses.append(one.loss)
            if fresh:
                other = self.step(*fresh, start + k, factor)
                fresh = other.params, other.state
                fresh_correct.append(other.correct)
            if start + k + 1 in stream.evaluations(task):
                tested = self.accuracy(params, state, stream.test(task))
                highest = max(highest, tested)
                valid = self.accuracy(params, state, stream.validation(task))
                if valid > best:
                    best, chosen = valid, (params, state.get("buffers"))
        steps = STEPS[task]
        self.values["online_accuracy", task] = sum(correct) / steps
        self.values["online_loss", task] = sum(losses) / steps
        if stream.tested:
            self.values["test_accuracy", task] = tested
            self.values["test_accuracy_max", task] = highest
        if fresh and stream.tested:
            self.values["plasticity_gap", task] = tested - self.accuracy(*fresh, stream.test(task))
        elif fresh:
            self.values["plasticity_gap", task] = sum(correct) / steps - sum(fresh_correct) / steps
        if task in (0, 2):  # the curve within the first and the last
            ends = [steps * (k + 1) // 20 for k in range(20)]
            for k, end in enumerate(ends):
                first = ends[k - 1] if k else 0
                if end > first:
                    self.values[f"within_task/{k + 1}", task] = sum(correct[first:end]) / (end - first)
        if stream.tested and stream.reloads:
            params = chosen[0]  # and the optimizer's state goes on
            state = {**state, "buffers": chosen[1]} if chosen[1] is not None else state
        self.kept.append({**params, **state.get("buffers", {})})
        return params, state


@pytest.mark.parametrize("path", ["looped", "lifted", "lanes"])
@pytest.mark.parametrize("make", [Noisy, Last, Untested])
def test_a_pack_of_perceptrons_is_the_loop_by_hand(make: Any, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test accuracies, gaps, bins, step sizes and reloading; three members on two streams."""
    monkeypatch.setattr(compiling, "compiled_program", lambda function, arguments, small: function)
    slow = {"name": "sgd", "step_size": 0.02, "momentum": 0.9}
    trials = [config(3), config(4), config(3, optimizer=slow)]
    agree(trials, make, path)


@pytest.mark.parametrize("path", ["looped", pytest.param("lifted", marks=pytest.mark.slow)])
def test_a_pack_of_resnets_is_the_loop_by_hand(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with batch norm: its statistics are reloaded with the weights."""
    monkeypatch.setattr(compiling, "compiled_program", lambda function, arguments, small: function)
    dtype = "float32" if path == "looped" else "float64"
    agree([config(seed, network=RESNET, optimizer=GENTLE, dtype=dtype) for seed in (3, 4)], Noisy, path)


def agree(trials: list[Config], make: Any, path: str) -> None:
    snapshots = run(trials, make=make, path=path)
    found, kept = table(snapshots), weights(snapshots)
    expected: dict[tuple[str, int, int], float] = {}
    for i, trial in enumerate(trials):
        alone = ByHand(trial, make).trained()
        expected |= {(name, i, task): value for (name, task), value in alone.values.items()}
        for task, label in enumerate(("task00001", "task00002", "final")):
            own = read(kept[f"t{i}-{label}.pt"])
            assert set(own) == set(alone.kept[task])
            for name, value in own.items():
                if path == "looped":
                    assert torch.equal(value, alone.kept[task][name]), (task, name)
                else:
                    torch.testing.assert_close(value, alone.kept[task][name], rtol=1e-3, atol=1e-4)
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-6 if path == "looped" else 1e-3, abs=1e-9), key


def test_the_loop_by_hand_has_something_to_find() -> None:
    """What would make the comparison above empty: a reload of the last weights, no ties, no gap, one step size."""
    alone = [ByHand(config(seed)).trained() for seed in (3, 4)]
    last = [ByHand(config(seed), Last).trained() for seed in (3, 4)]
    pairs = [(a.kept[task], b.kept[task]) for a, b in zip(alone, last, strict=True) for task in range(3)]
    assert any(not torch.equal(a["layers.0.weight"], b["layers.0.weight"]) for a, b in pairs)
    assert all(own.values["plasticity_gap", 2] != 0 for own in alone)
    assert any(own.values["test_accuracy", t] < own.values["test_accuracy_max", t] for own in alone for t in range(3))


# ------------------------------------------------------------------------------------------------ resuming


@pytest.mark.parametrize("path", ["looped", "lifted", "lanes", "resnet18"])
def test_resuming_gives_the_same_bits(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step sizes, newborn copies, bins, what was chosen, batch norm's state.

    Steps 5 and 22 are where the factor changes, 4 and 21 evaluations, 12 a task's end, 8 and 40 none of these.
    """
    monkeypatch.setattr(compiling, "compiled_program", lambda function, arguments, small: function)
    monkeypatch.setattr(feed, "CHUNK_STEPS", 5)
    changes = RESNET if path == "resnet18" else {}
    methods = {"continual_backprop": {"replacement_rate": 0.05, "maturity_threshold": 5}, "reset": {"what": "head"}}
    trials = [config(seed, methods=methods, **changes) for seed in (3, 4)]
    engine = "looped" if path == "resnet18" else path

    def content(snapshot: Snapshot) -> list[tuple[str, Any]]:
        held = torch.load(io.BytesIO(snapshot.checkpoint or b""), weights_only=True)
        leaves = pytree.tree_flatten_with_path(held)[0]
        return sorted((str(p), v.numpy().tobytes() if isinstance(v, Tensor) else v) for p, v in leaves)

    whole = run(trials, path=engine)
    steps = [4, 5, 8, 12, 21, 22, 40] if path == "looped" else [8, 22, 40]
    chosen = [position for position, snapshot in enumerate(whole) if snapshot.step in steps]
    assert len(chosen) == len(steps)
    for position in chosen:
        again = run(trials, whole[position].checkpoint, path=engine)
        before = whole[: position + 1]
        assert table(before).keys().isdisjoint(table(again))
        assert table(before) | table(again) == table(whole)
        assert weights(before) | weights(again) == weights(whole)
        assert content(again[-2]) == content(whole[-2])


def test_whoever_is_stopped_the_others_results_and_step_sizes_stay_theirs() -> None:
    trials = [config(seed, optimizer={"name": "sgd", "step_size": 0.1 / (1 + seed)}) for seed in (3, 4, 3)]
    members = [PackMember(f"t{i}", trial) for i, trial in enumerate(trials)]
    what = Pack(id="p", members=members, path="looped")
    seen: list[Snapshot] = []

    def report(snapshot: Snapshot) -> list[str]:
        seen.append(snapshot)
        return ["t1"] if snapshot.step == 12 + 9 else []  # in the second task, its step sizes smaller, tested once

    run_pack(what, report, stream=Noisy, commit_seconds=0)
    whole = run(trials)
    assert seen[-1].statuses == ["done", "censored", "done"] and seen[-1].ended == [3, 1, 3]

    def others(snapshots: list[Snapshot]) -> list[tuple[Any, ...]]:
        found = []
        for r in (snapshot.rows for snapshot in snapshots):
            for i in range(len(r.value)):
                if r.member[i] != 1:
                    found.append((r.names[r.metric[i]], int(r.member[i]), int(r.task[i]), float(r.value[i])))
        return sorted(found)

    assert others(seen) == others(whole)
    kept = weights(seen)
    assert kept and all(weights(whole)[name] == value for name, value in kept.items())
    assert {name for name in kept if name.startswith("t1")} == {"t1-task00001.pt"}
    checkpoint = next(snapshot.checkpoint for snapshot in seen if snapshot.step > 12 + 9)
    again = run(trials, checkpoint)
    assert again[-1].statuses == seen[-1].statuses and set(others(again)) <= set(others(seen))


# ------------------------------------------------------------------------------------------------ one look at a time


def linear(given: dict[str, Tensor], x: Tensor) -> tuple[Tensor, list[Any]]:
    return x @ given["weight"].T + given["shift"], []


class Fixed(TaskStream):
    """Held-out examples that are handed in."""

    def __init__(self, test: Any, validation: Any = None, reloads: bool = True) -> None:
        super().__init__(starts=np.array([0, 1]), batch=1, boundaries="shown")
        self._test, self._validation, self.reloads = test, validation, reloads

    def examples(self, task: int, first: int, count: int) -> Any:
        raise NotImplementedError

    def test(self, task: int) -> Any:
        return self._test

    def validation(self, task: int) -> Any:
        return self._validation


def held_out(streams: list[Any], which: list[int], loss: str = "cross_entropy") -> HeldOut:
    learner: Any = SimpleNamespace(
        loss=LOSSES[loss], network=SimpleNamespace(apply=linear), smoothing=[], shown=lambda x, state, hyper: x
    )
    return HeldOut(learner, streams, torch.tensor(which), torch.from_numpy, {})


def tree(weight: Tensor, shift: Tensor, momentum: float = 0.0) -> Tree:
    """An engine's state with members' weights (P, 2, 1) and, as a buffer, shifts (P, 2)."""
    return {
        "params": {"weight": weight},
        "state": {
            "buffers": {"shift": shift},
            "optimizer": {"momentum": {"weight": torch.full_like(weight, momentum)}},
        },
        "loss": torch.zeros(len(weight)),
        "correct": torch.zeros(len(weight)),
    }


@pytest.mark.parametrize("count", [1, 499, 500, 501, 1203])
def test_accuracy_is_the_share_of_hits_on_a_members_own_stream(count: int) -> None:
    generator = np.random.default_rng(0)
    tests = [(generator.normal(size=(count, 1)), generator.integers(0, 2, count)) for _ in range(2)]
    which = [1, 0, 1]
    weight = torch.from_numpy(generator.normal(size=(3, 2, 1)))
    shift = torch.from_numpy(generator.normal(size=(3, 2)))
    found = held_out([Fixed(t) for t in tests], which).tested(tree(weight, shift), 0)
    for member, number in enumerate(which):
        x, y = tests[number]
        hits = 0
        for example, label in zip(x[:, 0], y, strict=True):
            scores = [weight[member, c, 0].item() * example + shift[member, c].item() for c in range(2)]
            hits += scores.index(max(scores)) == label
        assert found[member].item() == hits / count


def test_classes_not_seen_yet_are_never_named() -> None:
    """Class 1 has the largest output; where class 0 alone has come so far, that is named. One example of each class."""
    given = tree(torch.tensor([[[1.0], [2.0]]]).double(), torch.zeros(1, 2).double())
    for label, seen, hit in ((0, 1, 1.0), (1, 1, 0.0), (0, 2, 0.0), (1, 2, 1.0)):
        examples = (np.ones((1, 1)), np.array([[label, seen]]))
        found = held_out([Fixed(examples)], [0], "cross_entropy_of_seen")
        assert found.tested(given, 0).tolist() == [hit]


def with_accuracy(quarters: int) -> tuple[Tensor, Tensor]:
    """Weight (2, 1) and shift (2,) of a network that names class 1 above a threshold, right in so many of 4 cases.

    The cases are x = 1, 2, 3, 4, all of class 1.
    """
    threshold = 4.5 - quarters
    return torch.tensor([[0.0], [1.0]], dtype=torch.float64), torch.tensor([threshold, 0.0], dtype=torch.float64)


def look(held: HeldOut, quarters: list[int], mark: float) -> Tree:
    """Members with these validation accuracies; `mark` is added to class 0's and class 1's outputs alike."""
    made = [with_accuracy(q) for q in quarters]
    weight, shift = torch.stack([w for w, _ in made]), torch.stack([s for _, s in made])
    given = tree(weight + mark, shift, momentum=mark)
    held.look(given, 0)
    return given


CASES = (np.arange(1.0, 5.0)[:, None], np.ones(4, np.int64))


def test_the_first_best_of_every_member_is_chosen_with_its_buffers_and_nothing_else_is_rewound() -> None:
    """Validation in quarters: member 0 has 2 3 3 1, member 1 has 1 0 2 4, member 2 has 0 0 0 0."""
    held = held_out([Fixed(CASES, CASES)], [0, 0, 0])
    looks = [look(held, q, mark) for mark, q in enumerate([[2, 1, 0], [3, 0, 0], [3, 2, 0], [1, 4, 0]], start=1)]
    assert held.validated.tolist() == [0.75, 1.0, 0.0]
    now = looks[-1]
    found = held.reloaded(now)
    for member, best in enumerate([1, 3, 0]):
        assert torch.equal(found["params"]["weight"][member], looks[best]["params"]["weight"][member])
        shift = looks[best]["state"]["buffers"]["shift"][member]
        assert torch.equal(found["state"]["buffers"]["shift"][member], shift)
    assert torch.equal(found["state"]["optimizer"]["momentum"]["weight"], torch.full((3, 2, 1), 4.0).double())
    assert found["loss"] is now["loss"]
    # The test accuracies are those seen, not those of what is reloaded.
    assert held.last.tolist() == [0.25, 1.0, 0.0] and held.best.tolist() == [0.75, 1.0, 0.0]
    held.begin_task()
    assert held.reloaded(now) is now


def test_what_was_chosen_does_not_change_with_the_networks() -> None:
    """An engine may go on in the tensors it has given."""
    held = held_out([Fixed(CASES, CASES)], [0])
    given = look(held, [3], 0.0)
    before = {name: value.clone() for name, value in evaluated(given).items()}
    given["params"]["weight"] += 1
    given["state"]["buffers"]["shift"] += 1
    found = held.reloaded(given)
    assert torch.equal(found["params"]["weight"], before["weight"])
    assert torch.equal(found["state"]["buffers"]["shift"], before["shift"])


def test_a_network_that_diverged_is_not_chosen_over_one_that_had_not() -> None:
    held = held_out([Fixed(CASES, CASES)], [0, 0])
    first = look(held, [2, 2], 0.0)
    gone = tree(torch.full((2, 2, 1), torch.nan).double(), torch.zeros(2, 2).double())
    held.look(gone, 0)
    assert held.validated.tolist() == [0.5, 0.5]
    assert torch.equal(held.reloaded(gone)["params"]["weight"], first["params"]["weight"])


def test_without_reloading_nothing_is_validated() -> None:
    held = held_out([Fixed(CASES, None, reloads=False)], [0])
    given = look(held, [3], 0.0)
    assert held.chosen == {} and held.reloaded(given) is given
    assert held.last.tolist() == held.best.tolist() == [0.75]


def test_its_state_reads_back() -> None:
    held, other = (held_out([Fixed(CASES, CASES)], [0, 0]) for _ in range(2))
    look(held, [2, 3], 1.0)
    other.load(mapped(torch.clone, held.state()))
    for each in (held, other):
        look(each, [3, 1], 2.0)
    assert torch.equal(held.validated, other.validated) and torch.equal(held.best, other.best)
    assert all(torch.equal(held.chosen[name], other.chosen[name]) for name in held.chosen)


# ------------------------------------------------------------------------------------------------ in a pack


def by_hand(seed: int, at: int, examples: tuple[Any, Any]) -> NDArray[Any]:
    """Whether a perceptron that has learned nothing names each example's class."""
    stream = Noisy(seed)
    params = {k: v.float().numpy() for k, v in network_of(config(seed), stream).init(seed, at).items()}
    hidden = np.maximum(examples[0] @ params["layers.0.weight"].T + params["layers.0.bias"], 0)
    output = hidden @ params["layers.1.weight"].T + params["layers.1.bias"]
    hits: NDArray[Any] = output.argmax(-1) == examples[1]
    return hits


def test_without_learning_the_gap_is_that_of_two_initial_networks() -> None:
    """At step size 0, of test accuracies, and of online ones where nothing is held out; every second task."""
    still = {"name": "sgd", "step_size": 0.0, "momentum": 0.9}
    for make in (Noisy, Untested):
        found = table(run([config(seed, optimizer=still) for seed in (3, 4)], make=make))
        assert sorted({task for name, _, task in found if name == "plasticity_gap"}) == [0, 2]
        gaps = []
        for member, seed in enumerate((3, 4)):
            stream = make(seed)
            for task in (0, 2):
                examples = stream.test(task) if stream.tested else stream.examples(task, 0, STEPS[task] * BATCH)
                aged, fresh = by_hand(seed, 0, examples).mean(), by_hand(seed, task + 1, examples).mean()
                gaps.append(found["plasticity_gap", member, task])
                assert gaps[-1] == pytest.approx(aged - fresh, abs=1e-6)
        assert len(set(gaps)) > 1


def test_a_member_that_diverges_is_marked_and_is_its_own_affair() -> None:
    """It leaves in the task it diverged in, though its first weights of that task would still have been good."""
    wild = {"name": "sgd", "step_size": 1e25, "momentum": 0.9}
    for changes in ({}, RESNET):
        calm = run([config(seed, **changes) for seed in (3, 4, 5)])
        mixed = run([config(3, **changes), config(4, **{**changes, "optimizer": wild}), config(5, **changes)])
        assert mixed[-1].statuses == ["done", "diverged", "done"] and mixed[-1].ended == [3, 0, 3]
        others = {key: value for key, value in table(mixed).items() if key[1] != 1}
        assert others == {key: value for key, value in table(calm).items() if key[1] != 1}
        kept, expected = (
            {name: value for name, value in weights(snapshots).items() if not name.startswith("t1")}
            for snapshots in (mixed, calm)
        )
        assert kept == expected


def test_only_what_is_asked_for_is_reported() -> None:
    found = table(run([config(3, metrics=["test_accuracy_max"])]))
    assert set(found) == {("test_accuracy_max", 0, task) for task in range(3)}


def test_diagnostics_of_batch_norm_are_those_of_evaluation_whatever_else_is_asked_for() -> None:
    alone = table(run([config(3, **RESNET, metrics=["dormant_fraction", "stable_rank"])]))
    beside = table(run([config(3, **RESNET, metrics=["dormant_fraction", "gradient_norm", "stable_rank"])]))
    assert any(name == "gradient_norm" for name, _, _ in beside)
    assert alone == {key: value for key, value in beside.items() if key[0] != "gradient_norm"}
