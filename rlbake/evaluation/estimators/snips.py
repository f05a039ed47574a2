"""Self-normalised inverse propensity scoring."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlbake.evaluation.estimators.one_step import OneStep
from rlbake.evaluation.estimators.ratios import sums

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows


class SNIPS(OneStep):
    """θ = Σ w_i r_i / Σ w_i.

    Stays between the least and the largest reward and does not mind a constant added to them. Biased by
    O(1/n), consistent under the assumptions of `IPS`. Undefined where no logged action has weight.

    Swaminathan & Joachims (2015), "The self-normalized estimator for counterfactual learning", NeurIPS;
    the ratio estimator of Hájek (1971).
    """

    name: ClassVar[str] = "snips"
    claims_coverage: ClassVar[bool] = True

    def ratios(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Σ w r over Σ w."""
        return np.array([1]), np.array([2]), np.ones(1)

    def components(self, rows: Rows) -> np.ndarray:
        """[n, Σ w r, Σ w] of each unit, float64 [units, 3]."""
        return sums(rows, np.ones(len(rows)), rows.weight * rows.reward, rows.weight)
