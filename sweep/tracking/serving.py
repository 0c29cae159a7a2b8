"""MLflow's server as an application of this process, and where in its pages a sweep is."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sweep.errors import InputError
from sweep.tracking import views
from sweep.tracking.addresses import RELATIVE, artifact_folder, check, explained, shown, with_driver
from sweep.tracking.writers import writer_for

if TYPE_CHECKING:
    from fastapi import FastAPI


FIRST_VISIT = (  # what MLflow's page remembers in the browser
    ("mlflow.workflowType_v1", '"machine_learning"'),  # rather than GenAI
    ("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true"),  # or it opens by itself over a third of the charts
)


def server(tracking_uri: str) -> FastAPI:
    """MLflow's server for a database, as an application of this process; once per process.

    Raises InputError for the address of a server, TrackingError where the database cannot be used.
    """
    if urlsplit(tracking_uri).scheme in ("http", "https"):
        raise InputError(f"{shown(tracking_uri)} is a tracking server and has its own pages: open that address.")
    check(tracking_uri)
    from mlflow.server import constants

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = with_driver(tracking_uri)
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = RELATIVE
    folder = artifact_folder(tracking_uri)
    if folder is not None:
        os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = str(folder)
    with explained(tracking_uri), warnings.catch_warnings(action="ignore"):
        writer_for(tracking_uri)  # brings the tables up to date
        from mlflow.server.fastapi_app import create_fastapi_app

        app: FastAPI = create_fastapi_app()
    _open_undisturbed(app, Path(constants.__file__).parent / "js" / "build" / "index.html")
    return app


def _open_undisturbed(app: FastAPI, page: Path) -> None:
    """Serve the page so that a browser's first visit shows model training, and not the assistant over the charts."""
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    first = "".join(f"localStorage.getItem('{key}') ?? localStorage.setItem('{key}', '{v}');" for key, v in FIRST_VISIT)
    text = page.read_text().replace("<head>", f"<head><script>{first}</script>", 1)
    app.router.routes.insert(0, Route("/", lambda _: HTMLResponse(text, headers={"Cache-Control": "no-cache"})))


def view_address(tracking_uri: str, identity: str) -> str | None:
    """Where a sweep's arms are on the server of its pages, such as /#/experiments/1/...; None where it is not tracked.

    Its runs where there is no view, as no trial has ended or an earlier version wrote them.
    """
    check(tracking_uri)  # says within seconds what a client would try for minutes
    with explained(tracking_uri):
        experiment = writer_for(with_driver(tracking_uri)).client.get_experiment_by_name(identity)
    if experiment is None or experiment.lifecycle_stage != "active":
        return None
    there = views.TAG + "arms" in experiment.tags
    return views.address(experiment.experiment_id, "arms") if there else views.runs(experiment.experiment_id)
