"""Who imports whom, and what is not imported until it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVICES = {"ray", "mlflow", "optuna"}
HEAVY = {*SERVICES, "torch", "pandas", "matplotlib", "sklearn", "scipy"}


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
    assert "ray" not in found or file.parent.name == "cluster"
    assert "mlflow" not in found or file.parent.name == "tracking"
    assert "optuna" not in found or file == ROOT / "sweep" / "search" / "study.py"
    assert "dashboards" not in found or file.parent.name == "cli"
    assert "dashboards" not in imported(file, at_import=True)


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
        "import sweep, sweep.cli.commands",
        "import sys, contextlib, sweep.cli.commands\nsys.argv = ['sweep', '--help']\n"
        "with contextlib.suppress(SystemExit): sweep.cli.commands.main()",
        "import sweep.spec.studies\nsweep.spec.studies.studies()",
        "import sweep.service\nsweep.service.plan('demo', storage='/nonexistent/place', workers=2)",
    ],
    ids=["import", "help", "studies", "plan"],
)
def test_light_things_stay_light(code: str) -> None:
    assert not loaded_by(code) & HEAVY
