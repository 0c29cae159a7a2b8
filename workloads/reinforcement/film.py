"""A robot's episode, drawn: pictures of what a policy does, without a display.

MuJoCo draws with what MUJOCO_GL says when it is imported: egl where no display is set and nothing is said.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError
from workloads.reinforcement.locomotion import Locomotion

SIZE = 240, 320  # pixels: height and width
RATE = 10  # pictures per second of the simulation, at most: without a GPU each takes some 50 ms


@dataclass(frozen=True, slots=True)
class Film:
    """An episode from its beginning to its end."""

    pictures: list[NDArray[np.uint8]]  # (height, width, 3) each
    seconds: float  # of the simulation, between two pictures
    steps: int
    returned: float


@contextmanager
def drawing(model: Any) -> Iterator[Callable[[Any], NDArray[np.uint8]]]:
    """What draws MuJoCo's data of this model, as the camera sees it that follows the robot."""
    import mujoco

    try:
        renderer = mujoco.Renderer(model, *SIZE)
    except (ImportError, AttributeError, RuntimeError, mujoco.FatalError) as error:  # as OpenGL's libraries have it
        raise InputError(
            f"nothing here can draw without a display ({error}): MUJOCO_GL=egl needs a library named EGL, as Mesa's, "
            "MUJOCO_GL=osmesa one named OSMesa"
        ) from error

    def draw(data: Any) -> NDArray[np.uint8]:
        mujoco.mj_forward(model, data)
        renderer.update_scene(data, camera="track")
        picture: NDArray[np.uint8] = renderer.render()
        return picture

    with renderer:
        yield draw


def film(world: Locomotion, act: Callable[[NDArray[np.float32]], NDArray[np.float64]], task: int) -> Film:
    """The first episode of a task that begins in the world's first environment.

    `act`: observations (envs, inputs) -> actions (envs, numbers). Raises InputError where nothing here can draw.
    """
    if "DISPLAY" not in os.environ:
        os.environ.setdefault("MUJOCO_GL", "egl")
    worlds = world.simulations([world])
    worlds.steps[:] = world.task_start(task)
    worlds.start()
    every = max(1, round(1 / (RATE * worlds.seconds)))
    pictures, steps, returned = [], 0, np.nan
    with drawing(worlds.model) as draw:
        while np.isnan(returned):
            if steps % every == 0:
                pictures.append(draw(worlds.data_of(0)))
            steps += 1
            returned = worlds.step(act(worlds.observe()[0])[None]).returned[0, 0]
    return Film(pictures, every * worlds.seconds, steps, float(returned))
