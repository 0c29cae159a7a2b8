"""MinAtar's games against the package of that name, step by step, both dealt the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from workloads.errors import InputError
from workloads.random import permutation, uniform, words
from workloads.reinforcement.minatar import ACTIONS, BOARD, CHANNELS, GAMES, Arcade, Game, Play

minatar = pytest.importorskip("minatar")

LEFT, UP, RIGHT, DOWN, FIRE = range(1, 6)


class Dealt:
    """In the place of a RandomState: numbers of `workloads.random`, of one purpose at a time."""

    def __init__(self, seed: int, env: int) -> None:
        self.seed = seed
        self.env = env
        self.left: list[int] = []

    def deal(self, what: str, when: int, count: int) -> None:
        """From here on, these."""
        self.left = words(self.seed, what, self.env << 32 | when, count).tolist()

    def rand(self, size: int = 1) -> Any:
        drawn = np.array([(self.left.pop(0) >> 8) * 2.0**-24 for _ in range(size)])
        return drawn if size > 1 else drawn[0]

    def randint(self, low: int, high: int | None = None, size: int = 1) -> Any:
        low, high = (0, low) if high is None else (low, high)
        drawn = np.array([low + (self.left.pop(0) * (high - low) >> 32) for _ in range(size)])
        return drawn if size > 1 else int(drawn[0])


class Packaged:
    """One environment of the package that is dealt what one of ours draws."""

    def __init__(self, play: Play, env: int) -> None:
        self.made = minatar.Environment(play.game, play.sticky, play.ramping)
        self.game, self.clock, self.episode = self.made.env, 0, 0
        self.sticky, self.dealt = Dealt(play.seed, env), Dealt(play.seed, env)
        self.made.random, self.game.random = self.sticky, self.dealt
        for method, what, count in (
            ("_spawn_entity", "minatar/spawn", 3),
            ("_spawn_enemy", "minatar/spawn", 3),
            ("_spawn_diver", "minatar/spawn_diver", 2),
        ):
            if hasattr(self.game, method):
                setattr(self.game, method, self.dealing(getattr(self.game, method), what, count))
        if play.game == "freeway":
            self.randomise = self.game._randomize_cars
            self.game._randomize_cars = self.cars
        self.reset()

    def dealing(self, method: Callable[[], None], what: str, count: int) -> Callable[[], None]:
        def dealt() -> None:
            self.dealt.deal(what, self.clock, count)
            method()

        return dealt

    def cars(self, initialize: bool) -> None:
        if initialize:
            self.dealt.deal("minatar/first_cars", self.episode, 16)
        else:
            self.dealt.deal("minatar/cars", self.clock, 16)
        self.randomise(initialize)

    def reset(self) -> None:
        self.dealt.deal("minatar/start", self.episode, 1)
        self.game.reset()

    def step(self, action: int) -> tuple[float, bool]:
        self.sticky.deal("minatar/sticky", self.clock, 1)
        reward, over = self.made.act(action)
        self.clock += 1
        return float(reward), bool(over)


def wish(name: Game, game: Any, whim: float) -> int:
    """What somebody who plays well enough to see all of a game would do."""
    if name == "breakout":
        aim = game.ball_x if whim < 0.5 else game.ball_x + (1 if game.ball_dir in (1, 2) else -1)
        return LEFT if aim < game.pos else RIGHT if aim > game.pos else 0
    if name == "asterix":
        ahead = {x[1] for x in game.entities if x and not x[3] and abs(x[0] - game.player_x) < 3}
        gold = [x[1] for x in game.entities if x and x[3]]
        if game.player_y in ahead:
            return UP if game.player_y - 1 not in ahead and game.player_y > 1 else DOWN
        aim = min(gold, key=lambda y: abs(y - game.player_y), default=5)
        return UP if aim < game.player_y else DOWN if aim > game.player_y else LEFT if game.player_x > 4 else RIGHT
    if name == "space_invaders":
        falling = game.e_bullet_map[7:9].any(0) | game.alien_map[8:].any(0)
        if falling[game.pos]:
            return LEFT if game.pos > 0 and not falling[game.pos - 1] else RIGHT
        rows, columns = np.nonzero(game.alien_map)
        ahead = (9 - rows.max()) // min(len(rows), 12)
        aims = np.clip(columns + game.alien_dir * ahead, 0, 9)
        aim = aims[np.abs(aims - game.pos).argmin()]
        if game.shot_timer == 0 and aim == game.pos:
            return FIRE
        way = int(np.sign(aim - game.pos))
        return 0 if way == 0 or falling[game.pos + way] else RIGHT if way > 0 else LEFT
    if name == "freeway":
        return UP
    if game.oxygen < 40 and game.diver_count or game.diver_count == 6:
        return UP
    if game.sub_y == 0:
        return DOWN
    fish = [x for x in game.e_fish + game.e_subs if abs(x[1] - game.sub_y) < 2 and abs(x[0] - game.sub_x) < 4]
    if fish:
        side = RIGHT if fish[0][0] > game.sub_x else LEFT
        return FIRE if fish[0][1] == game.sub_y and game.sub_or == (side == RIGHT) and game.shot_timer == 0 else side
    for x, y, *_ in game.divers:
        return UP if y < game.sub_y else DOWN if y > game.sub_y else LEFT if x < game.sub_x else RIGHT
    return FIRE


def plays(game: Game) -> list[Play]:
    """One who is careful, one in whose game nothing ramps up, and one whose actions stick."""
    drawn = [(seed, game, permutation(seed, "channels", 0, 10)) for seed in (3, -1, 40)]
    return [Play(*drawn[0], 0.0, True), Play(*drawn[1], 0.0, False), Play(*drawn[2], 0.25, True)]


# What is to have been seen of a game, by the package's and the reward of a step.
DEPTHS: dict[Game, Callable[[Any, float], bool]] = {
    "breakout": lambda game, reward: not game.brick_map.any(),  # the next wall comes when the ball is down
    "asterix": lambda game, reward: game.ramp_index >= 2,
    "space_invaders": lambda game, reward: game.ramp_index >= 1,  # a wave was shot
    "freeway": lambda game, reward: game.terminal,
    "seaquest": lambda game, reward: game.surface and reward > 1,  # with six divers
}


@pytest.mark.parametrize("game", GAMES)
def test_every_step_is_the_packages(game: Game) -> None:
    members, environments = plays(game), 2
    arcade = Arcade(members, environments)
    theirs = [[Packaged(play, e) for e in range(environments)] for play in members]
    episode = np.zeros((len(members), environments), dtype=np.int64)
    arcade.begin(np.ones(episode.shape, dtype=np.bool_), episode)
    deep = False
    for step in range(2510 if game == "freeway" else 900):
        whims = uniform(9, "whims", np.arange(episode.size) + episode.size * step, 2).reshape(*episode.shape, 2)
        asked = np.array([[wish(game, theirs[m][e].game, whims[m, e, 0]) for e in (0, 1)] for m in range(3)])
        asked[2] = np.where(whims[2, :, 1] < 0.3, (ACTIONS * whims[2, :, 0]).astype(int), asked[2])
        reward, over = arcade.step(np.full(len(members), step), asked)
        for m, e in np.ndindex(episode.shape):
            their = theirs[m][e]
            assert their.step(int(asked[m, e])) == (reward[m, e], over[m, e]), (step, m, e)
            assert np.array_equal(arcade.observation[m, e], seen(members[m], their)), (step, m, e)
            deep |= DEPTHS[game](their.game, reward[m, e])
            if over[m, e]:
                their.episode += 1
                their.reset()
        episode += over
        arcade.begin(over, episode)
        for m, e in np.argwhere(over):
            assert np.array_equal(arcade.observation[m, e], seen(members[m], theirs[m][e])), (step, m, e)
    assert deep and episode[2].min() > 0


def seen(play: Play, packaged: Packaged) -> np.ndarray:
    """What the package shows, in the places where a member sees it."""
    board = np.zeros(BOARD, dtype=np.float32)
    board[..., play.places[: CHANNELS[play.game]]] = packaged.made.state()
    return board


def test_what_was_shown_of_another_game_is_gone() -> None:
    everywhere, first = np.ones((3, 2), dtype=np.bool_), np.zeros((3, 2), dtype=np.int64)
    arcade = Arcade(plays("seaquest"), 2)
    arcade.begin(everywhere, first)
    arcade.step(np.zeros(3, dtype=np.int64), np.full((3, 2), DOWN))
    arcade.play(plays("breakout"))
    arcade.begin(everywhere, first)
    fresh = Arcade(plays("breakout"), 2)
    fresh.begin(everywhere, first)
    assert np.array_equal(arcade.observation, fresh.observation)
    assert np.array_equal(arcade.own, fresh.own) and np.array_equal(arcade.last_action, fresh.last_action)


def test_without_a_compiler_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match="MinAtar's games are compiled when they are first played: no-such-compiler"):
        Arcade(plays("breakout"), 2)
