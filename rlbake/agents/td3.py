"""Twin delayed deep deterministic policy gradient (Fujimoto et al., 2018, https://arxiv.org/abs/1802.09477).

Target of both critics: r + discount · min(Q₁'(s', a'), Q₂'(s', a')), with a' = μ'(s') + noise, clipped to the
bounds, and Q₁', Q₂' and μ' the target networks. Every `policy_delay` steps the actor μ ascends Q₁(s, μ(s)).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.agents.td3 import td3_agent

from rlbake.learners.actor_critic import CriticLoss
from rlbake.learners.bounds import Bounds
from rlbake.learners.deterministic_actor import DeterministicActorCritic, DeterministicConfig
from rlbake.learners.facts import Facts
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Continuous

FACTS = Facts(
    actions=(Continuous,),
    foresight=True,
    on_logs="overestimates less than DDPG, but nothing keeps it near the actions that the logs hold",
)

_SMOOTHING = 1  # purpose of a draw


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config(DeterministicConfig):
    """Hyperparameters of TD3: those of DeterministicConfig, and what is its own.

    Attributes:
        policy_delay: gradient steps of the critics between those of the actor.
        policy_noise: standard deviation of what is added to the target's actions, as a share of half the
            distance between the bounds: it smooths values over similar actions.
        policy_noise_clip: largest such noise, in the same unit.
    """

    name: Literal["td3"] = "td3"
    policy_delay: Annotated[int, Field(ge=1)] = 2
    policy_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.2
    policy_noise_clip: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5


def learner(config: Config, *, size: int, action: Continuous, masked: bool) -> DeterministicActorCritic:
    """The agent for `size` features; traced once per shape and process."""
    return _learner(config.layers, size, Bounds(action.low, action.high))


@lru_cache(maxsize=4)
def _learner(layers: tuple[int, ...], size: int, bounds: Bounds) -> DeterministicActorCritic:
    return _Learner(layers, size, bounds, critics=2)


class _Learner(DeterministicActorCritic):
    def agent(self, **common: Any) -> td3_agent.Td3Agent:
        self._delay = tf.Variable(1, dtype=tf.int64, trainable=False)
        self._noise = tf.Variable(0.0, trainable=False)
        self._noise_clip = tf.Variable(0.0, trainable=False)
        return _Agent(
            target_actor_network=self.target_actor(self._smoothed),
            actor_update_period=self._delay,
            target_policy_noise=0.0,  # TF-Agents draws it without a seed and leaves the bounds: _smoothed
            **common,
        )

    def configure(self, config: Config) -> None:
        super().configure(config)
        self._delay.assign(config.policy_delay)
        self._noise.assign(config.policy_noise)
        self._noise_clip.assign(config.policy_noise_clip)

    def _smoothed(self, outputs: tf.Tensor) -> tf.Tensor:
        noise = self._noise * tf.random.stateless_normal(tf.shape(outputs), self.draws.seed(_SMOOTHING))
        noise = tf.clip_by_value(noise, -self._noise_clip, self._noise_clip)
        return tf.clip_by_value(tf.tanh(outputs) + noise, -1.0, 1.0)


class _Agent(CriticLoss, td3_agent.Td3Agent):
    """TF-Agents' own."""
