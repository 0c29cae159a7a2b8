"""Figure 1 of Dohare et al. (2024), Nature 632:768: continual ImageNet, where plain backprop learns ever less.

On the left plain SGD at each step size over the first ten tasks, in the middle over all of them, with the linear
learner dashed; on the right the ways of learning, each at its best setting. Points are bins of up to 50 tasks, as in
the paper.
"""

from __future__ import annotations

from dashboards.figures.composed import Composed, Panel

FIGURE = Composed(
    (
        Panel(title="the first ten tasks", lines="optimizer.step_size", first=10),
        Panel(title="plain backprop", lines="optimizer.step_size", tasks_per_point=50),
        Panel(title="ways of learning", tasks_per_point=50),
    ),
    "plain backprop, and what keeps it learning",
)
METRICS, data, caption, draw = FIGURE.METRICS, FIGURE.data, FIGURE.caption, FIGURE.draw
