"""Self-normalised doubly robust for sequences (weighted doubly robust)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlbake.evaluation.estimators.per_step import SelfNormalised
from rlbake.evaluation.estimators.sequential import unrolled

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows


class SequentialSNDR(SelfNormalised):
    """θ = (1/n) Σ_i v_0 + Σ_t Σ_i γ^t w_{0:t} (r_t + γ v_{t+1} - q_t) / Σ_i w_{0:t}.

    `SequentialDR` with weights that average 1 at every step, those of ended episodes carried on. Biased by
    O(1/n), consistent under the assumptions of `SequentialDR`. Undefined where no episode has weight at some
    step.

    Thomas & Brunskill (2016), "Data-efficient off-policy policy evaluation for reinforcement learning",
    arXiv:1604.00923, section 5 (WDR).
    """

    name: ClassVar[str] = "sequential_sndr"
    claims_coverage: ClassVar[bool] = True

    def components(self, rows: Rows) -> np.ndarray:
        """[n, Σ_i v_0, Σ_i γ^t w_{0:t} (…), Σ_i w_{0:t}] of each unit, float64 [units, 2 + 2 horizon]."""
        episodes = unrolled(rows, self.gamma, self.horizon)
        error = rows.reward + self.gamma * episodes.following(rows.v, rows.tail) - rows.q
        return self.weighted(rows, episodes, rows.v[episodes.first], episodes.discount * error)
