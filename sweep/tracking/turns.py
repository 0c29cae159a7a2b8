"""Turns of syncs and servers at a database, across processes, and where the database can across machines."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy

from sweep.tracking.addresses import sqlite_path


@contextlib.contextmanager
def turn(tracking_uri: str, what: str) -> Iterator[None]:
    """Hold the lock on `what` in a database: by file among processes here, in Postgres among machines too."""
    key = hashlib.sha256(f"{tracking_uri} {what}".encode()).digest()
    if tracking_uri.startswith("sqlite:"):
        path = sqlite_path(tracking_uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f"{path.name}.lock")
    else:
        lock = Path(tempfile.gettempdir()) / f"pliant-{os.getuid()}-{key.hex()[:16]}.lock"
    with contextlib.ExitStack() as held:
        fcntl.flock(held.enter_context(lock.open("w")), fcntl.LOCK_EX)  # let go when the process ends, however it ends
        if tracking_uri.startswith("postgresql"):
            engine = sqlalchemy.create_engine(tracking_uri, isolation_level="AUTOCOMMIT")
            held.callback(engine.dispose)
            name = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], signed=True)
            held.enter_context(engine.connect()).execute(sqlalchemy.text(f"SELECT pg_advisory_lock({name})"))
        yield
