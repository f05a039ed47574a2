"""What whoever decided in the logs earned per episode."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlbake.evaluation.estimators.sequential import Sequential, of_episodes, unrolled

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows


class LoggedReturn(Sequential):
    """θ = (1/n) Σ_i Σ_t γ^t r_t: the on-policy mean within what was logged. Weights and models are not looked at."""

    name: ClassVar[str] = "logged"
    claims_coverage: ClassVar[bool] = True

    def components(self, rows: Rows) -> np.ndarray:
        """[n, Σ_i G] of each unit, float64 [units, 2]."""
        episodes = unrolled(rows, self.gamma, self.horizon)
        return of_episodes(rows, episodes, episodes.returns(rows.reward))
