"""The direct method for sequences: fitted Q evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlbake.evaluation.estimators.ratios import sums
from rlbake.evaluation.estimators.sequential import Sequential, first_rows

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows


class FQE(Sequential):
    """θ = (1/n) Σ_i v(x_0), with v(x) = Σ_a π(a|x) q̂(x, a) and q̂ fitted to q̂(x, a) ≈ r + γ v(x').

    As right as the model: no weights, little variance, and a bias that no interval shows.

    Le, Voloshin & Yue (2019), "Batch policy learning under constraints", arXiv:1903.08738; compared in
    Voloshin, Le, Jiang & Yue (2019), arXiv:1911.06854.
    """

    name: ClassVar[str] = "fqe"
    claims_coverage: ClassVar[bool] = False

    def components(self, rows: Rows) -> np.ndarray:
        """[n, Σ_i v(x_0)] of each unit, float64 [units, 2]."""
        first = first_rows(rows)
        return sums(rows, np.ones(len(first)), rows.v[first], at=first)
