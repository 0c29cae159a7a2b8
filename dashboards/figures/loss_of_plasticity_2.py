"""Figure 2 of Dohare et al. (2024), Nature 632:768: class-incremental CIFAR-100 beside networks from scratch.

Test accuracy minus that of a network retrained from scratch on the same classes, paired by seed; dormant units; and the
share of directions that features use, which the paper calls the stable rank.
"""

from __future__ import annotations

from dashboards.figures.composed import Composed, Panel

FIGURE = Composed(
    (
        Panel(title="beside a network from scratch", beside_scratch=True),
        Panel(title="dormant units", metric="dormant_fraction"),
        Panel(title="stable rank", metric="stable_rank_99"),
    ),
    "what incremental training loses",
)
METRICS, data, caption, draw = FIGURE.METRICS, FIGURE.data, FIGURE.caption, FIGURE.draw
