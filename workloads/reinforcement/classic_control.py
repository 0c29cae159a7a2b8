"""CartPole-v1, Acrobot-v1 and Pendulum-v1 of Gymnasium, many at once and each with physics of its own.

These three: a reward for every step until one fails, a cost of every step until one succeeds, and actions from a
continuum in episodes that only the clock ends. MountainCar is left out: an agent who has not come up the hill by chance
is paid the same for everything, so that its returns tell of exploring and not of being able to learn.

All is float64 and in the order in which Gymnasium computes it, with its own way of squaring (`np.square` there,
`**` of single numbers elsewhere, which the C library's `pow` rounds in its own way), so that a step is the stock
environment's to the bit. Sources: Barto, Sutton & Anderson 1983 (the pole); Sutton 1996, and Sutton & Barto 2018 (the
acrobot); Gymnasium 1.4 (the pendulum).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from workloads.reinforcement.worlds import Action, Continuous, Discrete

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


class Dynamics(Protocol):
    """An environment as functions of many states: n of them, (n, state), each with physics (n, len(stock))."""

    action: ClassVar[Action]
    observation: ClassVar[tuple[int, ...]]
    longest: ClassVar[int]  # steps of an episode at most
    stock: ClassVar[Mapping[str, float]]  # what of the stock environment a task changes, in the order of `physics`
    begins: ClassVar[tuple[float, ...]]  # an episode begins uniformly between minus and plus these
    edge: ClassVar[tuple[float, ...]]  # the like for the states that diagnostics look at, which are all over the place

    @staticmethod
    def stepped(state: Float64, action: NDArray[np.generic], physics: Float64) -> tuple[Float64, Float64, Bool]:
        """States after `action`, (n,) of whole numbers or (n, dimensions): them, rewards (n,), and who is at an end."""

    @staticmethod
    def seen(state: Float64) -> Float64:
        """What an agent sees of states: (n, *observation), before it is rounded to float32."""


def squared(x: Float64) -> Float64:
    """x², as `**` rounds it where x is a single number."""
    result: Float64 = np.float_power(x, 2.0)
    return result


class CartPole:
    """A pole on a cart that is pushed left or right: 1 for every step, until the pole has fallen or the cart left."""

    action: ClassVar[Action] = Discrete(2)
    observation: ClassVar[tuple[int, ...]] = (4,)
    longest: ClassVar[int] = 500
    stock: ClassVar[Mapping[str, float]] = {"masscart": 1.0, "masspole": 0.1, "length": 0.5}  # kg, kg, m (half of it)
    begins: ClassVar[tuple[float, ...]] = (0.05, 0.05, 0.05, 0.05)
    edge: ClassVar[tuple[float, ...]] = (2.4, 2.0, 0.2095, 2.0)  # position, speed, angle, angular speed

    GRAVITY, FORCE, SECONDS = 9.8, 10.0, 0.02
    FALLEN, OUT = 12 * 2 * math.pi / 360, 2.4  # rad, m

    @staticmethod
    def stepped(state: Float64, action: NDArray[np.generic], physics: Float64) -> tuple[Float64, Float64, Bool]:
        """See Dynamics; Euler's rule."""
        own = CartPole
        x, speed, angle, turning = np.moveaxis(state, -1, 0)
        cart, pole, length = np.moveaxis(physics, -1, 0)
        total, moment = pole + cart, pole * length
        force = np.where(action == 1, own.FORCE, -own.FORCE)
        cosine, sine = np.cos(angle), np.sin(angle)
        push = (force + moment * np.square(turning) * sine) / total
        fall = (own.GRAVITY * sine - cosine * push) / (length * (4.0 / 3.0 - pole * np.square(cosine) / total))
        slide = push - moment * fall * cosine / total
        x, speed = x + own.SECONDS * speed, speed + own.SECONDS * slide
        angle, turning = angle + own.SECONDS * turning, turning + own.SECONDS * fall
        over = (np.abs(x) > own.OUT) | (np.abs(angle) > own.FALLEN)
        return np.stack([x, speed, angle, turning], axis=-1), np.ones_like(x), over

    @staticmethod
    def seen(state: Float64) -> Float64:
        """See Dynamics: position, speed, angle, angular speed."""
        return state


