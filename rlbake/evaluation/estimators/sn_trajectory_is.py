"""Self-normalised trajectory-wise importance sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlbake.evaluation.estimators.sequential import Sequential, of_episodes, unrolled

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows


class SNTrajectoryIS(Sequential):
    """θ = Σ_i w_{0:T-1} Σ_t γ^t r_t / Σ_i w_{0:T-1}.

    Stays between the least and the largest logged return. Biased by O(1/n), consistent under the
    assumptions of `TrajectoryIS`. Undefined where no episode has weight.

    Precup, Sutton & Singh (2000), "Eligibility traces for off-policy policy evaluation", ICML: weighted
    importance sampling.
    """

    name: ClassVar[str] = "sn_trajectory_is"
    claims_coverage: ClassVar[bool] = True

    def ratios(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Σ w G over Σ w."""
        return np.array([1]), np.array([2]), np.ones(1)

    def components(self, rows: Rows) -> np.ndarray:
        """[n, Σ_i w_{0:T-1} G, Σ_i w_{0:T-1}] of each unit, float64 [units, 3]."""
        episodes = unrolled(rows, self.gamma, self.horizon)
        weight = episodes.weight[episodes.last]
        with np.errstate(over="ignore", invalid="ignore"):
            return of_episodes(rows, episodes, weight * episodes.returns(rows.reward), weight)
