"""Doubly robust with clipped weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rlbake.evaluation.estimators.one_step import Corrected, at_least_zero, clipped


@dataclass(frozen=True)
class ClippedDR(Corrected):
    """θ = (1/n) Σ v_i + min(w_i, L) (r_i - q_i).

    Biased by the model's error where weights are cut.

    Su, Dimakopoulou, Krishnamurthy & Dudík (2020), "Doubly robust off-policy evaluation with shrinkage",
    arXiv:1907.09623, the pessimistic shrinkage.

    Attributes:
        limit: L, the largest weight.
    """

    name: ClassVar[str] = "clipped_dr"
    claims_coverage: ClassVar[bool] = False

    limit: float = 10.0

    def __post_init__(self) -> None:
        at_least_zero(self.limit, "limit")

    def weights(self, weight: np.ndarray) -> np.ndarray:
        """min(w, L)."""
        return clipped(weight, self.limit)
