"""MAGIC: a blend of the model and of weighted returns of several lengths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import optimize, stats

from rlbake.evaluation.estimators.per_step import SelfNormalised
from rlbake.evaluation.estimators.sequential import by_episode, unrolled

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows

TRUST = 0.5
"""Confidence of the interval whose distance to a partial return counts as that return's bias."""


@dataclass(frozen=True)
class Magic(SelfNormalised):
    """θ = Σ_j α_j g_j, with g_j = (1/n) Σ_i v_0 + Σ_{t<j} Σ_i γ^t w_{0:t} (r_t + γ v_{t+1} - q_t) / Σ_i w_{0:t}.

    g_j follows the logs for j steps and the model from there on: g_0 is `FQE`, g_H is `SequentialSNDR`.
    α minimises αᵀ (Ω + b bᵀ) α on the simplex: Ω is the covariance of the g_j between units, b_j the
    distance of g_j from an interval of g_H. The lengths are 0, 1, 2, 4, … and H; one whose weights have died out is
    left out. The interval takes α as given, and a blend with the model is biased where the model is.

    Thomas & Brunskill (2016), "Data-efficient off-policy policy evaluation for reinforcement learning",
    arXiv:1604.00923, section 6. Different there: Ω and the interval from a bootstrap over episodes; here
    from influences of units, so that clusters count and there is no randomness.

    Attributes:
        lengths: factors of the terms of steps 0 … H-1, Σ_{j>t} α_j, once `settled`.
    """

    name: ClassVar[str] = "magic"
    claims_coverage: ClassVar[bool] = False

    lengths: tuple[float, ...] | None = None

    def components(self, rows: Rows) -> np.ndarray:
        """[n, Σ_i v_0, Σ_i γ^t w_{0:t} (…), Σ_i w_{0:t}] of each unit, float64 [units, 2 + 2 horizon]."""
        episodes = unrolled(rows, self.gamma, self.horizon)
        error = rows.reward + self.gamma * episodes.following(rows.v, rows.tail) - rows.q
        return self.weighted(rows, episodes, rows.v[episodes.first], episodes.discount * error)

    def ratios(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Those of `SequentialSNDR` that the blend has use for.

        Raises:
            ValueError: not settled.
        """
        if self.lengths is None:
            raise ValueError("magic has no blend yet: call settled(components) first.")
        numerator, denominator, _ = super().ratios(k)
        factor = np.array([1.0, *self.lengths])
        used = factor != 0
        return numerator[used], denominator[used], factor[used]

    def settled(self, components: np.ndarray) -> Magic:
        """The blend for these units, [units, k]; that of `SequentialSNDR` from fewer than 2."""
        given = components[components[:, 0] > 0]
        partial = [self._following(j) for j in sorted({0, *2 ** np.arange(self.horizon.bit_length()), self.horizon})]
        defined = [g for g in partial if np.isfinite(g.value(given.sum(axis=0)))]
        if len(given) < 2 or len(defined) < 2:
            return defined[-1] if defined else partial[-1]
        totals = given.sum(axis=0)
        value = np.array([g.value(totals) for g in defined])
        influence = given @ np.stack([g.gradient(totals) for g in defined], axis=1)
        influence *= np.sqrt(len(given) / (len(given) - 1))
        half = stats.t.ppf((1 + TRUST) / 2, len(given) - 1) * np.sqrt((influence[:, -1] ** 2).sum())
        bias = np.maximum(np.abs(value - value[-1]) - half, 0)
        share = _on_simplex(np.vstack([influence, bias]))
        return replace(self, lengths=tuple((share @ np.array([g.lengths for g in defined])).tolist()))

    def contributions(self, rows: Rows) -> np.ndarray:
        """What each episode contributes, float64 [E], under the blend for the rows' own units."""
        settled = self if self.lengths is not None else self.settled(self.components(rows))
        return settled.parts(settled.components(by_episode(rows)))

    def _following(self, steps: int) -> Magic:
        return replace(self, lengths=tuple((np.arange(self.horizon) < steps).astype(float).tolist()))


def _on_simplex(root: np.ndarray) -> np.ndarray:
    """argmin ‖root · α‖² over α ≥ 0 with Σ α = 1, float64 [rows, J] → [J].

    Non-negative least squares of (root; c 1ᵀ) a = (0; c): scaling α by s costs s² ‖root · α‖² + c² (s - 1)²,
    whose least over s grows with ‖root · α‖, so the best a is the wanted α but for its scale.
    """
    root = np.asarray(np.linalg.qr(root, mode="r"))
    c = np.sqrt((root**2).sum()) or 1.0
    solution, _ = optimize.nnls(np.vstack([root, np.full(root.shape[1], c)]), np.append(np.zeros(len(root)), c))
    return solution / solution.sum()
