"""What every policy is: a pure function of observations and noise that knows its propensities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rlbake.errors import DataError
from rlbake.specs import Action


@dataclass(frozen=True)
class Decisions:
    """What a policy chose for each of B observations, and how likely that choice was.

    Attributes:
        action: int32 [B], action indices; of MultiDiscrete int32 [B, n], one column per set; of Continuous
            float32 [B, n].
        log_probability: float32 [B], natural logarithm of the policy's probability of `action`: of all sets
            at once for MultiDiscrete; for Continuous its density, per unit of the action, which may exceed
            1, and NaN where a decision has none because it leaves nothing to chance.
    """

    action: np.ndarray
    log_probability: np.ndarray


class Policy(Protocol):
    """Decides for B observations at once.

    Attributes:
        version: who decides, as logged: "random", "rules" or a model version.
    """

    version: str

    def decide(
        self, observations: dict[str, np.ndarray], noise: np.ndarray, action_mask: np.ndarray | None = None
    ) -> Decisions:
        """The inverse of the policy's cumulative distribution at `noise`: same input, same decision.

        A policy of vectors needs several uniforms: `rlbake.policies.spread` makes them out of one.

        Args:
            observations: one array [B] per feature, raw as logged.
            noise: float64 [B], uniform in [0, 1).
            action_mask: bool [B, A], allowed actions; None: all are. Others have probability 0. Only
                Discrete actions can be masked.
        """
        ...


def refuse_mask(action_mask: np.ndarray | None, action: Action) -> None:
    """Raises a DataError if there is a mask of actions that are not Discrete."""
    if action_mask is not None:
        raise DataError(f"action mask: only Discrete actions can be masked, not {type(action).__name__}. Give none.")
