"""A working example of each thing that can be of a user's own, which `sweep init` writes: a file to change.

Each says in its docstring how a sweep file uses it, and passes `sweep check` as it stands.
"""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

from sweep.errors import InputError

# Kind -> the file's name unless another is asked for; the kind is the name of the module here.
NAMES = {
    "method": "weight_clipping.py",
    "stream": "turning_line.py",
    "network": "residual_mlp.py",
    "diagnostic": "activation_size.py",
}


def text_of(kind: str, name: str) -> str:
    """The example of a kind as a file called `name`."""
    source = (Path(__file__).parent / f"{kind}.py").read_text(encoding="utf-8")
    return source.replace(NAMES[kind], name)


def use_of(text: str) -> str:
    """How a sweep file uses an example, as its docstring says: the lines that are indented there."""
    said = ast.get_docstring(ast.parse(text)) or ""
    return textwrap.dedent("\n".join(line for line in said.splitlines() if line.startswith("    ")))


def write(kind: str, file: Path) -> str:
    """Write the example of a kind; the lines of a sweep file that uses it. Raises InputError where there is a file."""
    if file.suffix != ".py":
        raise InputError(f"{file}: a Python file is expected, such as {file.with_suffix('.py')}")
    text = text_of(kind, file.name)
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise InputError(f"{file}: is there already, and stays as it is; give another FILE") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from None
    return use_of(text)
