"""Trajectory-wise importance sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlbake.evaluation.estimators.sequential import Sequential, of_episodes, unrolled

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows


class TrajectoryIS(Sequential):
    """θ = (1/n) Σ_i w_{0:T-1} Σ_t γ^t r_t, with w_{0:t} = Π_{s≤t} π(a_s|x_s) / μ(a_s|x_s).

    Unbiased where every action that π may take could be logged and μ is known; needs no Markov property.
    The variance grows exponentially with the length of episodes. The return is that within what was logged:
    nothing stands for what follows a truncated episode.

    Precup, Sutton & Singh (2000), "Eligibility traces for off-policy policy evaluation", ICML.
    """

    name: ClassVar[str] = "trajectory_is"
    claims_coverage: ClassVar[bool] = True

    def components(self, rows: Rows) -> np.ndarray:
        """[n, Σ_i w_{0:T-1} G] of each unit, float64 [units, 2]."""
        episodes = unrolled(rows, self.gamma, self.horizon)
        with np.errstate(over="ignore", invalid="ignore"):
            return of_episodes(rows, episodes, episodes.weight[episodes.last] * episodes.returns(rows.reward))
