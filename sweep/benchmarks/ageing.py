"""Networks of an age: what a bench must measure, since numbers get strange in networks that have trained for long.

Moments of silent units decay below the normal range, units die, weights under strong decay all but vanish: a bench of
newborn networks saw nothing of it while sweeps took ten times longer. The path under measurement does the ageing
itself. Where many members would take too long, a few seeds are aged, and every other seed goes on from the state of
one of them on a stream of its own, which to it is one more change of task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.benchmarks.plain_loop import PlainLoop

if TYPE_CHECKING:
    from workloads.training.loop import Training


def grow(training: Training, until: int) -> None:
    """Train to a step, task by task; what is measured on the way is thrown away."""
    while training.step < until:
        task = training.stream.task_of(training.step)
        end = training.stream.task_start(task + 1)
        training.train(min(end, until))
        if training.step == end:
            training.end_task(task)
            training.table.take()


def take_over(training: Training, elder: Training, *, configs: int) -> None:
    """Put members in the state of an elder pack's: of seed s, that of its seed s modulo its number of seeds.

    Both packs have their members seed by seed, `configs` of each.
    """
    import torch

    from workloads.engine.layout import mapped

    places = torch.arange(len(training.seeds)) % len(elder.seeds)
    assert len(elder.seeds) % configs == 0
    training.engine.load(mapped(lambda value: value[places], elder.engine.state()))
    training.step = elder.step


def hand_over(training: Training, loop: PlainLoop) -> None:
    """Put the plain loop in the state of the pack's first member: weights, the optimizer's state and the methods'."""
    from workloads.engine.layout import member

    loop.carry_on(member(training.engine.state(), 0))


def shares_read(training: Training, examples: int = 256) -> list[float]:
    """Shares of the inputs, and of every hidden layer's units, that are not zero in the next examples, first member."""
    import torch

    from workloads.engine.layout import member

    x = torch.from_numpy(training.stream.batches(training.step, examples)[0]).flatten(0, 1).to(training.dtype)
    hidden = training.network.apply(member(training.engine.state(), 0)["params"], x)[1]
    return [float((values != 0).double().mean()) for values in (x, *(features for _, features in hidden))]
