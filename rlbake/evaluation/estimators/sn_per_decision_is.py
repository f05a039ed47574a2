"""Self-normalised per-decision importance sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlbake.evaluation.estimators.per_step import SelfNormalised
from rlbake.evaluation.estimators.sequential import unrolled

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows


class SNPerDecisionIS(SelfNormalised):
    """θ = Σ_t Σ_i γ^t w_{0:t} r_t / ((1/n) Σ_i w_{0:t}) / n.

    At every step the weights of all episodes average 1, with those of ended episodes carried on. Biased by
    O(1/n), consistent under the assumptions of `PerDecisionIS`. Undefined where no episode has weight at
    some step.

    Precup, Sutton & Singh (2000), "Eligibility traces for off-policy policy evaluation", ICML; normalised per
    step as in Thomas & Brunskill (2016), arXiv:1604.00923.
    """

    name: ClassVar[str] = "sn_per_decision_is"
    claims_coverage: ClassVar[bool] = True

    def components(self, rows: Rows) -> np.ndarray:
        """[n, 0, Σ_i γ^t w_{0:t} r_t, Σ_i w_{0:t}] of each unit, float64 [units, 2 + 2 horizon]."""
        episodes = unrolled(rows, self.gamma, self.horizon)
        return self.weighted(rows, episodes, np.zeros(len(episodes.first)), episodes.discount * rows.reward)
