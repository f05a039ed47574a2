"""Doubly robust with optimistic shrinkage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rlbake.evaluation.estimators.one_step import Corrected, at_least_zero


@dataclass(frozen=True)
class ShrinkageDR(Corrected):
    """θ = (1/n) Σ v_i + L w_i / (w_i² + L) (r_i - q_i).

    The weights that minimise a bound on the mean squared error: L = 0 is the direct method, L = ∞ is `DR`.
    The more a weight exceeds √L, the less it counts.

    Su, Dimakopoulou, Krishnamurthy & Dudík (2020), "Doubly robust off-policy evaluation with shrinkage",
    arXiv:1907.09623.

    Attributes:
        strength: L. The default halves a weight of 10.
    """

    name: ClassVar[str] = "shrinkage_dr"
    claims_coverage: ClassVar[bool] = False

    strength: float = 100.0

    def __post_init__(self) -> None:
        at_least_zero(self.strength, "strength")
        if np.isinf(self.strength):
            raise ValueError("strength is inf: that is DR.")

    def weights(self, weight: np.ndarray) -> np.ndarray:
        """L w / (w² + L); 0 where w and L are."""
        return self.strength * weight / np.where(weight > 0, weight**2 + self.strength, 1.0)
