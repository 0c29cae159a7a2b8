"""cluster.yaml is what Ray's cluster launcher accepts, and what it says about tokens and MLflow holds."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return YAML(typ="safe").load(ROOT / "cluster.yaml")


def test_it_satisfies_rays_published_schema(cluster: dict[str, Any]) -> None:
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)
    with pytest.raises(jsonschema.ValidationError, match="worker_count"):
        jsonschema.validate(cluster | {"worker_count": 3}, schema)


def test_the_launcher_accepts_it_and_scales_gpu_workers_from_none(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private import util as launcher

    prepared = launcher.prepare_config(copy.deepcopy(cluster))
    launcher.validate_config(prepared)
    types = prepared["available_node_types"]
    assert (types["head"]["min_workers"], types["head"]["max_workers"]) == (0, 0)
    assert (types["gpu"]["min_workers"], types["gpu"]["max_workers"]) == (0, prepared["max_workers"])
    assert types["gpu"]["resources"]["GPU"] == 1
    assert prepared["head_setup_commands"] == cluster["setup_commands"] + cluster["head_setup_commands"]


def test_every_node_starts_ray_with_tokens_and_the_head_can_start_workers(cluster: dict[str, Any]) -> None:
    starts = [
        command
        for role in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in cluster[role]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all(command.startswith("export RAY_AUTH_MODE=token") for command in starts)
    assert "--head" in starts[0] and "--autoscaling-config=~/ray_bootstrap_config.yaml" in starts[0]
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "--address=$RAY_HEAD_IP:6379" in starts[1]
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_what_it_mounts_exists_and_is_all_that_an_installation_needs(cluster: dict[str, Any]) -> None:
    mounts = {there: here for there, here in cluster["file_mounts"].items() if here.startswith("./")}
    assert [here for here in mounts.values() if not (ROOT / here).exists()] == []
    assert {Path(there).name for there in mounts} >= {"pyproject.toml", "workloads", "sweep", "dashboards"}
    assert all(there == f"~/pliant/{here.removeprefix('./')}" for there, here in mounts.items())
    install = next(command for command in cluster["setup_commands"] if "pip install" in command)
    assert "--constraint ~/pliant/constraints.txt" in install


def test_commands_are_valid_shell(cluster: dict[str, Any]) -> None:
    roles = [role for role in cluster if role.endswith("_commands")]
    assert len(roles) == 5
    for command in (command for role in roles for command in cluster[role]):
        subprocess.run(["bash", "-n", "-c", command], check=True)


@pytest.mark.skipif(not (shutil.which("flock") and shutil.which("setsid")), reason="needs util-linux")
def test_mlflow_is_started_once_and_again_only_after_it_ended(cluster: dict[str, Any], tmp_path: Path) -> None:
    [command] = [command for command in cluster["head_start_ray_commands"] if "mlflow server" in command]
    assert "--host 127.0.0.1" in command
    # Pipes make this exact: a stand-in server says that it runs and lives until it is let go, and a wrapper
    # of flock says how it came out.
    pipes = [tmp_path / name for name in ("started", "release", "outcome")]
    for pipe in pipes:
        os.mkfifo(pipe)
    started, release, outcome = pipes
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, script in {
        "mlflow": f'echo "$@" > {started}\nread line < {release}\n',
        "flock": f'{shutil.which("flock")} "$@"\necho $? > {outcome}\n',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}")
        (programs / name).chmod(0o755)
    environment = os.environ | {"HOME": str(tmp_path), "PATH": f"{programs}:{os.environ['PATH']}"}

    def start() -> None:
        subprocess.run(["bash", "-c", command], env=environment, check=True, timeout=20)

    start()
    arguments = started.read_text()
    assert f"--backend-store-uri sqlite:///{tmp_path}/mlflow/mlflow.db" in arguments
    start()
    assert outcome.read_text() == "1\n"  # the second found the first one running and did nothing
    release.write_text("end\n")
    assert outcome.read_text() == "0\n"
    start()
    assert started.read_text() == arguments
    release.write_text("end\n")
    assert outcome.read_text() == "0\n"
