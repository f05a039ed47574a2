"""Inverse propensity scoring with sub-Gaussian weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rlbake.evaluation.estimators.one_step import Weighted, sub_gaussian, within_one


@dataclass(frozen=True)
class SubGaussianIPS(Weighted):
    """θ = (1/n) Σ w_i / (1 - λ + λ w_i) r_i.

    The harmonic mean of w and 1 with weights 1 - λ and λ: smooth in w, bounded by 1/λ, and its error has
    sub-Gaussian tails where that of `IPS` only has polynomial ones. Biased by what is shrunk.

    Metelli, Russo & Restelli (2021), "Subgaussian and differentiable importance sampling for off-policy
    evaluation and learning", NeurIPS (the power mean with s = -1).

    Attributes:
        shrinkage: λ in [0, 1]; 0 is `IPS`. The default bounds weights by 10.
    """

    name: ClassVar[str] = "sub_gaussian_ips"
    claims_coverage: ClassVar[bool] = False

    shrinkage: float = 0.1

    def __post_init__(self) -> None:
        within_one(self.shrinkage, "shrinkage")

    def weights(self, weight: np.ndarray) -> np.ndarray:
        """w / (1 - λ + λ w)."""
        return sub_gaussian(weight, self.shrinkage)
