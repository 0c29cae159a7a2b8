"""Extended Data Figure 1 of Dohare et al. (2024), Nature 632:768: class-incremental CIFAR-100, test accuracies.

Figure 2 shows them minus those of a network retrained from scratch, which is one of the lines here.
"""

from __future__ import annotations

from dashboards.figures.composed import Composed, Panel

FIGURE = Composed(
    (Panel(title="test accuracy"),),
    "accuracy on all classes so far",
)
METRICS, data, caption, draw = FIGURE.METRICS, FIGURE.data, FIGURE.caption, FIGURE.draw
