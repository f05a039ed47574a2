"""Conservative Q-learning (Kumar et al., 2020, https://arxiv.org/abs/2006.04779), CQL(H), for DQN and double DQN.

Adds to the loss of logged rows (s, a), where a' are the actions allowed in s,

    conservatism · ( log Σ_a' exp Q(s, a') - Q(s, a) )

which lowers values of actions that the logs do not hold. Values are in units of the largest possible return.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tf_agents.agents import tf_agent
from tf_agents.agents.dqn import dqn_agent

from rlbake.quiet import tensorflow as tf


class ConservativeDqnAgent(dqn_agent.DqnAgent):
    """DqnAgent with the penalty while it trains; `loss` is without.

    Args:
        conservatism: the penalty's weight as it is now.
    """

    def __init__(self, *args: Any, conservatism: Callable[[], tf.Tensor], **kwargs: Any) -> None:
        self._conservatism = conservatism
        super().__init__(*args, **kwargs)

    def _loss(self, experience: Any, weights: Any = None, training: bool = False, **kwargs: Any) -> tf_agent.LossInfo:
        found = super()._loss(experience, weights=weights, training=training, **kwargs)
        if not training:
            return found
        here, decided, _ = self._as_transition(experience)
        splitter = self._observation_and_action_constraint_splitter
        features, mask = (here.observation, None) if splitter is None else splitter(here.observation)
        values, _ = self._q_network(features, step_type=here.step_type, training=True)
        allowed = values if mask is None else tf.where(mask, values, tf.float32.min)
        logged = tf.gather(values, decided.action, batch_dims=1)
        penalty = tf.reduce_logsumexp(allowed, axis=1) - logged
        penalty = tf.reduce_mean(penalty if weights is None else weights * penalty)
        return found._replace(loss=found.loss + self._conservatism() * penalty)


class ConservativeDdqnAgent(ConservativeDqnAgent, dqn_agent.DdqnAgent):
    """The same of double DQN."""
