"""A user's code: joins the registries, leaves them as it found them, and is blamed by file and line."""

from __future__ import annotations

import pytest

from workloads.errors import InputError
from workloads.extensions import load_code, owner, place_of, sources_of
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.methods.implementations import IMPLEMENTATIONS
from workloads.networks.config import NETWORKS
from workloads.networks.implementations import IMPLEMENTATIONS as NETWORK_IMPLEMENTATIONS
from workloads.streams import STREAMS

pytestmark = pytest.mark.usefixtures("without_own_code")

HEAD = """
from dataclasses import dataclass
from workloads.diagnostics.base import Diagnostic
from workloads.methods.base import Method
from workloads.networks.base import Network
from workloads.streams.base import EqualTasks
from workloads.streams.slowly_changing_regression import SlowlyChangingRegression

@dataclass(frozen=True, kw_only=True)
class Settings:
    amount: float = 1.0

    def parameters(self, inputs, outputs):
        return inputs * outputs

class Thing(Method):
    Config = Settings
    semantics = 2
    varies = ("amount",)

    def after_step(self, params, state, hyper, seen, draw):
        return params, state

class Stepper(Thing):
    after_step = Method.after_step

    def optimizer(self, params, state, hyper, seen, draw):
        return params, state

class Data(SlowlyChangingRegression):
    Config = Settings
    semantics = 2

class Net(Network):
    Config = Settings
    semantics = 2

    def parameter_shapes(self):
        return {"head": (self.outputs, self.inputs)}

    def apply(self, params, x):
        return x @ params["head"].T, []

"""


def test_entries_join_every_registry_and_leave_again() -> None:
    before = [dict(table) for table in (METHODS, OPTIMIZERS, STREAMS, NETWORKS, IMPLEMENTATIONS)]
    tables = 'METHODS = {"a": Thing}\nOPTIMIZERS = {"b": Stepper}\nSTREAMS = {"c": Data}\nNETWORKS = {"d": Net}\n'
    load_code({"mine.py": HEAD + tables})
    thing = IMPLEMENTATIONS["a"]
    assert (METHODS["a"].varies, METHODS["a"].semantics, METHODS["a"].config.__name__) == (
        ("amount",),
        2,
        "Settings",
    )
    assert OPTIMIZERS["b"].config is METHODS["a"].config
    assert STREAMS["c"].semantics == 2 and NETWORKS["d"].semantics == 2
    load_code({"mine.py": HEAD + tables})
    assert IMPLEMENTATIONS["a"] is thing  # the same files again: nothing is run anew
    load_code({})
    assert [dict(table) for table in (METHODS, OPTIMIZERS, STREAMS, NETWORKS, IMPLEMENTATIONS)] == before


def test_a_class_says_what_planning_goes_by() -> None:
    said = """
class Dear(Thing):
    cost, copies = 1.5, 2

    def products(config):
        return 3 * config.amount

METHODS = {"a": Dear, "b": Thing}
"""
    load_code({"mine.py": HEAD + said})
    dear, untold = METHODS["a"], METHODS["b"]
    config = dear.config(amount=2.0)
    assert (dear.cost, dear.held(config), dear.multiplied(config)) == (1.5, 2, 6)
    assert dear.steps(config, width=10, batch=4) == 1.5 + 6 * 10 / 12
    assert untold.multiplied(config) == 0


def test_a_class_may_name_its_settings_for_a_type_checker() -> None:
    typed = HEAD.replace("(Method):", "(Method[Settings]):").replace("(Network):", "(Network[Settings]):")
    load_code({"mine.py": typed + 'METHODS = {"a": Thing}\nNETWORKS = {"d": Net}\n'})
    assert IMPLEMENTATIONS["a"].acts == {"after_step"} and METHODS["a"].config is NETWORKS["d"].config


def test_changed_files_replace_the_earlier_ones() -> None:
    load_code({"mine.py": HEAD + 'METHODS = {"a": Thing}'})
    load_code({"mine.py": HEAD.replace("semantics = 2", "semantics = 5") + 'METHODS = {"z": Thing}'})
    assert "a" not in METHODS and METHODS["z"].semantics == 5


