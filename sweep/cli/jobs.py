"""`sweep submit` and `sweep job`: sweeps on a Ray cluster."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sweep.cli.app import (
    Address,
    AsJson,
    Changes,
    Device,
    Kind,
    Replace,
    Scale,
    StorageOption,
    Study,
    Tracking,
    app,
    changed,
    job_app,
)
from sweep.cli.output import print_json, say


@app.command()
def submit(
    study: Study,
    address: Address = "auto",
    scale: Scale = None,
    changes: Changes = None,
    storage: StorageOption = None,
    tracking_uri: Tracking = None,
    workers: Annotated[
        int | None, typer.Option(help="Packs to train at once.", min=1, show_default="the head node's CPUs")
    ] = None,
    device: Device = Kind.cpu,
    replace: Replace = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job's output until it ends.")] = False,
) -> None:
    """Run a study on a Ray cluster. Through its Jobs API; the storage must be one that the whole cluster reaches."""
    from sweep.cluster import submit as jobs
    from sweep.lookup import storage_asked

    options = jobs.Options(workers=workers, device=device.value, replace=replace, changed=changed(changes))
    job = jobs.submit(
        study, address=address, scale=scale, storage=storage_asked(storage), tracking_uri=tracking_uri, options=options
    )
    say(job)
    typer.echo(f"sweep job status {job} --address {address}", err=True)  # ID=$(sweep submit ...) takes the job alone
    if wait:
        for piece in jobs.logs(job, address, follow=True):
            sys.stdout.write(piece)
        ended = jobs.wait(job, address)
        say(f"{job}: {ended.status}")
        raise typer.Exit(0 if ended.status == "SUCCEEDED" else 1)


Job = Annotated[str, typer.Argument(metavar="ID", help="A job's id.")]


@job_app.command("list")
def job_list(address: Address = "auto", as_json: AsJson = False) -> None:
    """List the cluster's jobs."""
    from dataclasses import asdict

    from sweep.cluster import submit as jobs

    listed = jobs.jobs(address)
    if as_json:
        print_json([asdict(job) for job in listed])
        return
    for job in listed:
        say(f"{job.id}  {job.status}  {job.sweep}")


@job_app.command("status")
def job_status(job: Job, address: Address = "auto", as_json: AsJson = False) -> None:
    """Say how a job stands."""
    from dataclasses import asdict

    from sweep.cluster import submit as jobs

    state = jobs.status(job, address)
    if as_json:
        print_json(asdict(state))
    else:
        say(f"{state.id}  {state.status}  {state.message}")


@job_app.command("logs")
def job_logs(
    job: Job,
    address: Address = "auto",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
) -> None:
    """Print what a job has printed."""
    from sweep.cluster import submit as jobs

    for piece in jobs.logs(job, address, follow=follow):
        sys.stdout.write(piece)


@job_app.command("stop")
def job_stop(job: Job, address: Address = "auto") -> None:
    """Stop a job. What it committed is kept, and submitting again continues."""
    from sweep.cluster import submit as jobs

    say("stopping" if jobs.stop(job, address) else "it had ended already")
