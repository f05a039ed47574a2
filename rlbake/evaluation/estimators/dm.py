"""The direct method."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlbake.evaluation.estimators.one_step import OneStep
from rlbake.evaluation.estimators.ratios import sums

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows


class DM(OneStep):
    """θ = (1/n) Σ v_i, with v = Σ_a π(a|x) q̂(x, a).

    As right as the model q̂: no weights, little variance, and a bias that no interval shows. The logging
    probabilities are not needed.

    Dudík, Langford & Li (2011), arXiv:1103.4601, section 2.
    """

    name: ClassVar[str] = "dm"
    claims_coverage: ClassVar[bool] = False

    def components(self, rows: Rows) -> np.ndarray:
        """[n, Σ v] of each unit, float64 [units, 2]."""
        return sums(rows, np.ones(len(rows)), rows.v)
