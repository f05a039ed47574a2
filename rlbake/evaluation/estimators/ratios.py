"""The algebra that the estimators share: a sum of ratios of sums."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows


class SumOfRatios:
    """θ(S) = Σ_j c_j S[n_j] / S[d_j].

    A mean is one ratio (a sum over a count), a self-normalised estimator divides by summed weights instead.
    """

    def ratios(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices n_j and d_j, int64 [ratios], and factors c_j, float64 [ratios], of k components."""
        return np.array([1]), np.array([0]), np.ones(1)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """θ of totals [..., k]; NaN where a denominator is 0, or sums are beyond what float64 holds."""
        numerator, denominator, factor = self.ratios(totals.shape[-1])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return (factor * (totals[..., numerator] / _nonzero(totals[..., denominator]))).sum(axis=-1)

    def gradient(self, totals: np.ndarray) -> np.ndarray:
        """∂θ/∂S at totals [k]."""
        numerator, denominator, factor = self.ratios(len(totals))
        slope = np.zeros(len(totals))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            below = _nonzero(totals[denominator])
            np.add.at(slope, numerator, factor / below)
            np.add.at(slope, denominator, -factor * totals[numerator] / below**2)
        return slope

    def settled(self, components: np.ndarray) -> Self:
        """Itself: nothing is chosen from the data."""
        return self

    def parts(self, components: np.ndarray) -> np.ndarray:
        """n Σ_j c_j s_u[n_j] / S[d_j] for n units of sums s_u, float64 [units, k] → [units]."""
        numerator, denominator, factor = self.ratios(components.shape[1])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            below = _nonzero(components.sum(axis=0)[denominator])
            return len(components) * (components[:, numerator] @ (factor / below))


def sums(rows: Rows, *columns: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
    """Sums of [N] columns over each unit's rows, float64 [units, columns].

    Args:
        at: of the rows that the columns are of, where these are not all rows.
    """
    unit = rows.unit if at is None else rows.unit[at]
    return np.stack([np.bincount(unit, weights=column, minlength=rows.units) for column in columns], axis=1)


def each_alone(rows: Rows, item: np.ndarray, items: int) -> Rows:
    """The same rows, with every item (a row, an episode) a unit of its own."""
    return replace(rows, unit=item, units=items)


def _nonzero(x: np.ndarray) -> np.ndarray:
    return np.where(x == 0, np.nan, x)
