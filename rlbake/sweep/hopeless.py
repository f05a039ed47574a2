"""Trials that need not be finished: the median rule.

Golovin et al., "Google Vizier: a service for black-box optimization" (KDD 2017), section 3.2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, median

from rlbake.sweep.objective import DONE, Trial

FEWEST = 5
"""Finished trials before one can be called hopeless."""


class MedianRule:
    """A trial is stopped after cycle s if its best score until then is below the median of what finished trials had.

    What such a trial had is the mean of its scores up to cycle s.

    Args:
        trials: that were made before.
    """

    def __init__(self, trials: Sequence[Trial] = ()) -> None:
        self._curves: list[list[float]] = []
        for trial in trials:
            self.learn(trial)

    def learn(self, trial: Trial) -> None:
        """Remembers a trial, if it was finished."""
        if trial.status == DONE and trial.outcome:
            self._curves.append(trial.outcome.learning_curve)

    def __call__(self, curve: Sequence[float]) -> bool:
        """Whether a trial with such a curve so far is worth going on with."""
        if len(self._curves) < FEWEST:
            return True
        return max(curve) >= median(mean(known[: len(curve)]) for known in self._curves)


def always(curve: Sequence[float]) -> bool:
    """Every trial is finished."""
    return True
