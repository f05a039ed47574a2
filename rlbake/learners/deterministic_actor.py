"""What DDPG and TD3 share: an actor that decides on one action, around which it explores."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from rlbake.learners.actor_critic import ActorCritic, ActorCriticConfig
from rlbake.learners.bounds import Bounds
from rlbake.learners.continuous_heads import TruncatedNormalHead
from rlbake.quiet import tensorflow as tf


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DeterministicConfig(ActorCriticConfig):
    """Hyperparameters of an agent whose actor is deterministic: those of ActorCriticConfig, and its exploration.

    Attributes:
        exploration: standard deviation of the actions when the exported policy explores, > 0, as a share of
            half the distance between the bounds: a normal distribution around the best, cut off at the bounds.
    """

    exploration: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1


class DeterministicActorCritic(ActorCritic):
    """An agent of TF-Agents whose actor returns actions.

    Args:
        layers: units of the hidden layers.
        size: number of features.
        bounds: of the numbers decided on.
        critics: 1 or 2.
    """

    def __init__(self, layers: tuple[int, ...], size: int, bounds: Bounds, *, critics: int) -> None:
        self._exploration = 0.0
        super().__init__(layers, size, bounds, critics=critics, outputs=len(bounds.low), decide=tf.tanh)

    def configure(self, config: Any) -> None:
        super().configure(config)
        self._exploration = config.exploration

    def greedy(self, features: tf.Tensor) -> tf.Tensor:
        return self.actor(features)[0]

    def head(self) -> TruncatedNormalHead:
        return TruncatedNormalHead(self.averaged(), self.bounds, self._exploration)
