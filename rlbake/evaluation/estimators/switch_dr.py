"""Doubly robust that trusts the model where weights are large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rlbake.evaluation.estimators.one_step import Corrected, at_least_zero


@dataclass(frozen=True)
class SwitchDR(Corrected):
    """θ = (1/n) Σ v_i + w_i 1[w_i ≤ L] (r_i - q_i).

    Where the logs hardly say anything (w > L) the model alone speaks. Biased by its error there.

    Wang, Agarwal & Dudík (2017), "Optimal and adaptive off-policy evaluation in contextual bandits",
    arXiv:1612.01205, section 4, with the doubly robust estimator for the first part.

    Attributes:
        limit: L, the largest weight that is believed.
    """

    name: ClassVar[str] = "switch_dr"
    claims_coverage: ClassVar[bool] = False

    limit: float = 10.0

    def __post_init__(self) -> None:
        at_least_zero(self.limit, "limit")

    def weights(self, weight: np.ndarray) -> np.ndarray:
        """w where w ≤ L, else 0."""
        return np.where(weight <= self.limit, weight, 0.0)
