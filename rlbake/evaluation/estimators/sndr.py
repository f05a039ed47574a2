"""Self-normalised doubly robust."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlbake.evaluation.estimators.one_step import OneStep
from rlbake.evaluation.estimators.ratios import sums

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows


class SNDR(OneStep):
    """θ = (1/n) Σ v_i + Σ w_i (r_i - q_i) / Σ w_i.

    `DR` with weights that average 1, so that no correction is larger than the model's largest error.
    Biased by O(1/n), consistent under the assumptions of `DR`. Undefined where no logged action has weight.

    Robins, Sued, Lei-Gomez & Rotnitzky (2007), "Comment: performance of double-robust estimators when
    inverse probability weights are highly variable", arXiv:0804.2965; for policies: Thomas & Brunskill
    (2016), arXiv:1604.00923, section 5.
    """

    name: ClassVar[str] = "sndr"
    claims_coverage: ClassVar[bool] = True

    def ratios(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Σ v over n, Σ w (r - q) over Σ w."""
        return np.array([1, 2]), np.array([0, 3]), np.ones(2)

    def components(self, rows: Rows) -> np.ndarray:
        """[n, Σ v, Σ w (r - q), Σ w] of each unit, float64 [units, 4]."""
        return sums(rows, np.ones(len(rows)), rows.v, rows.weight * (rows.reward - rows.q), rows.weight)
