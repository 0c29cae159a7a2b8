"""A user's code is tried when a sweep is planned: a mistake ends with exit code 2 and nothing computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_service import CLIPPING
from tiny import Command, Said, sweep_command

import sweep
from sweep import service
from sweep.errors import InputError
from sweep.examples import diagnostic
from sweep.packing import plan_packs
from sweep.spec.reading import parse
from sweep.trials import expand
from workloads.training.loop import Training
from workloads.training.pack import Pack

SWEEP = """\
# Does clipping keep weights small?
workload: {name: slowly_changing_regression, tasks: 2, period: 60}
network: {width: 4}
seeds: 2
code: [clipping.py]
arms:
  sgd: {optimizer: sgd, step_size: 0.05}
  clipped: {optimizer: sgd, step_size: 0.05, bounded_weights: {bound: [0.5, 1]}}
metrics: [online_error]
figures: []
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "clipped.yaml").write_text(SWEEP)
    (tmp_path / "clipping.py").write_text(CLIPPING)
    return tmp_path / "clipped.yaml"


def broken(file: Path, old: str, new: str) -> None:
    code = file.parent / "clipping.py"
    assert old in code.read_text()
    code.write_text(code.read_text().replace(old, new))


MISTAKES = {
    "another shape": ("return clipped, state", "return {n: v[:1] for n, v in clipped.items()}, state",
                      "clipping.py:22: bounded_weights.after_step returned other shapes than it was given"),
    "one value": ("return clipped, state", "return clipped", "must return (params, state), and returned one dict"),
    "a branch": ("value.ndim == 2", "value.max() > 0", "py:26: bounded_weights.after_step branches on a tensor"),
    "a counter": ("clipped = {}", "clipped = {}; self.steps = vars(self).get('steps', 0) + 1", "changes self.steps"),
    "it raises": ("clipped = {}", "clipped = {}[0]", "clipping.py:23: bounded_weights.after_step raised KeyError: 0"),
    "a hook misspelt": ("def after_step", "def after_stap", "acts names after_step, and the class overrides no hook"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_mistake_is_said_before_anything_is_computed(
    command: Command, file: Path, verb: str, old: str, new: str, said: str
) -> None:
    broken(file, old, new)
    ended = command(verb, file, "--storage", file.parent / "st")
    assert ended.code == 2 and said in ended.err and "Traceback" not in ended.err and not ended.out
    assert not (file.parent / "st").exists()


def test_the_arm_that_is_concerned_is_named(command: Command, file: Path) -> None:
    broken(file, "return clipped, state", "return clipped")
    assert "(arm clipped)" in command("plan", file, "--storage", file.parent / "st").err


def test_what_is_done_is_not_tried_again(command: Command, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr("sweep.spec.checking.check_structure", lambda members: tried.append(members[0].arms[0]))
    arguments = (file, "--storage", file.parent / "st")
    assert command("run", *arguments, "--inline", "--no-track", "--no-figures").code == 0
    assert tried == ["clipped"]
    assert command("plan", *arguments).code == 0 and tried == ["clipped"]


def test_what_code_prints_is_not_the_plan(alone: None, file: Path) -> None:
    broken(file, "clipped = {}", "clipped = {}; print('stepping')")
    code = file.parent / "clipping.py"
    code.write_text("print('loading')\n" + code.read_text())
    said = sweep_command("plan", file, "--storage", file.parent / "st", "--json")
    assert said.code == 0 and json.loads(said.out)["to_run"] == 6
    assert "loading" in said.err and "stepping" not in said.err  # of no trial, and once for each of many steps


# sweep check


README = Path(__file__).parents[3] / "README.md"
EXAMPLE = next(part for part in README.read_text().split("```python\n") if "class BoundedWeights" in part).split("```")[
    0
]


def checked(command: Command, folder: Path, old: str, new: str) -> Said:
    """`sweep check` on the README's example with this changed."""
    assert old in EXAMPLE
    (folder / "mine.py").write_text(EXAMPLE.replace(old, new))
    return command("check", folder / "mine.py")


def test_the_readmes_example_keeps_every_promise(command: Command, tmp_path: Path) -> None:
    said = checked(command, tmp_path, "", "")
    assert said.code == 0 and not said.err, said
    first, *lines, last = said.out.splitlines()
    assert first == "mine.py: method bounded_weights" and last == "every promise is kept"
    assert [line.split()[:2] for line in lines] == [
        ["ok", word] for word in ("first", "paths", "resume", "members", "finite", "path")
    ]
    assert "lanes" in lines[-1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "        bound = ",
            "        self.n = vars(self).get('n', 0) + 1\n        bound = ",
            "changes self.n, which a traced",
        ),
        ('hyper["bound"]', "self.config.bound", "arrives in hyper; self.config holds the first member's"),
        (
            "value.clamp(-bound, bound)",
            "value.clamp(-bound, bound)[:1]",
            "is float64 (1, 20), expected float64 (5, 20)",
        ),
    ],
)
def test_a_broken_example_is_told_what_is_wrong(
    command: Command, tmp_path: Path, old: str, new: str, said: str
) -> None:
    ended = checked(command, tmp_path, old, new)
    assert ended.code == 2 and ended.err == "error: 1 promise of mine.py not kept\n"
    assert ended.out.startswith("mine.py: method bounded_weights\n  WRONG  first steps  mine.py") and said in ended.out


@pytest.mark.slow
def test_a_method_that_diverges_by_default_is_told(command: Command, tmp_path: Path) -> None:
    ended = checked(command, tmp_path, "value.clamp(-bound, bound)", "value * 100")
    assert ended.code == 2 and "WRONG  finite       loss or weights are not finite after 500 steps" in ended.out


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("mine.yaml", "", "a Python file is expected"),
        ("mine.py", "1 / 0", "mine.py:1: ZeroDivisionError"),
        ("mine.py", "x = 1", "defines none of METHODS"),
        ("gone.py", None, "gone.py: cannot be read: No such file"),
    ],
)
def test_what_cannot_be_checked_is_said(
    command: Command, tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    ended = command("check", tmp_path / name)
    assert ended.code == 2 and said in ended.err and not ended.out


STREAM = """\
from workloads.streams.slowly_changing_regression import SlowlyChangingRegression

class Own(SlowlyChangingRegression):
    name = "own"

STREAMS = {"own": Own}
"""
OWN = """\
workload: {name: own, tasks: 2, period: 60}
network: {width: 4}
seeds: 4
code: [own.py]
arms: {sgd: {optimizer: sgd, step_size: [0.05, 0.01]}}
metrics: [online_error]
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("    online_metric = None", "unknown online_metric None; allowed: online_error, online_accuracy"),
        ("    def __init__(self, config, seed): raise SystemExit(3)", "own.py:6: it ends the program (SystemExit: 3)"),
        (
            "    def batches(self, start, count): return super().batches(0, count)",
            "asked one by one are other examples",
        ),
        (
            "    def batches(self, start, count): return [v[0] for v in super().batches(0, count)]",
            "x is float32 (1, 20)",
        ),
    ],
)
def test_a_streams_mistake_is_said(command: Command, tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    (tmp_path / "own.py").write_text(STREAM.replace('    name = "own"\n', f'    name = "own"\n\n{line}\n'))
    ended = command("plan", tmp_path / "own.yaml", "--storage", tmp_path / "st")
    assert ended.code == 2 and said in ended.err and "Traceback" not in ended.err, ended


def test_seeds_whose_tasks_have_other_lengths_have_packs_of_their_own(alone: None, tmp_path: Path) -> None:
    by_seed = '    name = "own"\n\n    def task_start(self, task):\n        return task * (60 + self.seed % 2)\n'
    by_seed += "\n    def task_of(self, step):\n        return step // (60 + self.seed % 2)\n"
    by_seed += (
        "\n    def __init__(self, config, seed):\n        super().__init__(config, seed)\n        self.seed = seed\n"
    )
    (tmp_path / "own.py").write_text(STREAM.replace('    name = "own"\n', by_seed))
    trials = expand(parse(OWN, tmp_path / "own.yaml"))
    packs = plan_packs(trials, workers=1)
    assert sorted({t.config["seed"] for t in pack.trials} == {0, 2} for pack in packs) == [False, True]
    assert sorted(pack.shape.steps for pack in packs) == [120, 122]
    with pytest.raises(InputError, match="the streams of seeds 0, 1, 2, 3 change their tasks at other steps"):
        Training(Pack(id="", members=trials, path="looped"))


def test_a_method_that_replaces_units_is_refused_where_none_are_shown(alone: None, tmp_path: Path) -> None:
    (tmp_path / "hidden.py").write_text(
        "from workloads.networks.mlp import MLP, MLPConfig\n\nclass Hidden(MLP):\n"
        "    Config, semantics = MLPConfig, 1\n\n    def __init__(self, config, inputs, outputs):\n"
        "        super().__init__(config, inputs, outputs)\n        self.layers, self.sites = self.sites, ()\n\n"
        "    def apply(self, params, x):\n        shown, self.sites = self.sites, self.layers\n"
        "        result = super().apply(params, x)\n        self.sites = shown\n        return result\n\n"
        'NETWORKS = {"hidden": Hidden}\n'
    )
    file = tmp_path / "hidden.yaml"
    text = OWN.replace("name: own,", "name: slowly_changing_regression,").replace("own.py", "hidden.py")
    file.write_text(text.replace("{width: 4}", "{name: hidden, width: 4, depth: 1}"))
    assert service.plan(file, storage=str(tmp_path / "st")).missing == 8
    file.write_text(file.read_text().replace("sgd, step", "sgd, continual_backprop: {}, step"))
    with pytest.raises(
        InputError, match="continual_backprop replaces units, and hidden has hidden layers but shows none"
    ):
        service.plan(file, storage=str(tmp_path / "st"))
    file.write_text(file.read_text().replace("depth: 1", "depth: 0"))  # a linear model has none to show
    assert service.plan(file, storage=str(tmp_path / "st")).missing == 8


@pytest.mark.slow
def test_streams_networks_and_optimizers_are_checked_too(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        STREAM + "\nfrom workloads.networks.mlp import MLP, MLPConfig\n\nclass Wide(MLP):\n"
        "    Config, semantics = MLPConfig, 1\n\nfrom workloads.methods.sgd import SGD\n"
        "from workloads.methods.config import SGDConfig\n\nclass Twice(SGD):\n"
        '    Config, varies, semantics = SGDConfig, ("step_size", "weight_decay"), 1\n\n'
        'NETWORKS = {"wide": Wide}\nOPTIMIZERS = {"twice": Twice}\n'
    )
    said = command("check", tmp_path / "mine.py")
    assert said.code == 0, said
    headings = [line for line in said.out.splitlines() if not line.startswith(" ")]
    assert headings[:-1] == [f"mine.py: {what}" for what in ("optimizer twice", "workload own", "network wide")]


ACTING = """\
workload: {name: continual_control, tasks: 1, steps_per_task: 512, rollout: 64, minibatches: 1}
network: {width: 4}
seeds: 2
code: [clipping.py, activation_size.py]
arms: {clipped: {optimizer: sgd, step_size: 0.001, bounded_weights: {bound: [0.5, 1]}}}
metrics: [average_return, activation_size]
"""


def test_what_acts_may_use_methods_and_diagnostics_of_ones_own(alone: None, tmp_path: Path) -> None:
    file, storage = tmp_path / "poles.yaml", str(tmp_path / "st")
    (tmp_path / "clipping.py").write_text(CLIPPING)
    size = Path(diagnostic.__file__).read_text()
    (tmp_path / "activation_size.py").write_text(size)
    file.write_text(ACTING)
    assert service.plan(file, storage=storage).missing == 4
    (tmp_path / "activation_size.py").write_text(size.replace("mean((1, 2))", "mean()"))
    with pytest.raises(InputError, match=r"activation_size.py: activation_size must return"):
        service.plan(file, storage=storage)
    (tmp_path / "activation_size.py").write_text(size)
    broken(file, "return clipped, state", "return clipped")
    with pytest.raises(InputError, match=r"must return \(params, state\), and returned one dict \(arm clipped\)"):
        service.plan(file, storage=storage)


def test_what_acts_shows_or_hides_its_tasks_where_it_is_tried(alone: None, tmp_path: Path) -> None:
    told = CLIPPING.replace(
        "after_step(self, params, state, hyper, seen, draw)", "at_task(self, params, state, hyper, draw)"
    )
    (tmp_path / "clipping.py").write_text(told.replace('"after_step"', '"at_task"'))
    file, storage = tmp_path / "poles.yaml", str(tmp_path / "st")
    file.write_text(ACTING.replace(", activation_size.py", "").replace(", activation_size", ""))
    with pytest.raises(InputError, match="the workload hides that: set workload.task_boundaries to shown"):
        service.plan(file, storage=storage)
    file.write_text(file.read_text().replace("steps_per_task: 512", "steps_per_task: 512, task_boundaries: shown"))
    assert service.plan(file, storage=storage).missing == 4


SHIFT = CLIPPING.replace("bounded_weights", "shifting").replace("BoundedWeights", "Shifting")
SHIFT = SHIFT.replace("value.clamp(-limit, limit) if value.ndim == 2 else value", "value + limit")


def late(file: Path, code: str, storage: Path) -> float:
    """The error of the arm that clips and shifts, with the files listed so, trained as a worker does it."""
    arm = "clipped: {optimizer: sgd, bounded_weights: {bound: 0.1}, shifting: {bound: 0.2}}"
    text = SWEEP[: SWEEP.index("  sgd:")] + f"  {arm}\nmetrics: [online_error]\nfigures: []\n"
    file.write_text(text.replace("[clipping.py]", code).replace("seeds: 2", "seeds: 1"))
    service.execute(service.plan(file, storage=str(storage)), listener=lambda progress: None, inline=True)
    return float(sweep.curves(file.stem, storage=str(storage))["value"].iloc[-1])


def test_methods_of_several_files_act_in_the_order_listed(alone: None, uncompiled: None, file: Path) -> None:
    """They do not commute; what a worker reads is the pack's description in the ledger."""
    (file.parent / "shifting.py").write_text(SHIFT)
    (file.parent / "zebra.py").write_text(CLIPPING)
    clip_first = late(file, "[clipping.py, shifting.py]", file.parent / "a")
    shift_first = late(file, "[shifting.py, clipping.py]", file.parent / "b")
    renamed = late(file, "[zebra.py, shifting.py]", file.parent / "c")
    assert clip_first == renamed != shift_first
