"""`python -m sweep.tracking NAME@SCALE --storage S` syncs with MLFLOW_TRACKING_URI at low priority, prints a report."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sweep.errors import PliantError
from sweep.tracking.addresses import default_artifact_root, default_uri
from sweep.tracking.sync import sync


def main(arguments: Sequence[str] | None = None) -> int:
    """Sync one sweep of a storage; prints counts of runs as JSON. 2 where the user can mend what is wrong."""
    from sweep.ledger.ledger import Ledger

    parser = argparse.ArgumentParser(prog="python -m sweep.tracking", description=main.__doc__)
    parser.add_argument("sweep", metavar="NAME@SCALE")
    parser.add_argument("--storage", required=True)
    parser.add_argument("--figures", nargs="*", type=Path, default=[], metavar="FILE")
    parser.add_argument("--report", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    try:
        name, _, scale = given.sweep.rpartition("@")
        ledger = Ledger(given.storage)
        uri = default_uri(given.storage)
        root = default_artifact_root(given.storage, uri)
        record = ledger.sweep(name, scale)
        counts = sync(record, ledger, uri, artifact_root=root, figures=given.figures, report=given.report)
    except PliantError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(asdict(counts)))
    return 0


if __name__ == "__main__":
    os.nice(10)  # the training goes first
    sys.exit(main())
