"""What the estimators of one-step values share: each row is a decision, a value is a mean reward per decision."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from rlbake.evaluation.estimators.ratios import SumOfRatios, each_alone, sums

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows


class OneStep(SumOfRatios, ABC):
    """A sum of ratios whose items are rows."""

    @abstractmethod
    def components(self, rows: Rows) -> np.ndarray:
        """Sums over each unit's rows, float64 [units, k]; column 0 counts them."""

    def contributions(self, rows: Rows) -> np.ndarray:
        """What each row contributes, float64 [N]; their mean is the value."""
        return self.parts(self.components(each_alone(rows, np.arange(len(rows)), len(rows))))


class Weighted(OneStep):
    """(1/n) Σ f(w_i) r_i."""

    def weights(self, weight: np.ndarray) -> np.ndarray:
        """f(w), float64 [N]."""
        return weight

    def components(self, rows: Rows) -> np.ndarray:
        """[n, Σ f(w) r] of each unit, float64 [units, 2]."""
        return sums(rows, np.ones(len(rows)), self.weights(rows.weight) * rows.reward)


class Corrected(Weighted):
    """(1/n) Σ v_i + f(w_i) (r_i - q_i)."""

    def components(self, rows: Rows) -> np.ndarray:
        """[n, Σ v + f(w) (r - q)] of each unit, float64 [units, 2]."""
        return sums(rows, np.ones(len(rows)), rows.v + self.weights(rows.weight) * (rows.reward - rows.q))


def clipped(weight: np.ndarray, limit: float) -> np.ndarray:
    """min(w, limit)."""
    return np.minimum(weight, limit)


def sub_gaussian(weight: np.ndarray, shrinkage: float) -> np.ndarray:
    """w / (1 - λ + λ w), between w and 1 / λ."""
    return weight / (1 - shrinkage + shrinkage * weight)


def at_least_zero(value: float, name: str) -> None:
    """Refuses negative constants and NaN."""
    if not value >= 0:
        raise ValueError(f"{name} is {value}: it must be 0 or more.")


def within_one(value: float, name: str) -> None:
    """Refuses constants outside [0, 1] and NaN."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}: it must lie between 0 and 1.")
