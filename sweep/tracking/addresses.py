"""Where runs are kept: what a tracking URI may be, the default ones, and whether anything answers there.

A password stands in a URI and nowhere else: what is shown of one is redacted.
"""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy

from sweep.errors import PliantError, TrackingError
from sweep.ledger.storage import Storage
from sweep.tracking.redaction import redacted

RELATIVE = "mlflow-artifacts:/"  # files where the server keeps them, wherever that is
PATIENCE = 3.0  # seconds that `check` waits for an answer


def default_uri(storage: str) -> str:
    """MLFLOW_TRACKING_URI where it is set, otherwise the SQLite database in a local storage."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    folder = Storage(storage).folder
    if folder is None:
        raise TrackingError(
            f"The storage {storage} cannot hold MLflow's database.\n"
            "Name a tracking server with --tracking-uri or MLFLOW_TRACKING_URI."
        )
    return f"sqlite:///{folder / 'mlflow.db'}"


def default_artifact_root(storage: str, tracking_uri: str) -> str | None:
    """`<storage>/artifacts`, or None where a tracking server decides, or the place of an SQLite database does."""
    if urlsplit(tracking_uri).scheme in ("http", "https", "sqlite"):
        return None
    folder = Storage(storage).folder
    return f"{storage.rstrip('/')}/artifacts" if folder is None else (folder / "artifacts").as_uri()


def artifact_folder(tracking_uri: str) -> Path | None:
    """What relative names of files mean to the server of an SQLite database's pages; None elsewhere."""
    return sqlite_path(tracking_uri).parent / "artifacts" if tracking_uri.startswith("sqlite:") else None


def check(tracking_uri: str) -> None:
    """Return within seconds when runs can be written there, else raise TrackingError. Creates nothing."""
    scheme = tracking_uri.partition("://")[0]
    _check_password(tracking_uri)
    if scheme in ("http", "https"):
        _check_server(tracking_uri)
    elif scheme == "sqlite":
        _check_sqlite(tracking_uri)
    elif scheme.split("+")[0] in ("postgresql", "mysql", "mssql"):
        _check_database(with_driver(tracking_uri))
    else:
        raise TrackingError(
            f"{shown(tracking_uri)!r} is not a tracking URI that can be used here.\n"
            "Allowed: http:// or https:// (a tracking server), sqlite:///PATH, postgresql://, mysql://, mssql://."
        )


def _check_password(tracking_uri: str) -> None:
    """Refuse a password that would be cut elsewhere than meant; a driver's error would then show a part of it."""
    scheme, _, rest = tracking_uri.partition("://")
    user, _, password = rest.rpartition("@")[0].partition(":")
    reserved = set("/?# ") if scheme in ("http", "https") else set("@/?# ")
    if scheme not in ("file", "sqlite") and "/" not in user and set(password) & reserved:
        raise TrackingError(
            f"The password in {shown(tracking_uri)} holds a character that ends it where a URI is read.\n"
            "Write @ as %40, / as %2F, ? as %3F, # as %23 and a space as %20."
        )


def _check_server(tracking_uri: str) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    where = shown(tracking_uri)
    try:
        credentials = get_default_host_creds(tracking_uri)  # type: ignore[no-untyped-call]
        answer = http_request(  # type: ignore[no-untyped-call]
            credentials, "/health", "GET", timeout=PATIENCE, max_retries=0, raise_on_status=False
        )
    except (MlflowException, OSError) as error:
        raise TrackingError(f"No MLflow tracking server answers at {where}.") from error
    if answer.status_code in (401, 403):
        raise TrackingError(
            f"The tracking server at {where} refuses access ({answer.status_code}).\n"
            "Give it MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; "
            "a server behind a name of its own must list it in MLFLOW_SERVER_ALLOWED_HOSTS."
        )
    if answer.status_code != 200:
        raise TrackingError(f"What answers at {where} is no MLflow tracking server ({answer.status_code}).")


def _check_sqlite(tracking_uri: str) -> None:
    path = sqlite_path(tracking_uri)
    if not path.exists():
        folder = next(folder for folder in path.parents if folder.exists())
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise TrackingError(f"MLflow's database {path} cannot be created: {folder}: {error.strerror}.") from error
        return
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise TrackingError(f"MLflow's database {path} cannot be written: {error}.") from error


def _check_database(tracking_uri: str) -> None:
    limit = {"connect_timeout": math.ceil(PATIENCE)} if not tracking_uri.startswith("mssql") else {}
    try:
        engine = sqlalchemy.create_engine(tracking_uri, connect_args=limit)
        with contextlib.closing(engine.connect()):
            pass
        engine.dispose()
    except ImportError as error:
        raise TrackingError(
            f"The database {shown(tracking_uri)} needs a driver that is not installed: {error}.\n"
            "For Postgres: pip install 'pliant[postgres]'."
        ) from error
    except sqlalchemy.exc.SQLAlchemyError as error:
        said = redacted(first_line(error), tracking_uri)
        raise TrackingError(f"The database {shown(tracking_uri)} cannot be opened: {said}") from error


def with_driver(tracking_uri: str) -> str:
    """Plain postgresql:// with the driver that is installed; SQLAlchemy's own choice changed with 2.1."""
    for driver in ("psycopg2", "psycopg"):
        if tracking_uri.startswith("postgresql://") and find_spec(driver):
            return f"postgresql+{driver}{tracking_uri.removeprefix('postgresql')}"
    return tracking_uri


def sqlite_path(tracking_uri: str) -> Path:
    return Path(tracking_uri.partition(":///")[2].partition("?")[0]).absolute()


def shown(tracking_uri: str) -> str:
    """The URI without its password."""
    return redacted(tracking_uri, tracking_uri)


def first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextlib.contextmanager
def explained(tracking_uri: str) -> Iterator[None]:
    """What fails inside is a TrackingError in one sentence."""
    try:
        yield
    except PliantError:
        raise
    except Exception as error:
        from mlflow.exceptions import MlflowException

        if not isinstance(error, (MlflowException, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, OSError)):
            raise
        said = redacted(first_line(error), tracking_uri)
        raise TrackingError(f"MLflow at {shown(tracking_uri)} failed: {said}") from error
