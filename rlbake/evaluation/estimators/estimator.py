"""What an off-policy estimator is: a smooth function of sums over logged decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    import numpy as np

    from rlbake.evaluation.rows import Rows


class Estimator(Protocol):
    """The value of a target policy from sums that can be added over any parts of the logs.

    θ(S), with S the totals over all units, is homogeneous of degree 0 (counts are among the sums), so that
    the influence of a unit's sums s_u on the estimate is ∇θ(S)·s_u and these add up to 0: all that an
    interval needs (`evaluation.intervals`).

    Attributes:
        name: the key in `ONE_STEP` or `SEQUENTIAL`.
        claims_coverage: whether its 95 % interval is meant to cover the true value 95 times of 100. False
            where the estimator is biased by design: it clips or shrinks weights, or believes a model.
    """

    name: ClassVar[str]
    claims_coverage: ClassVar[bool]

    def components(self, rows: Rows) -> np.ndarray:
        """Sums over each unit's rows, float64 [units, k]; column 0 counts its rows (or episodes).

        Additive over disjoint sets of episodes (of rows, where each row is a decision of its own).

        Raises:
            ValueError: an episode has more steps than the estimator's horizon.
        """
        ...

    def value(self, totals: np.ndarray) -> np.ndarray:
        """The estimate from totals over units, float64 [..., k] → [...]; NaN where it is undefined."""
        ...

    def gradient(self, totals: np.ndarray) -> np.ndarray:
        """∂ value / ∂ totals, float64 [k] → [k]; NaN where it is undefined."""
        ...

    def settled(self, components: np.ndarray) -> Estimator:
        """Itself, unless part of it is chosen from how units vary ([units, k]): then with that chosen."""
        ...

    def contributions(self, rows: Rows) -> np.ndarray:
        """What each row (or episode) contributes, float64 [rows or episodes]; their mean is the value."""
        ...
