"""Extended Data Figure 3 of Dohare et al. (2024), Nature 632:768: online permuted MNIST under plain backprop.

Above, online accuracy at each step size, width and rate of change: larger steps, narrower networks and faster changes
lose plasticity sooner. Below, at each step size, what goes with it: dead units, growing weights, a falling rank. Rates
of change are a study of their own (`permuted_mnist_rate`), of which this figure then draws that panel alone.
"""

from __future__ import annotations

from dashboards.figures.composed import Composed, Panel

FIGURE = Composed(
    (
        Panel(title="step size", lines="optimizer.step_size"),
        Panel(title="width", lines="network.width"),
        Panel(title="rate of change", lines="workload.examples_per_task", by_steps=True),
        Panel(title="dead units", metric="dead_fraction", lines="optimizer.step_size"),
        Panel(title="weights", metric="weight_magnitude", lines="optimizer.step_size"),
        Panel(title="effective rank", metric="effective_rank", lines="optimizer.step_size"),
    ),
    "plain backprop",
)
METRICS, data, caption, draw = FIGURE.METRICS, FIGURE.data, FIGURE.caption, FIGURE.draw
