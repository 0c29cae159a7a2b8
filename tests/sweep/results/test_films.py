"""`sweep render`: an episode of a trained robot as a GIF, and what is said where there is none to draw."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from PIL import Image
from tiny import Command

from sweep.errors import InputError
from sweep.results import films, trained_network
from sweep.results.trained_network import TrainedNetwork
from workloads.reinforcement import film as filming
from workloads.reinforcement.film import Film, drawing, film
from workloads.reinforcement.locomotion import Hopper, SlipperyAnt
from workloads.reinforcement.simulations import SlipperySimulations, loaded


def hopper(**settings: Any) -> Hopper:
    return Hopper(Hopper.Config(**settings), 3)


def still(seen: Any) -> Any:
    return np.zeros((len(seen), 3))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times of simulations that were drawn, which here costs nothing."""
    times: list[float] = []

    @contextmanager
    def nothing(model: Any) -> Iterator[Callable[[Any], Any]]:
        yield lambda data: times.append(data.time) or np.zeros((4, 6, 3), dtype=np.uint8)

    monkeypatch.setattr(filming, "drawing", nothing)
    return times


def test_an_episode_is_drawn_from_its_beginning_to_its_end_at_the_simulation_s_speed(drawn: list[float]) -> None:
    shown = film(hopper(envs=2), still, 0)
    again = Hopper.worlds([hopper(envs=2)])
    again.start()
    returns, steps = np.nan, 0
    while np.isnan(returns):
        returns, steps = again.step(np.zeros((1, 2, 3))).returned[0, 0], steps + 1
    assert (shown.steps, shown.returned) == (steps, returns) and steps > 30
    # Hopper's step is 8 ms: every 12th is the last to come to no more than 10 pictures in a second, or a little above.
    assert shown.seconds == pytest.approx(0.096) and len(shown.pictures) == len(drawn) == -(-steps // 12)
    np.testing.assert_allclose(drawn, np.arange(len(drawn)) * 0.096, atol=1e-9)


def test_it_is_on_the_ground_that_was_learned_on_last(drawn: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    ant = SlipperyAnt(SlipperyAnt.Config(tasks=3, ppo="modern"), 5)
    frictions: list[float] = []
    step = SlipperySimulations.step
    monkeypatch.setattr(
        SlipperySimulations, "step", lambda self, a: (frictions.append(self.friction[0, 0]), step(self, a))[1]
    )
    network = TrainedNetwork(
        "abc", {"workload": {"name": "slippery_ant"}, "seed": 5}, None, {"w": torch.zeros(1)}, lambda x: x
    )
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(TrainedNetwork, "__call__", lambda self, x: seen.append(x) or torch.full((len(x), 16), 0.5))
    monkeypatch.setattr(trained_network, "load", lambda trial, task, storage: network)
    monkeypatch.setattr(films, "workload_of", lambda config, seed: ant)
    for task, expected in ((None, 2), (2, 1), (0, 0)):
        trial, shown = films.filmed("a", task=task, storage="")
        assert trial == "abc" and set(frictions) == {ant.friction(expected)} and shown.steps == len(frictions)
        frictions.clear()
    assert seen[0].shape == (1, 111) and seen[0].dtype == torch.float32  # the first half of what it says is acted by


def test_a_gif_has_the_pictures_and_their_time(tmp_path: Path) -> None:
    pictures = [np.full((4, 6, 3), 80 * k, dtype=np.uint8) for k in range(3)]
    films.write_gif(Film(pictures, 0.096, 30, 1.0), tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (3, (6, 4), 0)
        assert image.info["duration"] == pytest.approx(96, abs=6)  # hundredths of a second is what the format has


def test_what_is_no_robot_or_no_gif_is_refused(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    network = TrainedNetwork("abc", {"workload": {}, "seed": 0}, None, {}, lambda x: x)
    monkeypatch.setattr(trained_network, "load", lambda trial, task, storage: network)

    class Images:
        name = "permuted_mnist"

    monkeypatch.setattr(films, "workload_of", lambda config, seed: Images())
    with pytest.raises(InputError, match=r"trial abc is of permuted_mnist: only robots can be drawn \(ant, half_"):
        films.filmed("abc", task=None, storage="")
    refused = command("render", "abc", "--out", "film.mp4")
    assert refused.code == 2
    assert "film.mp4: a film is an animated GIF; name it film.gif" in refused.err


def test_a_machine_that_cannot_draw_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise AttributeError("'NoneType' object has no attribute 'glGetError'")

    monkeypatch.setattr(mujoco, "Renderer", broken)
    with pytest.raises(InputError, match="nothing here can draw without a display .*MUJOCO_GL=egl needs"):
        with drawing(loaded(hopper().body)):
            pass


PICTURE = """
import numpy as np
from workloads.reinforcement.film import film
from workloads.reinforcement.locomotion import Hopper
shown = film(Hopper(Hopper.Config(), 3), lambda seen: np.zeros((1, 3)), 0)
print(shown.pictures[0].shape, len(np.unique(shown.pictures[0].reshape(-1, 3), axis=0)))
"""


def test_a_picture_shows_a_robot() -> None:
    """In a process of its own: what draws is chosen when mujoco is imported."""
    surroundings = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MUJOCO_GL")}
    done = subprocess.run([sys.executable, "-c", PICTURE], capture_output=True, text=True, env=surroundings)
    if "nothing here can draw" in done.stderr or "OpenGL" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    shape, colours = done.stdout.rsplit(maxsplit=1)
    assert shape == "(240, 320, 3)" and int(colours) > 50
