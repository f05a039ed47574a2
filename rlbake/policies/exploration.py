"""How a policy explores, as four numbers: the same in batch, live and in the model that is registered."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rlbake.errors import ConfigError
from rlbake.specs import Action, Continuous

OWN = -1.0  # epsilon that leaves exploration to the agent
ROUNDING = 1e-6  # of a floor that was meant as 1 / number of actions


@dataclass(frozen=True)
class Exploration:
    """π'(a) = (1 - k f) π(a) + f for each of k allowed actions; `policies.graph` computes it.

    Attributes:
        explore: π is the agent's own exploring distribution, and not its greedy action.
        temperature: of the agent's softmax, ≥ 0, in the unit of the action values; 0: as it was trained to explore.
            Of Continuous actions the factor of their distribution's width; 0: as it is.
        epsilon: ε ≥ 0 takes the place of the agent's own exploration, with or without `explore`: π is (1 - ε) times
            greedy, or softmax where there is a temperature, and ε times uniform; -1: the agent's own.
        floor: f, least probability of each allowed action; 0: none. It holds with or without `explore`.
    """

    explore: bool = True
    temperature: float = 0.0
    epsilon: float = OWN
    floor: float = 0.0

    def refuse_for(self, action: Action) -> None:
        """Raises a ConfigError where no observation could be decided on."""
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"temperature {self.temperature} must be a finite number, at least 0.")
        if not (self.epsilon == OWN or 0 <= self.epsilon <= 1):
            raise ConfigError(f"epsilon {self.epsilon} must be in [0, 1], or {OWN:g}: the agent's own exploration.")
        if not 0 <= self.floor <= 1:
            raise ConfigError(f"floor {self.floor} must be in [0, 1]: the least probability of every allowed action.")
        if isinstance(action, Continuous) and (self.epsilon != OWN or self.floor):
            given = f"epsilon {self.epsilon:g}" if self.epsilon != OWN else f"floor {self.floor:g}"
            raise ConfigError(
                f"{given}: numbers ({', '.join(action.names)}) are not chosen uniformly. Widen them by the temperature."
            )

    def refuse_floor(self, allowed: int) -> None:
        """Raises a ConfigError if so many allowed actions cannot all have the least probability."""
        if self.floor * allowed > 1 + ROUNDING:
            raise ConfigError(
                f"floor {self.floor:g} is too much: {allowed} allowed actions can have {1 / allowed:g} each at most."
            )
