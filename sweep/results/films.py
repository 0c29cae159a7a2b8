"""What a trained policy does, as an animated GIF: an episode of a robot whose weights were kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sweep.errors import InputError
from sweep.results import trained_network
from workloads.engine.computing import computing
from workloads.reinforcement import CONTROLS
from workloads.reinforcement.film import film
from workloads.reinforcement.locomotion import Locomotion
from workloads.training.assembled import workload_of

if TYPE_CHECKING:
    from workloads.reinforcement.film import Film


@computing()
def filmed(trial: str, *, task: int | None, storage: str) -> tuple[str, Film]:
    """(the trial's id, an episode by its policy's means), on the ground it had learned on last.

    Raises InputError where it is no robot's trial, or its weights were not kept.
    """
    trained = trained_network.load(trial, task=task, storage=storage)
    world = workload_of(trained.config, trained.config["seed"])
    if not isinstance(world, Locomotion):
        robots = ", ".join(sorted(name for name, kind in CONTROLS.items() if issubclass(kind, Locomotion)))
        raise InputError(f"trial {trained.trial} is of {world.name}: only robots can be drawn ({robots})")
    dtype = next(iter(trained.params.values())).dtype

    def act(seen: NDArray[np.float32]) -> NDArray[np.float64]:
        means = trained(torch.from_numpy(seen).to(dtype))[:, : world.action.n]
        return means.double().numpy()

    last = world.tasks if task is None else task
    return trained.trial, film(world, act, max(0, last - 1))


def write_gif(shown: Film, path: Path) -> None:
    """Write it as a GIF that repeats, at the speed of the simulation."""
    first, *rest = [Image.fromarray(picture) for picture in shown.pictures]
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=round(1000 * shown.seconds), loop=0)
