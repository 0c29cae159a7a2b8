"""Many MuJoCo robots stepped together: `mujoco.batch`, and what Gymnasium's environments make of it, as arrays.

What steps them was chosen by measurement (mujoco 4.0, 32 environments, two threads; processor time of a control step of
Ant, Hopper and HalfCheetah against `mj_step` alone in a plain loop): `mujoco.batch`, 93 to 100 % (one thread: 100 %),
keeps its threads between calls, gives every simulation its own friction, and tells of those that blew up. Threads of
Python around `mj_step`, 92 to 97 %, hold the interpreter for some 3 us a step. `mujoco.rollout`, 81 to 94 %, does
not hand back what the solver starts from next, so that the results are not the environments'. What is left of it with
all else that a world does is told by `sweep bench --arm stepping`.

MJX and MuJoCo Warp are not among them. An Ant's control step of all environments together, on one NVIDIA H200 and on
its host (mujoco 4.0, MJX 3.17 with jax 0.11, Warp 4.0, float32 both, compiled in 22 to 51 s):

    environments               8        32        256       2048
    mujoco.batch, 16 threads   0.4 ms   0.9 ms    5.6 ms
    mujoco.batch, one thread   1.9 ms   11 ms     58 ms     454 ms
    MuJoCo Warp                4.9 ms   5.6 ms    6.3 ms    8.3 ms
    MJX                                 47 ms               168 ms

A pack steps some tens of environments: there sixteen cores, and up to eight ants one alone, are ahead of the GPU,
which is level with sixteen at 256. What is blank was not measured. On one core MJX took 3.3 to 4.1 ms for a batch of
8 and 7.4 to 7.9 for 32 (jax 0.10), where `mj_step` took 0.17 to 0.19 ms for each. Both are programs of their own,
float32 unless told otherwise, so that nothing would be the stock environments' to the bit.

Contact forces (Ant-v5 alone) are not among what a batch computes: they are had one simulation after the other, from a
copy of each one's data, for some 6 % of an ant's step.

Simulations count numbers below the normal range, as in any other program, though a pack elsewhere takes them for zero.

Trials step on one thread, the pack's: packs train beside each other, each on a core. `threads` is for the bench, and
for those who make simulations without a trial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import gymnasium.envs.mujoco
import mujoco
import numpy as np
from mujoco.batch import Batch
from numpy.typing import NDArray

from workloads.engine.computing import subnormal
from workloads.random import normal, uniform
from workloads.reinforcement.bodies import FORCE, Body
from workloads.reinforcement.worlds import Bool, Float32, Float64, World, Worlds

MODELS = Path(gymnasium.envs.mujoco.__file__).parent / "assets"
# Of a simulation's warnings (kinds, 2) the counts of those that say it is unstable.
UNSTABLE = slice(mujoco.mjtWarning.mjWARN_BADQPOS.value, mujoco.mjtWarning.mjWARN_BADCTRL.value + 1), 1
DRAWN = 32  # episodes whose beginnings are drawn together: one draw takes as long as some steps of a hopper
TORSO = 1  # the first body after the world's


@contextmanager
def quiet() -> Iterator[None]:
    """Within: MuJoCo's warnings are neither printed nor written to a file in the working directory."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def loaded(body: Body) -> mujoco.MjModel:
    """The stock model of a robot."""
    with quiet():  # the cheetah's file says something in a way that is deprecated
        return mujoco.MjModel.from_xml_path(str(MODELS / body.model))


