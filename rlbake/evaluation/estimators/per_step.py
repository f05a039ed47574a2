"""What the self-normalised sequential estimators share: weights that average 1 at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rlbake.evaluation.estimators.sequential import Episodes, Sequential, of_episodes

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows


class SelfNormalised(Sequential):
    """θ = B/n + Σ_t X_t / W_t.

    X_t = Σ_i w_{0:t} x_t sums what is weighted at step t, W_t = Σ_i w_{0:t} the weights, n counts all episodes
    and B/n is a part without weights. **An episode that has ended carries its last weight on to the horizon**:
    normalised over those still going on, the estimate would be conditioned on survival, and biased.
    """

    def ratios(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """B over n, and each X_t over its W_t."""
        steps = np.arange(self.horizon)
        return np.append(1, 2 + steps), np.append(0, 2 + self.horizon + steps), np.ones(1 + self.horizon)

    def weighted(self, rows: Rows, episodes: Episodes, base: np.ndarray, x: np.ndarray) -> np.ndarray:
        """[n, B, X_0 … X_{H-1}, W_0 … W_{H-1}] of each unit, float64 [units, 2 + 2 horizon].

        Args:
            base: float64 [E], what an episode has without weights.
            x: float64 [N], what is weighted.
        """
        at, last = episodes.step, episodes.last
        with np.errstate(over="ignore", invalid="ignore"):
            weighted = _per_step(rows, rows.unit, at, episodes.weight * x, self.horizon)
            running = _per_step(rows, rows.unit, at, episodes.weight, self.horizon)
            over = _per_step(rows, rows.unit[last], at[last] + 1, episodes.weight[last], self.horizon + 1)
            carried = over.cumsum(axis=1)[:, :-1]
        return np.concatenate([of_episodes(rows, episodes, base), weighted, running + carried], axis=1)


def _per_step(rows: Rows, unit: np.ndarray, step: np.ndarray, values: np.ndarray, steps: int) -> np.ndarray:
    """Sums of values by unit and step, float64 [units, steps]."""
    cells = rows.units * steps
    return np.bincount(unit * steps + step, weights=values, minlength=cells).reshape(rows.units, steps)
