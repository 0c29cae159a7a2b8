"""Packs: resuming to the same bits, divergence, diagnostics, what can be handed in, and what is reported when."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import compilers
import configs
import numpy as np
import pytest
import torch
from scipy import stats
from torch.utils import _pytree as pytree

from workloads.diagnostics import DIAGNOSTICS
from workloads.engine import compiling
from workloads.errors import CheckpointError, InputError
from workloads.methods.config import METHODS
from workloads.paths import Paths
from workloads.streams.permuted_mnist import PermutedMNIST, PermutedMNISTConfig
from workloads.training import feed, loop, probes
from workloads.training.assembled import network_of, stream_of
from workloads.training.loop import Training, run_pack
from workloads.training.pack import Pack, PackMember, Snapshot

Config = dict[str, Any]


def config(seed: int = 0, **changes: Any) -> Config:
    """A small regression trial; `changes` replace whole parts."""
    workload = {"name": "slowly_changing_regression", "tasks": 3, "period": 40}
    return configs.small(seed, **{"workload": workload, "every": 2, "probe": 16, **changes})


CBP = {"continual_backprop": {"replacement_rate": 0.05, "maturity_threshold": 5}}


def pack(configs: list[Config], path: str = "looped", id: str = "p") -> Pack:
    """A pack of these trials, named by their position."""
    return Pack(id=id, members=[PackMember(f"t{i}", c) for i, c in enumerate(configs)], path=path)


def run(what: Pack, resume: bytes | None = None, **options: Any) -> list[Snapshot]:
    """All snapshots of a run."""
    seen: list[Snapshot] = []
    run_pack(what, seen.append, resume, **options)
    return seen


def table(snapshots: list[Snapshot]) -> list[tuple[Any, ...]]:
    """All rows, as (metric, member, task, step, value), sorted."""
    rows = []
    for snapshot in snapshots:
        r = snapshot.rows
        for i in range(len(r.value)):
            rows.append((r.names[r.metric[i]], int(r.member[i]), int(r.task[i]), int(r.step[i]), float(r.value[i])))
    return sorted(rows)


def content(snapshot: Snapshot) -> list[tuple[str, Any]]:
    """What a checkpoint holds, tensors as their bytes."""
    held = torch.load(io.BytesIO(snapshot.checkpoint or b""), weights_only=True)
    leaves = pytree.tree_flatten_with_path(held)[0]
    return [(str(path), v.numpy().tobytes() if isinstance(v, torch.Tensor) else v) for path, v in leaves]


class Altered:
    """A trial's stream, with batches of its own."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Spoilt(Altered):
    """The trial's stream, with a NaN at step 60, which is in the second task."""

    def batches(self, start: int, count: int) -> tuple[Any, Any]:
        x, y = self.inner.batches(start, count)
        y = y.copy()
        y[(np.arange(start, start + count) == 60)] = np.nan
        return x, y


