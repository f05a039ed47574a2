"""Inverse propensity scoring with clipped weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rlbake.evaluation.estimators.one_step import Weighted, at_least_zero, clipped


@dataclass(frozen=True)
class ClippedIPS(Weighted):
    """θ = (1/n) Σ min(w_i, L) r_i.

    Biased towards 0 by what is cut off, which for rewards ≥ 0 makes it a lower bound in expectation;
    bounded by L times the largest reward. Its interval is of its own expectation, not of the true value.

    Ionides (2008), "Truncated importance sampling", doi:10.1198/106186008X320456; Bottou et al. (2013),
    arXiv:1209.2355.

    Attributes:
        limit: L, the largest weight.
    """

    name: ClassVar[str] = "clipped_ips"
    claims_coverage: ClassVar[bool] = False

    limit: float = 10.0

    def __post_init__(self) -> None:
        at_least_zero(self.limit, "limit")

    def weights(self, weight: np.ndarray) -> np.ndarray:
        """min(w, L)."""
        return clipped(weight, self.limit)