@pytest.mark.parametrize(
    "source, said",
    [
        (HEAD + 'METHODS = {"l2": Thing}', r"mine.py: METHODS\['l2'\]: the name 'l2' is taken"),
        (HEAD + 'METHODS = {"adam": Thing}', "the name 'adam' is taken"),
        ("x = 1\nraise ValueError('no')\n", "mine.py:2: ValueError: no"),
        ("def f(:\n", "mine.py:1: SyntaxError"),
        (
            "METHODS = {'a': int}\n",
            r"METHODS\['a'\]: lacks Config \(.*\) and semantics \(.*\); must be a subclass of .*Method$",
        ),
        (HEAD + "METHODS = [Thing]", "mine.py: METHODS must be a dict, name -> class"),
        (HEAD + "METHODS = {1: Thing}", "mine.py: METHODS must be a dict, name -> class"),
        (HEAD + "METHODS = {'a': Thing({}, None)}", r"METHODS\['a'\] must be a class, not Thing"),
        (HEAD + "METHODS = {'a': Settings}", r"lacks Config \(.*\) and semantics \(.*\); must be a sub"),
        (
            HEAD + "Settings.semantics = 1\nSettings.Config = Settings\nMETHODS = {'a': Settings}",
            "subclass of .*Method",
        ),
        (HEAD + "Thing.semantics = 1.5\nMETHODS = {'a': Thing}", "semantics must be a whole number from 1 on, not 1.5"),
        ("import sys\nsys.exit(3)\n", r"mine.py:2: it ends the program \(SystemExit: 3\)"),
        ("def stop():\n    raise SystemExit\nstop()", "mine.py:2: it ends the program"),
        (HEAD + "class No(Thing):\n    acts = {'afterstep'}\n", "mine.py:44: No: acts names afterstep, and the class"),
        (HEAD + "class No(Thing):\n    acts = 'after_step'\n", "acts names 'after_step', and the class overrides"),
        (HEAD + "class No(Thing):\n    acts = set()\n", "No: acts names nothing, and the class overrides after_step"),
        (HEAD + "class No(Thing):\n    acts = {'after_step', 'loss'}", "overrides after_step: leave it out"),
        (HEAD + "class No(Method):\n    def repair(self): ...", "No: repair is called beside after_step, which"),
        (HEAD + "METHODS = {'a': Stepper}", "overrides optimizer, which is not asked of METHODS: that is OPTIMIZERS"),
        (HEAD + "OPTIMIZERS = {'a': Thing}", "overrides after_step, which is not asked of OPTIMIZERS: that is METHODS"),
        (
            HEAD + "class No(Method):\n    Config, semantics = Settings, 1\n    def aftr_step(self): ...\n"
            "METHODS = {'a': No}",
            r"would change nothing; it has aftr_step \(did you mean after_step\?\)",
        ),
        (
            HEAD + "STREAMS = {'a': Thing}",
            r"lacks online_metric \(.*\), default_every \(.*\), default_probe \(.*\), "
            r"self.outputs \(.*\), self.batch \(.*\), self.tasks \(.*\), self.boundaries_shown \(.*\), "
            r"task_start\(task\), task_of\(step\), batches\(start, count\) and probe\(task, count\); "
            "a subclass of workloads.streams.base.EqualTasks has most of it$",
        ),
        (
            HEAD + "class No(EqualTasks):\n    def probe(self, task): ...\n    def batches(self, *, start): ...\n"
            "STREAMS = {'a': No}",
            r"lacks Config \(.*\), semantics \(.*\), loss \(squared_error or cross_entropy [^)]*\), "
            r"self.inputs \(.*\), self.outputs \(.*\), __init__\(config, seed\) and examples\(task, first, count\); "
            r"probe\(task\) must take \(task, count\); batches\(start\) must take \(start, count\)$",
        ),
        (
            HEAD + "class No(Network):\n    def __init__(self, config): ...\nNETWORKS = {'a': No}",
            r"lacks Config \(.*\), semantics \(.*\), parameter_shapes\(\) and apply\(params, x\); "
            r"__init__\(config\) must take \(config, inputs, outputs\)$",
        ),
        (HEAD + "DIAGNOSTICS = {'online_loss': Thing}", "the name 'online_loss' is another metric's; choose another"),
        (
            HEAD + "class No(Diagnostic):\n    needs = 'weight'\nDIAGNOSTICS = {'a': No}",
            r"DIAGNOSTICS\['a'\]: lacks semantics \(.*\) and measure\(look\)$",
        ),
        (
            HEAD + "class No(Diagnostic):\n    needs, semantics = ('weight',), 1\n    def measure(self, look): ...\n"
            "DIAGNOSTICS = {'a': No}",
            "needs names weight; it is a tuple of parts of a look: outputs, .*features, .*; has no docstring",
        ),
        (
            HEAD + "Data.loss = 'mse'\nSTREAMS = {'a': Data}",
            "unknown loss 'mse'; allowed: squared_error, cross_entropy",
        ),
        (
            HEAD + "Data.online_metric = 'online_acuracy'\nSTREAMS = {'a': Data}",
            "unknown online_metric 'online_acuracy'; did you mean 'online_accuracy'",
        ),
        (HEAD + "Data.online_metric = 'online_accuracy'\nSTREAMS = {'a': Data}", "online_accuracy needs classes"),
        (
            HEAD + "import numpy\n@dataclass\nclass C:\n    n: object = numpy.float32(1)\n"
            "Thing.Config = C\nThing.varies = ()\nMETHODS = {'a': Thing}",
            r"Config.n = .*float32.*1.0.*, a float32, cannot be part of a trial: JSON holds",
        ),
        (HEAD + "Thing.Config = int\nMETHODS = {'a': Thing}", "Config must be a dataclass"),
        (
            HEAD + "Thing.varies = 'amount'\nMETHODS = {'a': Thing}",
            "varies names amount, .* it is a tuple of their names",
        ),
        (
            HEAD + "Settings.step_sizes = ('amount', 'rest')\nOPTIMIZERS = {'a': Stepper}",
            "Config.step_sizes names rest, not among varies",
        ),
        (
            HEAD + "Settings.follows = {'amount': 'step_size'}\nOPTIMIZERS = {'a': Stepper}",
            "Config.follows names step_size, not among varies",
        ),
        (HEAD + "Thing.varies = ('amont',)\nMETHODS = {'a': Thing}", "varies names amont"),
        (HEAD + "NETWORKS = {'a': Thing}", "must be a subclass of workloads.networks.base.Network$"),
        ("x = 1\n", "defines none of METHODS, OPTIMIZERS, STREAMS, NETWORKS, DIAGNOSTICS"),
    ],
)
def test_a_mistake_is_explained_and_nothing_stays_behind(source: str, said: str) -> None:
    before = [dict(table) for table in (METHODS, OPTIMIZERS, STREAMS, NETWORKS, IMPLEMENTATIONS)]
    with pytest.raises(InputError, match=said):
        load_code({"good.py": HEAD + 'STREAMS = {"fine": Data}', "mine.py": source})
    assert [dict(table) for table in (METHODS, OPTIMIZERS, STREAMS, NETWORKS, IMPLEMENTATIONS)] == before


