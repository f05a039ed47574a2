"""Per-decision importance sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlbake.evaluation.estimators.ratios import sums
from rlbake.evaluation.estimators.sequential import Sequential, of_episodes, unrolled

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows


class PerDecisionIS(Sequential):
    """θ = (1/n) Σ_i Σ_t γ^t w_{0:t} r_t.

    A reward is weighted only by the decisions before it: unbiased like `TrajectoryIS`, with less variance as
    a rule. The return is that within what was logged.

    Precup, Sutton & Singh (2000), "Eligibility traces for off-policy policy evaluation", ICML.
    """

    name: ClassVar[str] = "per_decision_is"
    claims_coverage: ClassVar[bool] = True

    def components(self, rows: Rows) -> np.ndarray:
        """[n, Σ_i Σ_t γ^t w_{0:t} r_t] of each unit, float64 [units, 2]."""
        episodes = unrolled(rows, self.gamma, self.horizon)
        with np.errstate(over="ignore", invalid="ignore"):
            weighted = sums(rows, episodes.discount * episodes.weight * rows.reward)
        return np.concatenate([of_episodes(rows, episodes), weighted], axis=1)
