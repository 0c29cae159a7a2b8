"""What Python is given of a sweep that was run: `sweep.results("my_sweep")`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from sweep.results import comparisons, frames, leaderboard, windows
from sweep.results.comparisons import Comparison
from sweep.results.intervals import Statistic
from sweep.results.leaderboard import Leaderboard
from sweep.results.selections import Stage

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord


@dataclass(frozen=True)
class Results:
    """The results of a sweep; a notebook shows its leaderboard."""

    record: SweepRecord
    ledger: Ledger

    @functools.cached_property
    def trials(self) -> pd.DataFrame:
        """Every trial by its id: arm, group, seed, status and every setting as a column."""
        return frames.trials(self.record, self.ledger)

    @functools.cached_property
    def curves(self) -> pd.DataFrame:
        """Every measured value: sweep, trial, arm, workload, seed, task, step, metric, value, and what settings differ
        in. An arm may have many settings, and a mean over an arm alone is one over all of them.
        """
        return frames.with_axes(frames.curves(self.record, self.ledger), self.trials)

    def leaderboard(
        self,
        *,
        metric: str | None = None,
        window: str = str(windows.LATE),
        by: str | Sequence[str] = (),
        stage: Stage | None = None,
        statistic: Statistic = "mean",
    ) -> Leaderboard:
        """Each arm at its best setting, beside the first: see `sweep.results.leaderboard.leaderboard`."""
        return leaderboard.leaderboard(
            self.record,
            self.ledger,
            metric=metric,
            window=windows.asked(window),
            by=[by] if isinstance(by, str) else by,
            stage=stage,
            statistic=statistic,
        )

    def compare(
        self,
        ours: str,
        theirs: str,
        *,
        metric: str | None = None,
        window: str = str(windows.LATE),
        stage: Stage | None = None,
        statistic: Statistic = "mean",
    ) -> list[Comparison]:
        """One arm beside another, paired by seed, in every panel: see `sweep.results.comparisons.compare`."""
        over = windows.asked(window)
        return comparisons.compare(
            self.record, self.ledger, ours, theirs, metric=metric, window=over, stage=stage, statistic=statistic
        )

    def _repr_html_(self) -> str:
        """The question and the leaderboard, for a notebook."""
        question = self.record.manifest.get("question") or self.record.identity
        return f"<p><b>{escape(question)}</b></p>\n{self.leaderboard()._repr_html_()}"
