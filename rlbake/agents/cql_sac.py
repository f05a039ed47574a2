"""Conservative Q-learning over soft actor-critic (Kumar et al., 2020, https://arxiv.org/abs/2006.04779).

To SAC's loss of each critic it adds α · E[log ∫ exp Q(s, a) da - Q(s, a_logged)]: values of actions go down where
they are high, and up where the logs have been. The target has no entropy in it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.agents.cql import cql_sac_agent
from tf_agents.agents.sac.sac_agent import SacAgent
from tf_agents.utils import common

from rlbake.learners.bounds import Bounds
from rlbake.learners.facts import Facts
from rlbake.learners.stochastic_actor import SeededSac, StochasticActorCritic, StochasticConfig
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Continuous

FACTS = Facts(
    actions=(Continuous,),
    foresight=True,
    on_logs="made for them: stays where they have been, the more so the greater agent.conservatism",
)

_OF_POLICY, _UNIFORM = 2, 3  # purposes of a draw; 1 is SeededSac's


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config(StochasticConfig):
    """Hyperparameters of CQL-SAC: those of StochasticConfig, and how conservative it is.

    Attributes:
        conservatism: weight of the penalty on values of actions that the logs don't hold, ≥ 0, in the unit of
            the reward: the paper's α.
        samples: actions of the actor, and as many uniform ones, by which the penalty is estimated per row.
    """

    name: Literal["cql_sac"] = "cql_sac"
    conservatism: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    samples: Annotated[int, Field(ge=1)] = 1


def learner(config: Config, *, size: int, action: Continuous, masked: bool) -> StochasticActorCritic:
    """The agent for `size` features; traced once per shape and process."""
    return _learner(config.layers, size, Bounds(action.low, action.high), config.samples)


@lru_cache(maxsize=4)
def _learner(layers: tuple[int, ...], size: int, bounds: Bounds, samples: int) -> StochasticActorCritic:
    return _Learner(layers, size, bounds, samples)


class _Learner(StochasticActorCritic):
    def __init__(self, layers: tuple[int, ...], size: int, bounds: Bounds, samples: int) -> None:
        self._samples = samples
        self._conservatism = tf.Variable(0.0, trainable=False)
        super().__init__(layers, size, bounds)

    def stochastic_agent(self, **common: Any) -> cql_sac_agent.CqlSacAgent:
        return _Agent(
            cql_alpha=self._conservatism,
            num_cql_samples=self._samples,
            include_critic_entropy_term=False,
            use_lagrange_cql_alpha=False,
            **common,
        )

    def configure(self, config: Config) -> None:
        super().configure(config)
        self._conservatism.assign(config.conservatism)


class _Agent(SeededSac, cql_sac_agent.CqlSacAgent):
    """TF-Agents' own, with seeded draws."""

    def actor_loss(self, time_steps: Any, actions: Any = None, weights: Any = None, training: bool = True) -> tf.Tensor:
        """SAC's: TF-Agents' differs from it only in steps that clone behaviour, of which there are none."""
        return SacAgent.actor_loss(self, time_steps, weights, training)

    def critics_loss(self, here: Any, action: tf.Tensor, there: Any) -> tf.Tensor:
        error = self._critic_loss_with_optional_entropy_term(here, action, there, self._td_errors_loss_fn)
        return self._critic_loss_weight * error

    def _cql_loss(self, time_steps: Any, actions: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Mean over rows and critics of log ∫ exp Q(s, a) da - Q(s, a_logged).

        The integral is the mean over 2m actions a, half of them drawn from the actor and half uniformly, of
        exp Q(s, a) over the density that a was drawn with (appendix F).
        """
        m, rows, size = self._num_cql_samples, tf.shape(actions)[0], self.action_spec.shape[0]
        distribution = self._policy.distribution(time_steps).action
        decided = distribution.sample(m, seed=self._draws.seed(_OF_POLICY))
        uniform = tf.random.stateless_uniform(tf.shape(decided), self._draws.seed(_UNIFORM), -1.0, 1.0)
        log_density = common.log_probability(distribution, decided, self.action_spec)
        log_densities = tf.concat([log_density, tf.fill([m, rows], -size * math.log(2))], axis=0)
        drawn = tf.stop_gradient(tf.reshape(tf.concat([decided, uniform], axis=0), [2 * m * rows, size]))
        features = tf.tile(time_steps.observation, [2 * m, 1])
        penalties = []
        for critic in (self._critic_network_1, self._critic_network_2):
            values = tf.reshape(critic((features, drawn))[0], [2 * m, rows])
            integral = tf.reduce_logsumexp(values - log_densities, axis=0) - math.log(2 * m)
            penalties.append(tf.reduce_mean(integral - critic((time_steps.observation, actions))[0]))
        return tf.add_n(penalties) / 2