class Acrobot:
    """Two links hanging from a joint, driven where they meet: -1 a step, until the tip has swung up a link's length.

    A link's mass is in its middle, as in the stock environment; moments of inertia are 1 whatever it weighs. Whether
    the tip is high enough is told by the angles alone, as if both links were as long as each other.
    """

    action: ClassVar[Action] = Discrete(3)
    observation: ClassVar[tuple[int, ...]] = (6,)
    longest: ClassVar[int] = 500
    stock: ClassVar[Mapping[str, float]] = {"mass_1": 1.0, "mass_2": 1.0, "length_1": 1.0, "length_2": 1.0}  # kg, m
    begins: ClassVar[tuple[float, ...]] = (0.1, 0.1, 0.1, 0.1)
    edge: ClassVar[tuple[float, ...]] = (math.pi, math.pi, 4.0, 9.0)  # two angles and their speeds

    GRAVITY, SECONDS, INERTIA = 9.8, 0.2, 1.0
    FASTEST = (4 * math.pi, 9 * math.pi)  # rad/s

    @staticmethod
    def stepped(state: Float64, action: NDArray[np.generic], physics: Float64) -> tuple[Float64, Float64, Bool]:
        """See Dynamics; one step of Runge and Kutta's fourth order."""
        torque = action.astype(np.float64) - 1.0
        whole, half = Acrobot.SECONDS, Acrobot.SECONDS / 2.0
        first = Acrobot.moving(state, torque, physics)
        second = Acrobot.moving(state + half * first, torque, physics)
        third = Acrobot.moving(state + half * second, torque, physics)
        fourth = Acrobot.moving(state + whole * third, torque, physics)
        one, two, fast, faster = np.moveaxis(state + whole / 6.0 * (first + 2 * second + 2 * third + fourth), -1, 0)
        one, two = wrapped(one), wrapped(two)
        fast, faster = (np.clip(v, -f, f) for v, f in zip((fast, faster), Acrobot.FASTEST, strict=True))
        over = -np.cos(one) - np.cos(two + one) > 1.0
        return np.stack([one, two, fast, faster], axis=-1), np.where(over, 0.0, -1.0), over

    @staticmethod
    def moving(state: Float64, torque: Float64, physics: Float64) -> Float64:
        """(n, 4): the derivatives of states by time, as in Sutton and Barto's book."""
        gravity, inertia = Acrobot.GRAVITY, Acrobot.INERTIA
        one, two, fast, faster = np.moveaxis(state, -1, 0)
        mass_1, mass_2, length, length_2 = np.moveaxis(physics, -1, 0)
        middle_1, middle_2 = 0.5 * length, 0.5 * length_2
        cosine, sine = np.cos(two), np.sin(two)
        reach = squared(length) + squared(middle_2) + 2 * length * middle_2 * cosine
        d1 = mass_1 * squared(middle_1) + mass_2 * reach + inertia + inertia
        d2 = mass_2 * (squared(middle_2) + length * middle_2 * cosine) + inertia
        pull_2 = mass_2 * middle_2 * gravity * np.cos(one + two - math.pi / 2.0)
        pull_1 = (
            -mass_2 * length * middle_2 * squared(faster) * sine
            - 2 * mass_2 * length * middle_2 * faster * fast * sine
            + (mass_1 * middle_1 + mass_2 * length) * gravity * np.cos(one - math.pi / 2)
            + pull_2
        )
        driven = torque + d2 / d1 * pull_1 - mass_2 * length * middle_2 * squared(fast) * sine - pull_2
        lower = driven / (mass_2 * squared(middle_2) + inertia - squared(d2) / d1)
        upper = -(d2 * lower + pull_1) / d1
        return np.stack([fast, faster, upper, lower], axis=-1)

    @staticmethod
    def seen(state: Float64) -> Float64:
        """See Dynamics: the angles' cosines and sines, and their speeds."""
        one, two, fast, faster = np.moveaxis(state, -1, 0)
        return np.stack([np.cos(one), np.sin(one), np.cos(two), np.sin(two), fast, faster], axis=-1)


def wrapped(angle: Float64) -> Float64:
    """Angles in [-π, π], by whole turns taken off one after the other."""
    while (far := angle > math.pi).any():
        angle = np.where(far, angle - 2 * math.pi, angle)
    while (far := angle < -math.pi).any():
        angle = np.where(far, angle + 2 * math.pi, angle)
    return angle


class Pendulum:
    """A rod to be swung up by less torque than it takes to lift it: a cost for being down, moving, and pulling."""

    action: ClassVar[Action] = Continuous(1)
    observation: ClassVar[tuple[int, ...]] = (3,)
    longest: ClassVar[int] = 200
    stock: ClassVar[Mapping[str, float]] = {"m": 1.0, "l": 1.0}  # kg, m
    begins: ClassVar[tuple[float, ...]] = (math.pi, 1.0)
    edge: ClassVar[tuple[float, ...]] = (math.pi, 8.0)  # angle and its speed

    GRAVITY, SECONDS = 10.0, 0.05
    STRONGEST, FASTEST = 2.0, 8.0  # N m, rad/s

    @staticmethod
    def stepped(state: Float64, action: NDArray[np.generic], physics: Float64) -> tuple[Float64, Float64, Bool]:
        """See Dynamics; a torque beyond the strongest is the strongest."""
        own = Pendulum
        angle, turning = np.moveaxis(state, -1, 0)
        mass, length = np.moveaxis(physics, -1, 0)
        torque = np.clip(action[..., 0].astype(np.float64), -own.STRONGEST, own.STRONGEST)
        down = (angle + np.pi) % (2 * np.pi) - np.pi
        cost = squared(down) + 0.1 * squared(turning) + 0.001 * squared(torque)
        push = 3 * own.GRAVITY / (2 * length) * np.sin(angle) + 3.0 / (mass * squared(length)) * torque
        turning = np.clip(turning + push * own.SECONDS, -own.FASTEST, own.FASTEST)
        angle = angle + turning * own.SECONDS
        return np.stack([angle, turning], axis=-1), -cost, np.zeros(len(angle), dtype=bool)

    @staticmethod
    def seen(state: Float64) -> Float64:
        """See Dynamics: the angle's cosine and sine, and its speed."""
        angle, turning = np.moveaxis(state, -1, 0)
        return np.stack([np.cos(angle), np.sin(angle), turning], axis=-1)


ENVIRONMENTS: Mapping[str, type[Dynamics]] = {"cart_pole": CartPole, "acrobot": Acrobot, "pendulum": Pendulum}
