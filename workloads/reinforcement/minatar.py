"""The games of MinAtar (Young and Tian 2019, arXiv:1903.03176) in C++, all environments of all members by one call.

The rules are those of the package of that name, version 1.0.15: sticky actions, difficulty that ramps up, six actions
of which each game heeds some. Packages that step one environment at a time in Python spend most of it on the
interpreter; arrays in numpy would spend it on drawing numbers and on showing (10, 10, 10) cells of which some ten
change in a step. Here only those that change are written.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.ctypeslib import ndpointer as array_of
from numpy.typing import NDArray

from workloads import native
from workloads.errors import InputError
from workloads.random import MASK, Float64, Int64, what_code

Game = Literal["breakout", "asterix", "space_invaders", "freeway", "seaquest"]
GAMES: tuple[Game, ...] = get_args(Game)  # in the order of their numbers in minatar.cpp
CHANNELS: dict[Game, int] = {"breakout": 4, "asterix": 4, "space_invaders": 6, "freeway": 7, "seaquest": 10}
ACTIONS = 6  # nothing, left, up, right, down, fire; what a game does not heed is nothing
BOARD = (10, 10, 10)  # rows, columns, channels: as many as the game with the most has

# What is drawn, by its name in minatar.cpp: at a step, and for the last two where an episode begins.
DRAWS = {
    "STICKY": "minatar/sticky",  # 1 word: whether the last action is taken again
    "SPAWN": "minatar/spawn",  # 3: side, kind, and which row
    "SPAWN_DIVER": "minatar/spawn_diver",  # 2: side, row
    "CARS": "minatar/cars",  # 16: eight speeds, eight directions
    "START": "minatar/start",  # 1: side
    "FIRST_CARS": "minatar/first_cars",  # 16
}
FOLDER = Path(__file__).parent

Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Play:
    """What one member plays."""

    seed: int
    game: Game
    places: Int64  # (10,): the channel in which each of a game's channels is shown
    sticky: float  # chance that the last action is taken again instead of a new one
    ramping: bool  # whether the games grow harder as one plays


class Everything(ctypes.Structure):
    """`Worlds` of minatar.cpp: how many there are, and where their arrays lie."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("members", "environments")],
        *[(name, ctypes.c_void_p) for name in ("seed", "game", "ramping", "sticky", "places")],
        *[(name, ctypes.c_void_p) for name in ("own", "last_action", "shown", "observation")],
    ]


class Arcade:
    """E environments of each of M members. `own` (M, E, bytes) and `last_action` (M, E) are all of their state.

    `observation` (M, E, 10, 10, 10) is what they show, by row, column and channel, zeros and ones: always the same
    array, which every call brings up to date.
    """

    def __init__(self, plays: Sequence[Play], environments: int) -> None:
        """Raises InputError where there is no C++ compiler. Nothing has begun: call `begin` or `load`."""
        self.library = library()
        self.shape = len(plays), environments
        self.own = np.zeros((*self.shape, self.library.minatar_size()), dtype=np.uint8)
        self.last_action = np.zeros(self.shape, dtype=np.int64)
        self.shown = np.zeros((*self.shape, BOARD[2], 2), dtype=np.uint64)
        self.observation = np.zeros((*self.shape, *BOARD), dtype=np.float32)
        self.play(plays)

    def play(self, plays: Sequence[Play]) -> None:
        """From here on the members play this. What they have played is over: call `begin` for all, or `load`."""
        self.seed = np.array([play.seed & MASK for play in plays], dtype=np.int64)
        self.game = np.array([GAMES.index(play.game) for play in plays], dtype=np.int64)
        self.ramping = np.array([play.ramping for play in plays], dtype=np.int64)
        self.sticky = np.array([play.sticky for play in plays], dtype=np.float64)
        self.places = np.array([play.places for play in plays], dtype=np.int64)
        names = [name for name, *_ in Everything._fields_[2:]]
        self.everything = Everything(*self.shape, *(getattr(self, name).ctypes.data for name in names))
        for array in (self.last_action, self.shown, self.observation):
            array[...] = 0

    def begin(self, where: Bool, episode: Int64) -> None:
        """Put those in the mask `where` (M, E) at the beginning of their episodes of these numbers (M, E)."""
        self.library.minatar_begin(ctypes.byref(self.everything), where, episode)

    def step(self, clock: Int64, actions: Int64) -> tuple[Float64, Bool]:
        """Take actions (M, E) in the members' steps of these numbers (M,): rewards, and which games are over."""
        reward, over = np.empty(self.shape), np.empty(self.shape, dtype=np.bool_)
        self.library.minatar_step(ctypes.byref(self.everything), clock, actions, reward, over)
        return reward, over

    def load(self, own: NDArray[np.uint8], last_action: Int64) -> None:
        """Take a state of the games that are played."""
        self.own[...], self.last_action[...] = own, last_action
        self.library.minatar_show(ctypes.byref(self.everything))


def library() -> ctypes.CDLL:
    """minatar.cpp, compiled. Raises InputError where there is no compiler."""
    codes = "".join(f"constexpr uint32_t {name} = {what_code(what)}u;\n" for name, what in DRAWS.items())
    philox = (FOLDER.parent / "engine" / "philox.h").read_text()
    try:
        made = native.compiled("\n".join([philox, codes, (FOLDER / "minatar.cpp").read_text()]))
    except native.NoCompiler as error:
        raise InputError(f"MinAtar's games are compiled when they are first played: {error}") from error
    everything = ctypes.POINTER(Everything)
    whole, real, mask = (array_of(kind, flags="C_CONTIGUOUS") for kind in (np.int64, np.float64, np.bool_))
    made.minatar_size.restype = ctypes.c_int64
    made.minatar_show.argtypes = [everything]
    made.minatar_begin.argtypes = [everything, mask, whole]
    made.minatar_step.argtypes = [everything, whole, whole, real, mask]
    return made