def test_what_acts_follows_from_what_is_overridden() -> None:
    load_code({"mine.py": HEAD + 'METHODS = {"a": Thing}\nOPTIMIZERS = {"b": Stepper}'})
    assert IMPLEMENTATIONS["a"].acts == {"after_step"} and IMPLEMENTATIONS["b"].acts == {"optimizer"}
    load_code({"mine.py": HEAD + "class Same(Thing):\n    acts = ['after_step']\nMETHODS = {'a': Same}"})
    assert IMPLEMENTATIONS["a"].acts == {"after_step"}


def test_files_are_loaded_in_the_order_listed_and_another_order_is_another_registry() -> None:
    files = {f"{name}.py": HEAD + f'METHODS = {{"{name}": Thing}}' for name in ("zebra", "ant")}
    load_code(files)
    assert list(METHODS)[-2:] == ["zebra", "ant"]
    assert list(sources_of([("METHODS", "ant"), ("METHODS", "zebra"), ("METHODS", "l2")])) == ["zebra.py", "ant.py"]
    assert list(sources_of([("METHODS", "ant")])) == ["ant.py"] and owner("METHODS", "l2") is None
    load_code(dict(reversed(files.items())))
    assert list(METHODS)[-2:] == ["ant", "zebra"] and owner("METHODS", "ant") == "ant.py"


def test_what_a_file_prints_is_not_the_commands_output(capsys: pytest.CaptureFixture[str]) -> None:
    load_code({"mine.py": HEAD + 'print("hello")\nMETHODS = {"a": Thing}'})
    assert capsys.readouterr() == ("", "hello\n")


def test_an_error_is_traced_to_the_users_innermost_line() -> None:
    load_code({"mine.py": HEAD + 'def fails():\n    return 1 / 0\n\nMETHODS = {"a": Thing}\nThing.fails = fails'})
    with pytest.raises(ZeroDivisionError) as raised:
        IMPLEMENTATIONS["a"].fails()  # type: ignore[attr-defined]
    assert place_of(raised.value) == "mine.py:45" and place_of(ValueError()) is None


def test_what_base_classes_give_is_enough() -> None:
    own = (
        HEAD
        + """
class Examples(EqualTasks):
    Config, semantics, loss = Settings, 1, "cross_entropy"

    def __init__(self, config, seed):
        super().__init__(tasks=2, steps_per_task=5, batch=1, boundaries="hidden")
        self.inputs, self.outputs = 3, 2

    def examples(self, task, first, count): ...

class Linear(Net):
    @dataclass(frozen=True)
    class Config:
        pass

STREAMS = {"stream": Examples}
NETWORKS = {"linear": Linear}
"""
    )
    load_code({"mine.py": own})
    kind = STREAMS["stream"]
    assert (kind.name, kind.online_metric, kind.default_every) == ("stream", "online_accuracy", 1)
    network = NETWORK_IMPLEMENTATIONS["linear"](NETWORKS["linear"].config(), 3, 2)
    assert network.weights == ("head",) and network.head == "head" and network.sites == ()
    assert NETWORKS["linear"].config().parameters(3, 2) == 6  # counted, as the class does not say it
    assert float(network.init(0)["head"].abs().max()) <= 3**-0.5  # as torch.nn.Linear draws it
