"""What decides once training is over: pure graphs from features to a distribution over actions.

A head over Discrete actions says how probable each of them is; one over Continuous actions turns
uniform numbers into an action and its density. Of a MultiDiscrete action a head sees the joint Discrete.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from tf_agents.networks.network import Network

from rlbake.quiet import tensorflow as tf


class Preferred(NamedTuple):
    """What a head makes of B rows.

    Attributes:
        values: float32 [B, A], how good each action is, allowed or not; the greatest is the greedy one.
        probabilities: float64 [B, A], rows sum to 1 within rounding; exactly 0 where not allowed.
    """

    values: tf.Tensor
    probabilities: tf.Tensor


class Chosen(NamedTuple):
    """What a head over Continuous actions decides for B rows.

    Attributes:
        action: float32 [B, n], within the bounds.
        log_probability: float32 [B], log density of the action, per its units; NaN where there is none.
    """

    action: tf.Tensor
    log_probability: tf.Tensor


class DiscreteHead(tf.Module, ABC):
    """Chooses among A actions."""

    @abstractmethod
    def values(self, features: tf.Tensor) -> tf.Tensor:
        """As `Preferred.values`, of features float32 [B, D]."""

    @abstractmethod
    def prefer(self, features: tf.Tensor, mask: tf.Tensor, explore: tf.Tensor, temperature: tf.Tensor) -> Preferred:
        """How probable each action is.

        Args:
            features: float32 [B, D].
            mask: bool [B, A], allowed actions, at least one True per row.
            explore: bool scalar; False: all mass on the greedy action.
            temperature: float32 scalar ≥ 0; 0: the head's own exploration.
        """

    def considered(self, features: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """bool [B, A]: among which of the allowed actions the best one is looked for."""
        return mask


class ContinuousHead(tf.Module, ABC):
    """Chooses n numbers within their bounds."""

    @abstractmethod
    def choose(self, features: tf.Tensor, uniform: tf.Tensor, explore: tf.Tensor, temperature: tf.Tensor) -> Chosen:
        """The inverse of the cumulative distribution of each number at `uniform`.

        Args:
            features: float32 [B, D].
            uniform: float64 [B, n], in [0, 1).
            explore: bool scalar; False: the head's best action, which has no density.
            temperature: float32 scalar ≥ 0, factor of the exploration's width; 0: the head's own, as 1.
        """


Head = DiscreteHead | ContinuousHead


class ValueHead(DiscreteHead):
    """Greedy in action values, but for a share of uniformly random actions.

    Args:
        network: float32 [B, D] → action values float32 [B, A], by TF-Agents' convention.
        epsilon: that share, in [0, 1].
    """

    def __init__(self, network: Network, epsilon: float) -> None:
        super().__init__(name="head")
        self.network = network
        self.epsilon = epsilon

    def values(self, features: tf.Tensor) -> tf.Tensor:
        return self.network(features)[0]

    def prefer(self, features: tf.Tensor, mask: tf.Tensor, explore: tf.Tensor, temperature: tf.Tensor) -> Preferred:
        values = self.values(features)
        return Preferred(values, distribution(values, mask, explore, temperature, self.epsilon))


def distribution(values: Any, mask: Any, explore: Any, temperature: Any, epsilon: float) -> tf.Tensor:
    """π(a) = (1 - ε) p(a) + ε 1[a allowed] / n when exploring; otherwise all mass on the greedy action.

    p is the greedy action's indicator at temperature 0, else softmax(values / temperature) over
    the n allowed actions. Ties go to the lowest index. An action that is not allowed has exactly 0.

    Args:
        values: float32 [B, A].
        mask: bool [B, A], at least one True per row.
        explore: bool scalar.
        temperature: float32 scalar ≥ 0, in the unit of the values.
        epsilon: ε, in [0, 1].

    Returns:
        float64 [B, A], rows sum to 1 within rounding.
    """
    allowed = tf.where(mask, tf.cast(values, tf.float64), tf.constant(float("-inf"), tf.float64))
    greedy = tf.one_hot(tf.argmax(allowed, axis=1), tf.shape(allowed)[1], dtype=tf.float64)
    warm = temperature > 0
    soft = tf.nn.softmax(allowed / tf.cast(tf.where(warm, temperature, 1.0), tf.float64), axis=1)
    uniform = tf.cast(mask, tf.float64) / tf.reduce_sum(tf.cast(mask, tf.float64), axis=1, keepdims=True)
    explored = (1.0 - epsilon) * tf.where(warm, soft, greedy) + epsilon * uniform
    return tf.where(explore, explored, greedy)
