"""Doubly robust for sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlbake.evaluation.estimators.ratios import sums
from rlbake.evaluation.estimators.sequential import Sequential, of_episodes, unrolled

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows


class SequentialDR(Sequential):
    """θ = (1/n) Σ_i v_0 + Σ_t γ^t w_{0:t} (r_t + γ v_{t+1} - q_t).

    The model's value of the first state, corrected by its weighted temporal differences; v_T is 0 after a
    terminated episode and `tail` after one that goes on unseen. Regrouped it is the usual
    Σ_t γ^t [w_{0:t} (r_t - q_t) + w_{0:t-1} v_t]. Unbiased where the assumptions of `PerDecisionIS` hold,
    whatever the model, if the model has not seen the episodes (what follows a truncated one is as right
    as the model).

    Jiang & Li (2016), "Doubly robust off-policy value evaluation for reinforcement learning",
    arXiv:1511.03722; Thomas & Brunskill (2016), arXiv:1604.00923.
    """

    name: ClassVar[str] = "sequential_dr"
    claims_coverage: ClassVar[bool] = True

    def components(self, rows: Rows) -> np.ndarray:
        """[n, Σ_i of the above] of each unit, float64 [units, 2]."""
        episodes = unrolled(rows, self.gamma, self.horizon)
        error = rows.reward + self.gamma * episodes.following(rows.v, rows.tail) - rows.q
        found = of_episodes(rows, episodes, rows.v[episodes.first])
        with np.errstate(over="ignore", invalid="ignore"):
            found[:, 1:] += sums(rows, episodes.discount * episodes.weight * error)
        return found
