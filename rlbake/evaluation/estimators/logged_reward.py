"""What whoever decided in the logs earned per decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlbake.evaluation.estimators.one_step import OneStep
from rlbake.evaluation.estimators.ratios import sums

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows


class LoggedReward(OneStep):
    """θ = (1/n) Σ r_i: the on-policy mean. Weights and models are not looked at."""

    name: ClassVar[str] = "logged"
    claims_coverage: ClassVar[bool] = True

    def components(self, rows: Rows) -> np.ndarray:
        """[n, Σ r] of each unit, float64 [units, 2]."""
        return sums(rows, np.ones(len(rows)), rows.reward)
