"""Extended Data Figure 4 of Dohare et al. (2024), Nature 632:768: online permuted MNIST, ways of learning compared.

Online accuracy, dead units, weights and effective rank, each way of learning at its best setting; then online accuracy
of every way of learning at each of its settings: what keeps plasticity at one value need not at the next.
"""

from __future__ import annotations

from dashboards.figures.composed import Composed, Panel

FIGURE = Composed(
    (
        Panel(title="online accuracy"),
        Panel(title="dead units", metric="dead_fraction"),
        Panel(title="weights", metric="weight_magnitude"),
        Panel(title="effective rank", metric="effective_rank"),
        Panel(title="settings", lines="each"),
    ),
    "ways of learning, and their settings",
)
METRICS, data, caption, draw = FIGURE.METRICS, FIGURE.data, FIGURE.caption, FIGURE.draw
