"""What `sweep init` writes: a sweep file to begin with, or a working example of what else can be of a user's own.

An example says in its docstring how a sweep file uses it, and passes `sweep check` as it stands; a sweep file means a
sweep as it stands.
"""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

from sweep.errors import InputError
from sweep.spec.reading import FULL, PAPER, parse, read_text
from sweep.spec.studies import is_shipped, study_path

# Kind -> the file's name unless another is asked for; the kind is the name of the module here.
NAMES = {
    "method": "bounded_weights.py",
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
    _create(file, text)
    return use_of(text)


def write_sweep(file: Path, like: str | None) -> None:
    """Write a sweep file that means a sweep as it stands: a small one, or that of a study. Raises InputError."""
    path = study_path(like) if like else Path(__file__).with_name("sweep.yaml")
    text = read_text(path)
    if like:
        text = _begun_from(text, path, file) if is_shipped(path) else re.sub(r"(?m)^name:.*\n", "", text)
    else:
        text = text.replace("NAME.yaml", file.name)
    parse(text, file)
    _create(file, text)


def _begun_from(text: str, path: Path, file: Path) -> str:
    """A shipped study as a file of one's own: its comments name the file's commands, and where it is from."""
    header, rest = text.split("\n\n", 1)
    header = re.sub(rf"sweep run {path.stem}\b", f"sweep run {file.name}", header)
    header = header.replace(f"--scale {PAPER}", f"--scale {FULL:<{len(PAPER)}}")
    origin = f"# Begun from the study {path.stem}: the first sentence is the question, write your own."
    return f"{header}\n#\n{origin}\n\n{rest}"


def _create(file: Path, text: str) -> None:
    """Write a file that is not there yet."""
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise InputError(f"{file}: is there already, and stays as it is; give another name") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from None
