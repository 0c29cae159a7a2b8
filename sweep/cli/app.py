"""The application that commands join, the arguments and options they share, and how a sweep that was run is found."""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from sweep.cli import completion
from sweep.errors import InputError

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord


class Commands(TyperGroup):
    """The commands; a study in the place of one is answered with the command that runs it."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """See click."""
        if args[0] not in self.commands:
            from sweep.spec.studies import is_study

            if is_study(args[0]):
                raise InputError(f"{args[0]!r} is a study, not a command: sweep run {shlex.quote(args[0])}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Commands,
    help=(
        "Sweeps of plasticity trials: run them here or on a Ray cluster, browse them in MLflow, draw the figures.\n\n"
        "To begin: `sweep studies`, then `sweep run demo`. COMMAND --help says more."
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="The real datasets: where they are, fetch them, check them.", no_args_is_help=True)
job_app = typer.Typer(help="Jobs on a Ray cluster, as started by `sweep submit`.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(job_app, name="job")

Study = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="A shipped study's name (`sweep studies`) or the path of a sweep file.",
        autocompletion=completion.studies,
    ),
]


def swept(what: str, otherwise: str = "") -> Any:
    """An argument that names a sweep of the storage, or several; `otherwise`: what is meant where none is named."""
    return typer.Argument(
        metavar="SWEEP",
        help=f"{what}; by name, or as `sweep list` has it where it was run in several ways.",
        show_default=otherwise or False,
        autocompletion=completion.sweeps,
    )


Sweep = Annotated[str, swept("A sweep that was run")]
Scale = Annotated[
    str | None,
    typer.Option(
        help="One of the sizes below `scales` in the file; full (paper in a shipped study) is the file as written.",
        show_default="laptop if the file has it, else the file as written",
        autocompletion=completion.scales,
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help=(
            "Another value for this run alone, such as workload.tasks=10 or arms.sgd.step_size=[0.1,0.01]: the keys of"
            " `scales`, a value in YAML; may be repeated. It becomes part of the sweep's name: NAME@SCALE+KEY=VALUE."
        ),
        show_default=False,
        autocompletion=completion.settings,
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        help="Where results are kept: a folder, s3://... or gs://...",
        envvar="PLIANT_STORAGE",
        show_default="./pliant",
    ),
]
Tracking = Annotated[
    str | None,
    typer.Option(
        help="Where MLflow's runs are kept: http://HOST:PORT of a server, or sqlite:///PATH.",
        envvar="MLFLOW_TRACKING_URI",
        show_default="SQLite in the storage",
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        help="The metric shown. Settings are chosen by what judges the sweep in any case.",
        autocompletion=completion.metrics,
        show_default="what judges the sweep",
    ),
]


class Statistics(StrEnum):
    """What of an arm's seeds is shown."""

    mean = "mean"
    iqm = "iqm"
    median = "median"


Statistic = Annotated[
    Statistics, typer.Option(help="Over seeds: the mean, the mean of the middle half, or the median.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="Packs to train at once; trials are split into packs so that there are enough for all.",
        min=1,
        show_default="this machine's CPUs",
    ),
]


class Kind(StrEnum):
    """What packs train on."""

    cpu = "cpu"
    cuda = "cuda"


Device = Annotated[Kind, typer.Option(help="What packs train on: a core each, or a quarter of a GPU each.")]
Inline = Annotated[
    bool | None,
    typer.Option(
        "--inline/--ray",
        help="Train in this process, or on Ray: a process for every core.",
        show_default="the one that is sooner done",
    ),
]
Track = Annotated[bool, typer.Option(help="Write MLflow runs.")]
Replace = Annotated[bool, typer.Option("--replace", help="Take the place of another file's sweep of this name.")]
Address = Annotated[
    str, typer.Option(help="The cluster's head: http://HOST:8265, ray://HOST:10001, or auto for this machine's.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def changed(changes: list[str] | None) -> dict[str, Any]:
    """What --set says: dotted key -> value. Raises InputError."""
    from sweep.spec import changes as spelled

    return spelled.read(changes or ())


def opened(storage: str | None) -> Ledger:
    """The ledger of a storage."""
    from sweep.ledger.ledger import Ledger
    from sweep.lookup import storage_of

    return Ledger(storage_of(storage))


def opened_sweep(name: str, storage: str | None, scale: str | None = None) -> tuple[SweepRecord, Ledger]:
    """A sweep that was run, and its ledger."""
    from sweep.lookup import find_sweep

    ledger = opened(storage)
    return find_sweep(ledger, name, scale), ledger
