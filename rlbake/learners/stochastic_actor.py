"""What SAC and CQL-SAC share: an actor that decides on a distribution, wide enough for its target entropy."""

from __future__ import annotations

from typing import Annotated, Any

import tensorflow_probability as tfp
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.agents.sac import sac_agent
from tf_agents.utils import common

from rlbake.learners.actor_critic import ActorCritic, ActorCriticConfig, CriticLoss, Draws
from rlbake.learners.bounds import Bounds
from rlbake.learners.continuous_heads import SquashedNormalHead, mean_and_deviation
from rlbake.quiet import tensorflow as tf

_ACTIONS = 1  # purpose of a draw


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class StochasticConfig(ActorCriticConfig):
    """Hyperparameters of an agent whose actor is stochastic: those of ActorCriticConfig, and its entropy.

    Attributes:
        temperature_learning_rate: Adam's step size for the log of the entropy's weight, > 0.
        target_entropy: of the actor's distribution, on the scale on which the bounds are -1 and 1, and what the
            exported policy explores with; null: -2n, of n numbers: deviations of 2 % of the distance between the
            bounds. The paper's -n, 4 %, rounds off what is best within a narrow range.
    """

    temperature_learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    target_entropy: Annotated[float, Field(allow_inf_nan=False)] | None = None


class StochasticActorCritic(ActorCritic):
    """SAC of TF-Agents, or a subclass.

    Args:
        layers: units of the hidden layers.
        size: number of features.
        bounds: of the n numbers decided on.
    """

    def __init__(self, layers: tuple[int, ...], size: int, bounds: Bounds) -> None:
        self._target_entropy = tf.Variable(0.0, trainable=False)
        self._temperature_optimizer = tf.keras.optimizers.Adam()
        super().__init__(layers, size, bounds, critics=2, outputs=2 * len(bounds.low), decide=_squashed_normal)

    def agent(self, **common: Any) -> sac_agent.SacAgent:
        made = self.stochastic_agent(
            draws=self.draws,
            alpha_optimizer=self._temperature_optimizer,
            target_entropy=self._target_entropy,
            **common,
        )
        self._temperature_optimizer.build([made._log_alpha])
        self._optimizers.append(self._temperature_optimizer)
        return made

    def stochastic_agent(self, **common: Any) -> sac_agent.SacAgent:
        """The agent of TF-Agents, out of what both of them take."""
        return SeededSac(**common)

    def more_variables(self) -> list[tf.Variable]:
        return [self._agent._log_alpha]

    def configure(self, config: Any) -> None:
        super().configure(config)
        self._temperature_optimizer.learning_rate.assign(config.temperature_learning_rate)
        entropy = -2 * len(self.bounds.low) if config.target_entropy is None else config.target_entropy
        self._target_entropy.assign(entropy)

    def greedy(self, features: tf.Tensor) -> tf.Tensor:
        return tf.tanh(self.actor(features)[0].distribution.mean())

    def head(self) -> SquashedNormalHead:
        return SquashedNormalHead(self.averaged(), self.bounds)


class SeededSac(CriticLoss, sac_agent.SacAgent):
    """TF-Agents' own, with seeded draws.

    Args:
        draws: of its actions.
        **given: what SacAgent takes.
    """

    def __init__(self, *, draws: Draws, **given: Any) -> None:
        self._draws = draws
        super().__init__(**given)

    def _convert_optimizer_to_legacy(self, optimizer: Any) -> Any:
        return optimizer  # the legacy ones know no weight decay

    def _actions_and_log_probs(self, time_steps: Any, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        distribution = self._policy.distribution(time_steps).action
        actions = distribution.sample(seed=self._draws.seed(_ACTIONS))
        return actions, common.log_probability(distribution, actions, self.action_spec)

    def critics_loss(self, here: Any, action: tf.Tensor, there: Any) -> tf.Tensor:
        return self._critic_loss_weight * self.critic_loss(here, action, there, self._td_errors_loss_fn)


def _squashed_normal(outputs: tf.Tensor) -> tfp.distributions.Distribution:
    normal = tfp.distributions.MultivariateNormalDiag(*mean_and_deviation(outputs))
    return tfp.distributions.TransformedDistribution(normal, tfp.bijectors.Tanh())