class Simulations(Worlds):
    """Robots of one kind. Their state: "physics", all that MuJoCo integrates, (M, E, ...); "place", how far each has
    come; contact "forces", clipped, where they are shown; and "blown_up", how often a simulation became unstable.

    One that did, or was given an action that is not finite, ends its episode with a reward of zero, seen at rest where
    MuJoCo puts such a one, and begins the next.
    """

    arrays: ClassVar[tuple[str, ...]] = ("physics", "place", "forces", "blown_up")
    counts = ("blown_up",)

    def __init__(self, members: Sequence[World], body: Body, *, threads: int = 1) -> None:
        """`threads` that step, the caller's included: the bits are the same for any number."""
        super().__init__(members)
        self.body = body
        self.model = loaded(self.body)
        count = self.shape[0] * self.shape[1]
        with subnormal():  # threads begin as the one that made them is set
            self.batch = Batch(self.model, count, threads, persistent=self.body.contacts)
        self.position, self.velocity = self.batch.bind("qpos"), self.batch.bind("qvel")
        self.control = self.batch.bind("ctrl")
        self.centers = self.batch.bind("xpos") if self.body.torso else None
        self.scratch = mujoco.MjData(self.model)
        self.seconds = self.model.opt.timestep * self.body.substeps
        self.place = np.zeros(self.shape)
        self.forces = np.zeros((*self.shape, self.model.nbody if self.body.contacts else 0, 6))
        self.blown_up = np.zeros(self.shape)
        self.warnings = self.batch.warning[:, *UNSTABLE]
        self.rest: Float64 = self.batch.state[0].copy()  # what a simulation is reset to
        self.block = np.full(self.shape, -1)  # of episodes, that `noise` is of
        self.noise = np.zeros((*self.shape, DRAWN, self.model.nq + self.model.nv))

    @property
    def physics(self) -> Float64:
        """(M, E, numbers): all that MuJoCo integrates, and what its solver starts from."""
        rows: Float64 = self.batch.state.reshape(*self.shape, -1)
        return rows

    @physics.setter
    def physics(self, state: Float64) -> None:
        self.batch.state[:] = state.reshape(self.batch.state.shape)

    def begin(self, where: Bool) -> None:
        """See Worlds: at rest but for the stock environment's noise."""
        ids = np.flatnonzero(where).astype(np.int32)
        noise = self.beginnings(where)
        with subnormal():
            self.batch.state[ids] = self.rest  # as `reset` does, whose checks take ten times as long
            self.position[ids] += noise[:, : self.model.nq]
            self.velocity[ids] += noise[:, self.model.nq :]
            self.batch.forward(ids)
        if self.body.contacts:
            self.forces[where] = 0
        self.place[where] = self.placed()[where]
        self.look()

    def beginnings(self, where: Bool) -> Float64:
        """(environments in the mask, positions and velocities) noise of where an episode begins."""
        block, place = np.divmod(self.episode, DRAWN)
        fresh = where & (block != self.block)
        if fresh.any():
            at = self.drawn(uniform, "mujoco/position", block, fresh, DRAWN * self.model.nq)
            moving = self.drawn(self.body.speeds, "mujoco/velocity", block, fresh, DRAWN * self.model.nv)
            parts = [2 * at - 1, moving if self.body.speeds is normal else 2 * moving - 1]
            drawn = [part.reshape(len(part), DRAWN, -1) for part in parts]
            self.block[fresh], self.noise[fresh] = block[fresh], self.body.noise * np.concatenate(drawn, axis=-1)
        noise: Float64 = self.noise[where, place[where]]
        return noise

    def move(self, actions: NDArray[Any]) -> tuple[Float64, Bool]:
        """See Worlds."""
        chosen = actions.reshape(self.control.shape)
        self.control[:] = chosen
        self.integrate()
        failed = self.failed()
        if self.body.contacts:
            self.forces[:] = self.contact_forces()
        before, self.place = self.place, self.placed()
        speed = ((self.place - before) / self.seconds).reshape(-1)
        healthy = self.body.healthy(self.position, self.velocity)
        reward = self.body.reward(speed, healthy, chosen, self.forces.reshape(len(chosen), -1))
        if failed is not None:
            reward[failed], healthy[failed] = 0.0, False
        self.look()
        return reward.reshape(self.shape), ~healthy.reshape(self.shape)

    def integrate(self) -> None:
        """MuJoCo's part of a step."""
        with subnormal(), quiet():
            self.batch.step(nstep=self.body.substeps)

    def failed(self) -> Bool | None:
        """(M E,) whose simulation has become unstable in this step, if any; they are put to rest."""
        state = self.batch.state  # what moves them is in it
        if not self.warnings.any() and math.isfinite(state.sum()):  # two numbers to look at, nearly always
            return None
        failed: Bool = self.warnings.any(-1) | ~np.isfinite(state).all(-1)
        with subnormal():
            self.batch.reset(np.flatnonzero(failed).astype(np.int32))
        self.blown_up += failed.reshape(self.shape)
        return failed

    def placed(self) -> Float64:
        """(M, E) how far each has come, in m."""
        forward = self.position[:, 0] if self.centers is None else self.centers[:, TORSO, 0]
        placed: Float64 = forward.reshape(self.shape).copy()
        return placed

    def contact_forces(self) -> Float64:
        """(M, E, bodies, 6), clipped."""
        forces = np.empty((len(self.position), self.model.nbody, 6))
        for i in range(len(forces)):
            data = self.data_of(i)
            mujoco.mj_rnePostConstraint(self.model, data)
            forces[i] = data.cfrc_ext
        return np.clip(forces, -FORCE, FORCE).reshape(self.forces.shape)

    def data_of(self, place: int) -> mujoco.MjData:
        """MuJoCo's data of one simulation, counted over all members; the same object in every call."""
        self.batch.get_data(place, self.scratch)
        return self.scratch

    def look(self) -> None:
        """Take down what there is to see."""
        seen = np.zeros((len(self.position), self.body.shown), dtype=np.float32)
        self.body.show(seen, self.position, self.velocity, self.forces.reshape(len(seen), -1))
        self.seen = seen.reshape(*self.shape, -1)

    def observe(self) -> Float32:
        """See Worlds."""
        return self.seen

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """See Worlds."""
        super().load(state)
        self.look()


class SlipperySimulations(Simulations):
    """Robots on ground whose friction changes: each episode's is that of the task in which it begins."""

    arrays: ClassVar[tuple[str, ...]] = (*Simulations.arrays, "friction")

    def __init__(
        self, members: Sequence[World], body: Body, frictions: Sequence[Callable[[int], float]], *, threads: int = 1
    ) -> None:
        """`frictions`: of each member, task -> friction."""
        super().__init__(members, body, threads=threads)
        self.frictions = frictions
        self.sliding = self.batch.expand("geom_friction")[:, :, 0]  # of every geom, the floor's among them

    @property
    def friction(self) -> Float64:
        """(M, E) of the running episodes."""
        sliding: Float64 = self.sliding[:, 0].reshape(self.shape)
        return sliding

    @friction.setter
    def friction(self, values: Float64) -> None:
        self.sliding[:] = values.reshape(-1, 1)

    def begin(self, where: Bool) -> None:
        """See Worlds."""
        due = np.array([[friction(self.task)] for friction in self.frictions])
        self.friction = np.where(where, due, self.friction)
        super().begin(where)
