"""The command line: `sweep COMMAND`. Everything heavy is imported where it is needed.

A user's mistake ends with one sentence and exit code 2, packs that failed with 1, an interruption with 130.
"""

from __future__ import annotations

import gc
import sys

import typer

# A command joins the application when its module is imported; the help lists them in this order.
# isort: off
from sweep.cli import studies  # noqa: F401
from sweep.cli import run  # noqa: F401
from sweep.cli import watch  # noqa: F401
from sweep.cli import results  # noqa: F401
from sweep.cli import claims  # noqa: F401
from sweep.cli import figure  # noqa: F401
from sweep.cli import report  # noqa: F401
from sweep.cli import reproduce  # noqa: F401
from sweep.cli import ui  # noqa: F401
from sweep.cli import trial  # noqa: F401
from sweep.cli import render  # noqa: F401
from sweep.cli import bench  # noqa: F401
from sweep.cli import jobs  # noqa: F401
from sweep.cli import datasets  # noqa: F401

# isort: on
from sweep.cli.app import app
from sweep.cli.output import kept_quiet
from sweep.errors import PliantError
from sweep.tracking.redaction import redacted

EASY = 100_000  # new objects before cycles are looked for: a large sweep's trials are a million objects that stay


def main() -> None:
    """Entry point: errors that are the user's to read are one sentence, not a traceback."""
    gc.set_threshold(EASY)
    with kept_quiet():
        try:
            app()
        except PliantError as error:
            typer.echo(f"error: {redacted(str(error))}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            sys.exit(130)


if __name__ == "__main__":
    main()
