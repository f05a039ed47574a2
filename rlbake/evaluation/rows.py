"""What every off-policy estimator reads: logged decisions, seen from one target policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rows:
    """N logged decisions, sorted by (episode, step); an episode's rows are contiguous.

    An estimator never sees actions or probabilities, only what is made of them, so it is the same
    for discrete and continuous actions, for one logging policy or many.

    Attributes:
        unit: int64 [N], in [0, units): the environment, or a hash group of environments. Units are
            independent of each other, the decisions of one unit are not.
        episode: int64 [N], of the decision; whole episodes only, or what was loaded of them.
        step: int64 [N], 0-based number of the decision in its episode.
        reward: float64 [N], what followed the logged action.
        weight: float64 [N], π(a|x) / μ(a|x) of the logged action: target over logging policy.
        q: float64 [N], modelled value q̂(x, a) of the logged action; 0 where there is no model.
        v: float64 [N], Σ_a π(a|x) q̂(x, a).
        tail: float64 [N], modelled value v of what follows the row where the episode goes on
            unseen after it (truncated, or open); 0 where it was terminated, and on all other rows.
        units: how many units there are, with or without rows.
    """

    unit: np.ndarray
    episode: np.ndarray
    step: np.ndarray
    reward: np.ndarray
    weight: np.ndarray
    q: np.ndarray
    v: np.ndarray
    tail: np.ndarray
    units: int

    def __len__(self) -> int:
        return len(self.reward)
