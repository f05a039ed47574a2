"""The shape of a simulated world: many environments stepped together, best outcome known.

Evaluation plays agents in it and the shipped scenarios write their logs with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

Observations = dict[str, np.ndarray]
"""One array [B] per feature: float32 for Number, bool for Binary, str for Category."""


@dataclass(frozen=True)
class Step:
    """What followed one action in each of B environments.

    Attributes:
        observations: of the next decision, arrays [B].
        metrics: outcome metrics of this decision, float32 arrays [B].
        terminated: bool [B], the world ended.
        truncated: bool [B], we stopped looking; never where terminated.
    """

    observations: Observations
    metrics: dict[str, np.ndarray]
    terminated: np.ndarray
    truncated: np.ndarray


class World(Protocol):
    """B environments that start together and live until they end.

    An episode's return is the undiscounted sum of its rewards (metrics weighted by the
    application's `reward`). An environment that has ended stays ended: its later steps carry
    zero metrics and are ignored.

    Attributes:
        best_return: expected return of an episode under the best policy that sees only the
            observation; computed, not estimated.
        random_return: expected return under uniformly random actions.
        horizon: no episode is longer than this many decisions.
    """

    best_return: float
    random_return: float
    horizon: int

    def reset(self, environments: int, seed: int) -> Observations:
        """Starts B = environments fresh episodes; the same seed gives the same ones."""
        ...

    def step(self, action: np.ndarray) -> Step:
        """Applies one action per environment: int [B], or [B, n] for vectors."""
        ...
