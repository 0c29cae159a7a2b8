"""Who imports whom, and what is not imported until it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVICES = {"ray", "mlflow", "optuna"}
PACKAGES = ("workloads", "sweep", "dashboards")
ROOMS = {"ray": "cluster", "mlflow": "tracking", "optuna": "search", "dashboards": "cli"}  # of sweep/, by library
HEAVY = {*SERVICES, "torch", "gymnasium", "mujoco", "pandas", "matplotlib", "sklearn", "scipy"}


def modules(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


def imported(file: Path, *, at_import: bool = False) -> set[str]:
    """Top-level names of the packages a file imports; `at_import`: when it is imported itself, not in functions."""
    tree = ast.parse(file.read_text())
    return {name.partition(".")[0] for name in names(tree, at_import=at_import)}


def names(node: ast.AST, *, at_import: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield child.module or ""
        elif at_import and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        elif at_import and isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        else:
            yield from names(child, at_import=at_import)


@pytest.mark.parametrize("file", modules("workloads"), ids=lambda file: str(file.relative_to(ROOT)))
def test_workloads_know_no_service(file: Path) -> None:
    assert not imported(file) & (SERVICES | {"sweep", "dashboards"})


@pytest.mark.parametrize("file", modules("sweep"), ids=lambda file: str(file.relative_to(ROOT)))
def test_the_service_imports_each_library_in_one_place(file: Path) -> None:
    found = imported(file)
    for library, room in ROOMS.items():
        assert library not in found or ROOT / "sweep" / room in file.parents
    assert "optuna" not in found or file == ROOT / "sweep" / "search" / "study.py"
    assert "dashboards" not in imported(file, at_import=True)


@pytest.mark.parametrize("file", modules("dashboards"), ids=lambda file: str(file.relative_to(ROOT)))
def test_dashboards_read_results_and_know_no_service(file: Path) -> None:
    assert not imported(file) & SERVICES


# Circles


def module_name(file: Path) -> str:
    """sweep.cluster for sweep/cluster/__init__.py."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def graph() -> dict[str, set[str]]:
    """Module -> those of ours that it imports: anywhere in it, in functions and for types alone too."""
    files = {module_name(file): file for package in PACKAGES for file in modules(package)}
    found: dict[str, set[str]] = {}
    for name, file in files.items():
        asked = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                asked |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                inner = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
                asked |= {full if full in files else str(node.module) for full in inner.values()}
        found[name] = (asked & files.keys()) - {name}
    return found


def circle(imports: Mapping[str, set[str]]) -> list[str]:
    """Modules each of which imports the next, the last the first; empty where there are none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert set(circle({"a": {"b"}, "b": {"c", "d"}, "c": {"b"}, "d": set()})) == {"b", "c"}


def test_no_modules_import_each_other() -> None:
    """Not even for types: what two modules both need to know belongs in a third."""
    imports = graph()
    assert "sweep.service" in imports["sweep.cli.run"] and "sweep.ledger.sweeps" in imports["dashboards.figures"]
    assert circle(imports) == []


def test_the_walk_sees_what_is_imported_where() -> None:
    assert "ray" in imported(ROOT / "sweep" / "cluster" / "execute.py", at_import=True)
    assert "mlflow" in imported(ROOT / "sweep" / "tracking" / "writers.py")
    assert "mlflow" not in imported(ROOT / "sweep" / "tracking" / "writers.py", at_import=True)
    assert "dashboards" in imported(ROOT / "sweep" / "cli" / "drawing.py")


def loaded_by(code: str) -> set[str]:
    """Packages in sys.modules of a fresh process after `code`."""
    show = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import sweep.service\nsweep.service.plan('continual_control', storage='/nonexistent/place', workers=2)",
        "import sweep.service\nsweep.service.plan('slippery_ant', storage='/nonexistent/place', workers=2)",
        "import sweep, sweep.cli.commands",
        "import sys, contextlib, sweep.cli.commands\nsys.argv = ['sweep', '--help']\n"
        "with contextlib.suppress(SystemExit): sweep.cli.commands.main()",
        "import sweep.spec.studies\nsweep.spec.studies.studies()",
        "import sweep.service\nsweep.service.plan('demo', storage='/nonexistent/place', workers=2)",
    ],
    ids=["plan of control", "plan of robots", "import", "help", "studies", "plan"],
)
def test_light_things_stay_light(code: str) -> None:
    assert not loaded_by(code) & HEAVY


def test_what_scripts_import_is_torch_and_nothing_of_the_service() -> None:
    loaded = loaded_by("import workloads.torch_optim")
    assert "torch" in loaded
    assert not loaded & ((HEAVY - {"torch"}) | {"sweep", "dashboards", "pyarrow", "ruamel", "typer", "rich"})


def test_looking_on_loads_nothing_of_mlflow() -> None:
    code = (
        "import contextlib, sweep.cli.watch, sweep.cli.app, sweep.errors\n"
        "ledger = sweep.cli.app.opened('/nonexistent/place')\n"
        "with contextlib.suppress(sweep.errors.InputError): sweep.cli.watch.asked(ledger, None)"
    )
    assert not loaded_by(code) & (HEAVY | {"sqlalchemy"})


@pytest.mark.parametrize(
    "code",
    [
        "import sweep.cli.commands",
        "import sys, contextlib, sweep.cli.commands\nsys.argv = ['sweep', 'watch', '--help']\n"
        "with contextlib.suppress(SystemExit): sweep.cli.commands.main()",
    ],
    ids=["import", "help"],
)
def test_what_commands_there_are_is_said_before_anything_is_loaded(code: str) -> None:
    assert not loaded_by(code) & (HEAVY | {"numpy", "pyarrow", "ruamel"})
