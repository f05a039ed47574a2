"""Doubly robust with sub-Gaussian weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rlbake.evaluation.estimators.one_step import Corrected, sub_gaussian, within_one


@dataclass(frozen=True)
class SubGaussianDR(Corrected):
    """θ = (1/n) Σ v_i + w_i / (1 - λ + λ w_i) (r_i - q_i).

    Biased by the model's error where weights are shrunk; see `SubGaussianIPS`.

    Metelli, Russo & Restelli (2021), "Subgaussian and differentiable importance sampling for off-policy
    evaluation and learning", NeurIPS.

    Attributes:
        shrinkage: λ in [0, 1]; 0 is `DR`. The default bounds weights by 10.
    """

    name: ClassVar[str] = "sub_gaussian_dr"
    claims_coverage: ClassVar[bool] = False

    shrinkage: float = 0.1

    def __post_init__(self) -> None:
        within_one(self.shrinkage, "shrinkage")

    def weights(self, weight: np.ndarray) -> np.ndarray:
        """w / (1 - λ + λ w)."""
        return sub_gaussian(weight, self.shrinkage)