@pytest.mark.parametrize(
    "path", ["looped", "lifted", "lanes", "online", pytest.param("compiled", marks=pytest.mark.slow)]
)
def test_resuming_from_any_commit_gives_the_same_bits(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if path == "lifted":  # every resumed pack would compile anew: that variant is among the slow ones
        monkeypatch.setattr(compiling, "compiled_program", lambda function, arguments, small: function)
    monkeypatch.setattr(loop, "COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(feed, "CHUNK_STEPS", 15)
    metrics = ["effective_rank", "gradient_norm", "online_error"]
    optimizer = {"name": "adam", "step_size": 0.01}
    what = pack(
        [config(s, methods=CBP, optimizer=optimizer, metrics=metrics, keep="final") for s in range(3)],
        "lifted" if path == "compiled" else path,
    )
    whole = run(what)
    assert len(whole) > 6 and whole[-1].checkpoint is None
    last = torch.load(io.BytesIO(whole[-2].checkpoint or b""), weights_only=True)["engine"]
    assert set(last["state"]["continual_backprop"]) == {"utility", "mean", "age", "counter", "due"}
    compilers.once(monkeypatch)  # anew, and then the same for all that are resumed
    for position, snapshot in enumerate(whole[:-1]):
        again = run(what, snapshot.checkpoint)
        assert table(whole[: position + 1]) + table(again) != [] and sorted(
            table(whole[: position + 1]) + table(again)
        ) == table(whole)
        assert again[-1].weights == whole[-1].weights
        if len(again) > 1:
            # Weights, optimizer state, utilities, ages and counters, bit by bit.
            assert content(again[-2]) == content(whole[-2])


def test_a_description_keeps_the_order_of_the_users_files() -> None:
    """Methods of several files act in that order; an older description holds a mapping."""
    what = Pack(id="p", members=[], code={"zebra.py": "z = 1", "ant.py": "a = 1"})
    assert list(Pack.from_json(what.to_json()).code) == ["zebra.py", "ant.py"]
    older = {**json.loads(what.to_json()), "code": {"ant.py": "a = 1"}}
    assert Pack.from_json(json.dumps(older)).code == {"ant.py": "a = 1"}


def test_resuming_keeps_who_diverged_and_what_tasks_begin_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(feed, "CHUNK_STEPS", 15)
    settings: Config = {
        "workload": {"name": "slowly_changing_regression", "tasks": 3, "period": 40, "task_boundaries": "shown"},
        "methods": {"shrink_and_perturb": {"perturb_scale": 0.1, "when": "task"}},
        "metrics": ["dormant_fraction", "online_error"],
        "every": 1,
        "keep": {"every": 1},
    }
    trials = [config(seed, **settings) for seed in range(3)]

    def make(seed: int) -> Any:
        stream = stream_of(trials[seed], seed)
        return Spoilt(stream) if seed == 1 else stream

    whole = run(pack(trials), stream=make)
    assert whole[-1].statuses == ["done", "diverged", "done"] and whole[-1].ended == [3, 1, 3]

    def kept(snapshots: list[Snapshot]) -> dict[str, bytes]:
        return {name: value for snapshot in snapshots for name, value in snapshot.weights.items()}

    for position, snapshot in enumerate(whole[:-1]):
        again = run(pack(trials), snapshot.checkpoint, stream=make)
        assert sorted(table(whole[: position + 1]) + table(again)) == table(whole)
        assert (again[-1].statuses, again[-1].ended) == (whole[-1].statuses, whole[-1].ended)
        assert kept(whole[: position + 1]) | kept(again) == kept(whole)


@pytest.mark.parametrize("path", ["looped", "lifted", "lanes", "online"])
def test_the_size_of_chunks_changes_no_bit(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "compiled_program", lambda function, arguments, small: function)
    what = pack([config(s, methods=CBP, dtype="float64", keep="final") for s in range(3)], path)
    whole = run(what)
    monkeypatch.setattr(feed, "CHUNK_STEPS", 7)
    cut = run(what)
    assert table(cut) == table(whole) and cut[-1].weights == whole[-1].weights


class AsNumbers(PermutedMNIST):
    """The same stream, which offers no pictures since its examples are its own."""

    def examples(self, task: int, first: int, count: int) -> tuple[Any, Any]:
        return super().examples(task, first, count)


@pytest.mark.parametrize("batch", [1, 4])
def test_online_has_the_same_bits_from_pictures_and_from_numbers(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "CHUNK_STEPS", 15)  # some of the steps in which two tasks mix come alone, some do not
    workload = {"name": "permuted_mnist", "dataset": "digits", "tasks": 3, "examples_per_task": 200, "batch": batch}
    workload |= {"gradual": 40 // batch, "scale": "unit" if batch > 1 else "symmetric"}
    fields = {name: value for name, value in workload.items() if name != "name"}
    trials = [config(s, workload=workload, methods=CBP, metrics=["online_accuracy"], keep="final") for s in (0, 1, 1)]

    def numbered(seed: int) -> AsNumbers:
        return AsNumbers(PermutedMNISTConfig(**fields), seed)

    def form(made: Training) -> str:
        return made.feed.examples(made.engine, 0, 1)[0]

    assert form(Training(pack(trials, "online"))) == "advance_pictures"
    assert form(Training(pack(trials, "online"), stream=numbered)) == "advance"
    pictures, numbers = run(pack(trials, "online")), run(pack(trials, "online"), stream=numbered)
    assert table(pictures) == table(numbers) and pictures[-1].weights == numbers[-1].weights


@pytest.mark.parametrize("pixels", [np.arange(20), np.zeros(64), np.arange(65)], ids=["crop", "repeated", "more"])
def test_pictures_whose_pixels_are_no_order_of_all_train_as_numbers(pixels: Any) -> None:
    class Chosen(PermutedMNIST):
        def pictures(self, start: int, count: int) -> Any:
            found = super().pictures(start, count)
            return found and replace(found, pixels=pixels.astype(np.int32))

    fields = {"dataset": "digits", "tasks": 3, "examples_per_task": 200}
    trials = [config(0, workload={"name": "permuted_mnist", **fields}, metrics=["online_accuracy"])]
    made = Training(pack(trials, "online"), stream=lambda seed: Chosen(PermutedMNISTConfig(**fields), seed))
    assert made.stream.pictures(0, 1) is not None and made.feed.pictures(0, 1) is None  # type: ignore[attr-defined]


def test_diagnostics_are_the_same_however_few_members_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = sorted(DIAGNOSTICS)
    what = pack([config(s, metrics=metrics, dtype="float64") for s in (4, 4, 5)])
    whole = table(run(what))
    monkeypatch.setattr(probes, "CHUNK_BYTES", 1000)  # the probe of one member is 16 x 24 numbers of 8 bytes
    for a, b in zip(whole, table(run(what)), strict=True):
        assert a[:4] == b[:4] and a[4] == pytest.approx(b[4], rel=1e-10)


def test_a_checkpoint_of_another_pack_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "COMMIT_SECONDS", 0.0)
    first = run(pack([config()], id="one"))[0]
    with pytest.raises(CheckpointError, match="belongs to pack one, not to two"):
        run(pack([config()], id="two"), first.checkpoint)


@pytest.mark.parametrize("path", ["looped", "lifted", "lanes", "online"])
def test_a_diverging_member_is_marked_at_its_task_and_touches_no_other(path: str) -> None:
    metrics = ["online_error", "weight_magnitude"]
    calm = run(pack([config(s, metrics=metrics, every=1) for s in (0, 1, 2)], path))
    wild_step = {"name": "sgd", "step_size": 1e6}
    mixed = run(
        pack(
            [config(0, metrics=metrics, every=1), config(1, metrics=metrics, every=1, optimizer=wild_step)]
            + [config(2, metrics=metrics, every=1)],
            path,
        )
    )
    assert mixed[-1].statuses == ["done", "diverged", "done"] and mixed[-1].ended == [3, 0, 3]
    others = [row for row in table(mixed) if row[1] != 1]
    assert others == [row for row in table(calm) if row[1] != 1]
    # Measured before its first step, and nothing after it diverged.
    assert [(name, task) for name, member, task, _, _ in table(mixed) if member == 1] == [("weight_magnitude", 0)]


@pytest.mark.parametrize("path", ["lifted", "lanes", "online"])
def test_a_nan_in_one_members_stream_is_its_own_affair(path: str) -> None:
    def make(seed: int) -> Any:
        stream = stream_of(config(seed), seed)
        return Spoilt(stream) if seed == 1 else stream

    spoilt = run(pack([config(0), config(1)], path), stream=make)
    whole = run(pack([config(0), config(1)], path))
    assert spoilt[-1].statuses == ["done", "diverged"] and spoilt[-1].ended == [3, 1]
    assert [r for r in table(spoilt) if r[1] == 0] == [r for r in table(whole) if r[1] == 0]
    assert [r[2] for r in table(spoilt) if r[1] == 1] == [0]


def test_weights_and_streams_can_be_handed_in() -> None:
    params = {
        "layers.0.weight": torch.zeros(4, 20, dtype=torch.float64),
        "layers.0.bias": torch.zeros(4, dtype=torch.float64),
        "layers.1.weight": torch.zeros(1, 4, dtype=torch.float64),
        "layers.1.bias": torch.zeros(1, dtype=torch.float64),
    }

    class Constant(Altered):
        """Always the same example, y = 2."""

        def batches(self, start: int, count: int) -> tuple[Any, Any]:
            return np.ones((count, 1, 20), np.float32), np.full((count, 1, 1), 2.0, np.float32)

    still = config(optimizer={"name": "sgd", "step_size": 0.0})
    seen = run(pack([still]), initial=lambda seed: params, stream=lambda seed: Constant(stream_of(still, seed)))
    assert [row[4] for row in table(seen)] == [4.0, 4.0, 4.0]  # the output is 0, the error its square distance to 2


@pytest.mark.parametrize("path", ["plain", "looped", "lifted", "lanes", "online"])
def test_float64_works_on_every_path_and_agrees(path: str) -> None:
    metrics = ["online_error", "stable_rank"]
    one = run(pack([config(dtype="float64", metrics=metrics)], path))
    other = run(pack([config(metrics=metrics)], "looped"), dtype=torch.float64)
    for a, b in zip(table(one), table(other), strict=True):
        assert a[:4] == b[:4] and a[4] == pytest.approx(b[4], rel=1e-10)


def test_plain_is_for_one_network_and_paths_have_names() -> None:
    with pytest.raises(InputError, match="trains one network, this pack has 2"):
        run(pack([config(0), config(1)], "plain"))
    with pytest.raises(InputError, match="did you mean 'lifted'"):
        run(pack([config()], "liftd"))


def test_diagnostics_come_at_their_tasks_and_are_those_of_the_network() -> None:
    every = set(DIAGNOSTICS) - {
        "unit_age",
        "revived_fraction",
    }  # of methods that keep ages, of networks with killed units
    metrics = sorted([*every, "online_error"])
    still = {"name": "sgd", "step_size": 0.0}
    long = {"name": "slowly_changing_regression", "tasks": 6, "period": 20}
    trial = config(5, metrics=metrics, optimizer=still, workload=long, every=3)
    rows = table(run(pack([trial, {**trial, "seed": 6}], "lifted")))
    for name in every:
        assert [(task, step) for n, m, task, step, _ in rows if n == name and m == 0] == [(0, 0), (3, 60), (5, 100)]
    assert [task for n, m, task, _, _ in rows if n == "online_error" and m == 0] == [0, 1, 2, 3, 4, 5]
    # By hand, for the second member's first measurement.
    stream = stream_of(trial, 6)
    network = network_of(trial, stream)
    params = {k: v.float() for k, v in network.init(6).items()}
    x, y = (torch.from_numpy(v) for v in stream.probe(0, 16))
    hidden = torch.relu(x @ params["layers.0.weight"].T + params["layers.0.bias"])
    value = {name: v for name, m, task, _, v in rows if m == 1 and task == 0}
    assert value["dead_fraction"] == pytest.approx((hidden == 0).all(0).double().mean().item())
    sigma = torch.linalg.svdvals(hidden.double())
    share = sigma / sigma.sum()
    assert value["effective_rank"] == pytest.approx(torch.exp(-torch.xlogy(share, share).sum()).item(), rel=1e-5)
    sizes = [params["layers.0.weight"], params["layers.1.weight"]]
    total = sum(w.abs().sum().item() for w in sizes) / sum(w.numel() for w in sizes)
    assert value["weight_magnitude"] == pytest.approx(total, rel=1e-6)
    for p in params.values():
        p.requires_grad_()
    hidden = torch.relu(x @ params["layers.0.weight"].T + params["layers.0.bias"])
    loss = ((hidden @ params["layers.1.weight"].T + params["layers.1.bias"] - y) ** 2).mean()
    grads = torch.autograd.grad(loss, list(params.values()))
    assert value["gradient_norm"] == pytest.approx(sum((g**2).sum() for g in grads).sqrt().item(), rel=1e-5)


def test_task_wise_methods_act_as_tasks_begin_and_only_where_tasks_are_shown() -> None:
    still = {"name": "sgd", "step_size": 0.0}
    perturb = {"shrink_and_perturb": {"strength": 0.0, "perturb_scale": 0.1, "when": "task"}}

    def magnitudes(boundaries: str) -> list[float]:
        shown = {"name": "slowly_changing_regression", "tasks": 4, "period": 20, "task_boundaries": boundaries}
        trial = config(workload=shown, methods=perturb, optimizer=still, metrics=["weight_magnitude"], every=1)
        return [row[4] for row in table(run(pack([trial], "lifted")))]

    # Looked at as the last task left it: the first two times nothing has perturbed it yet.
    first, second, *perturbed = magnitudes("shown")
    assert first == second and len({first, *perturbed}) == 3
    assert len(set(magnitudes("hidden"))) == 1


def test_tf32_is_float32_on_a_cpu() -> None:
    assert table(run(pack([config(dtype="tf32")], "lifted"))) == table(run(pack([config()], "lifted")))


def test_weights_are_kept_as_asked() -> None:
    kept = run(pack([config(keep={"every": 2}), config(1, keep={"every": 2})]))[-1].weights
    assert sorted(kept) == ["t0-final.pt", "t0-task00002.pt", "t1-final.pt", "t1-task00002.pt"]
    held = torch.load(io.BytesIO(kept["t1-final.pt"]), weights_only=True)
    assert held["params"]["layers.0.weight"].shape == (4, 20)
    assert json.loads(held["config"])["seed"] == 1
    assert run(pack([config(keep="final")]))[-1].weights.keys() == {"t0-final.pt"}


def test_seeds_are_paired_across_arms() -> None:
    metrics = ["online_error", "weight_magnitude"]
    adam = {"name": "adam", "step_size": 0.001}
    first = table(run(pack([config(4, metrics=metrics)])))
    second = table(run(pack([config(4, metrics=metrics, optimizer=adam)])))
    start = [row for row in first if row[:3] == ("weight_magnitude", 0, 0)]
    assert start and start == [row for row in second if row[:3] == ("weight_magnitude", 0, 0)]


def test_a_packs_description_reads_back() -> None:
    what = pack([config(0), config(1)], "lifted")
    assert Pack.from_json(what.to_json()) == Pack.from_json(Pack.from_json(what.to_json()).to_json())
    assert Pack.from_json(what.to_json()).members[1].config == what.members[1].config


@pytest.mark.slow
def test_paths_agree_in_distribution_over_a_long_run() -> None:
    # 100 seeds, float32: rounding grows into different trajectories, whose late errors must have one distribution.
    problem = {"name": "slowly_changing_regression", "tasks": 20, "period": 40, "flip": "all"}
    trials = [config(seed, workload=problem, methods=CBP) for seed in range(100)]

    def late(path: str, dtype: torch.dtype) -> list[float]:
        rows = table(run(pack(trials, path), dtype=dtype))
        return [float(np.mean([v for _, m, task, _, v in rows if m == i and task >= 15])) for i in range(100)]

    with pytest.MonkeyPatch.context() as patch:  # the plain functions themselves, of all members at once
        patch.setattr(compiling, "compiled_program", lambda function, arguments, small: function)
        exact = late("lifted", torch.float64)
    for path in ("lifted", "lanes", "online"):
        assert stats.ks_2samp(late(path, torch.float32), exact).pvalue > 0.001, path


@pytest.mark.parametrize("path", ["looped", "lifted", "lanes", "online"])
def test_units_replaced_in_each_task_are_counted_and_a_resumed_pack_goes_on_counting(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path == "lifted":
        monkeypatch.setattr(compiling, "compiled_program", lambda function, arguments, small: function)
    monkeypatch.setattr(loop, "COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(feed, "CHUNK_STEPS", 15)
    # Every unit older than 9 steps, at once: 4 units at steps 10, 20, 30, 40 of each task of 40.
    settings = {"replacement_rate": 1.0, "maturity_threshold": 9}
    methods = {"continual_backprop": {**settings, "preset": "paper"}}
    what = pack([config(s, methods=methods, metrics=["units_replaced"]) for s in range(2)], path)
    whole = run(what)
    expected = [("units_replaced", i, task, 40 * (task + 1), 16.0) for i in range(2) for task in range(3)]
    assert table(whole) == expected
    middle = next(snapshot for snapshot in whole if snapshot.step == 70)  # 30 steps into the second task
    assert [row for row in table(run(what, middle.checkpoint)) if row[2] == 1] == expected[1::3]


@pytest.mark.parametrize("path", ["looped", "lanes", "online"])
def test_ages_of_units_are_the_steps_since_they_were_made(path: str) -> None:
    """Every unit older than 11 steps, at once: at steps 12, 24, 36, 48, ...; tasks begin at steps 0, 40 and 80."""
    methods = {"continual_backprop": {"preset": "paper", "replacement_rate": 1.0, "maturity_threshold": 11}}
    what = pack([config(0, methods=methods, metrics=["unit_age"], every=1)], path)
    found = {(name, task): value for name, _, task, _, value in table(run(what))}
    for task, age in enumerate([0.0, 4.0, 8.0]):
        assert found["unit_age", task] == age
        assert [found[f"unit_age/1/{decile}", task] for decile in range(11)] == [age] * 11
    without = pack([config(0, metrics=["unit_age"])], path)
    assert not [row for row in table(run(without)) if row[0].startswith("unit_age")]


class Dark(Spoilt):
    """The trial's stream in the dark: every input is 0."""

    def batches(self, start: int, count: int) -> tuple[Any, Any]:
        x, y = self.inner.batches(start, count)
        return np.zeros_like(x), y


def test_what_a_reading_drew_of_lazy_noise_is_what_training_goes_on_from() -> None:
    methods = {"shrink_and_perturb": {"strength": 0.0, "perturb_scale": 0.01}}
    network = {"name": "mlp", "width": 300, "depth": 1}
    settings = config(methods=methods, network=network, optimizer={"name": "sgd", "step_size": 0.0}, every=1)

    def readings(*, looks: int) -> list[torch.Tensor]:
        training = Training(pack([settings], "online"), stream=lambda seed: Dark(stream_of(settings, seed)))
        training.begin()
        seen = [training.engine.state()["params"]["layers.0.weight"]]
        for task in range(3):
            training.begin_task(task)
            for _ in range(looks):  # as for checkpoints
                training.train(training.step + 40 // looks)
                training.engine.state()
            training.end_task(task)
            seen.append(training.engine.state()["params"]["layers.0.weight"])
        return seen

    found = readings(looks=1)
    steps = [after - before for before, after in zip(found, found[1:], strict=False)]
    for moved in steps:  # 6,000 weights that slept through 40 steps: 0.01 sqrt(40), to 4 standard errors
        assert moved.std().item() == pytest.approx(0.01 * 40**0.5, rel=4 / (2 * moved.numel()) ** 0.5)
    assert abs((steps[0] * steps[1]).mean() / (steps[0].std() * steps[1].std())) < 4 / steps[0].numel() ** 0.5
    assert all(torch.equal(one, other) for one, other in zip(found, readings(looks=4), strict=True))


def test_a_pack_whose_path_cannot_run_it_after_all_trains_lifted_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.Programs, "compile", lambda self, *_: setattr(self, "compiled", False))
    spec = METHODS["shrink_and_perturb"]  # which draws a number for every weight
    monkeypatch.setitem(METHODS, "shrink_and_perturb", replace(spec, paths=Paths(lanes=True, online=True)))
    own = [
        config(seed, methods={"shrink_and_perturb": {"strength": 1e-3}}, metrics=["plasticity_gap"], fresh_every=1)
        for seed in (0, 1)
    ]
    expected = run(pack(own, "lifted"))
    said = "pack p trains lifted, not online, since its step has"
    with pytest.warns(UserWarning, match=said):
        got = run(pack(own, "online"))
    assert table(got) == table(expected)
