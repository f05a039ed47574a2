"""A value-based policy as one pure TensorFlow graph: preprocess, act, and say how likely that was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rlbake.features.preprocessing import Preprocessing
from rlbake.quiet import tensorflow as tf

ACTION_MASK, NOISE, EXPLORE, TEMPERATURE = "action_mask", "noise", "explore", "temperature"
INPUTS = (ACTION_MASK, NOISE, EXPLORE, TEMPERATURE)

NOTHING_ALLOWED = "action_mask: a row allows no action"
NOT_FINITE = "values: not finite; a number among the features is NaN, infinite or far out of range"
NEGATIVE_TEMPERATURE = "temperature: negative or not a number"


class PolicyGraph(tf.Module):
    """Plain tensors in and out, so that a saved one loads with TensorFlow alone.

    Args:
        preprocessing: raw features → float32 [B, D].
        network: float32 [B, D] → action values, float32 [B, A].
        variables: what `network` reads.
        actions: A.
        epsilon: share of uniformly random actions when exploring, in [0, 1].
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        network: Callable[[tf.Tensor], tf.Tensor],
        variables: tuple[tf.Variable, ...],
        *,
        actions: int,
        epsilon: float,
    ) -> None:
        super().__init__(name="policy")
        self._preprocessing = preprocessing
        self._network = network
        self._network_variables = variables
        self._epsilon = epsilon
        specs = preprocessing.signature() | {
            ACTION_MASK: tf.TensorSpec([None, actions], tf.bool, ACTION_MASK),
            NOISE: tf.TensorSpec([None], tf.float64, NOISE),
            EXPLORE: tf.TensorSpec([], tf.bool, EXPLORE),
            TEMPERATURE: tf.TensorSpec([], tf.float32, TEMPERATURE),
        }
        self.decide = tf.function(self._decide, autograph=False)
        self.signature = self.decide.get_concrete_function(**specs)

    def _decide(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        mask, temperature = inputs[ACTION_MASK], inputs[TEMPERATURE]
        values = self._network(self._preprocessing(inputs))
        checks = [
            tf.debugging.Assert(tf.reduce_all(tf.reduce_any(mask, axis=1)), [NOTHING_ALLOWED]),
            tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(values)), [NOT_FINITE]),
            tf.debugging.Assert(temperature >= 0, [NEGATIVE_TEMPERATURE]),
        ]
        with tf.control_dependencies(checks):
            values = tf.identity(values)
        probabilities = distribution(values, mask, inputs[EXPLORE], temperature, self._epsilon)
        action = invert(probabilities, inputs[NOISE])
        chosen = tf.gather(probabilities, action, batch_dims=1)
        return {
            "action_index": action,
            "log_probability": tf.cast(tf.math.log(chosen), tf.float32),
            "probabilities": tf.cast(probabilities, tf.float32),
            "values": values,
        }


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


def invert(probabilities: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """The inverse of the cumulative distribution at u: the lowest a with u · Σπ < π(0) + … + π(a).

    It never chooses an action of probability 0: not at u = 0, and not at the largest u below 1,
    where the product may round up to the whole sum.

    Args:
        probabilities: float64 [B, A], not negative, with a positive entry per row.
        noise: u, float64 [B] in [0, 1).

    Returns:
        int32 [B].
    """
    cumulative = tf.cumsum(probabilities, axis=1)
    passed = tf.reduce_sum(tf.cast(cumulative <= noise[:, None] * cumulative[:, -1:], tf.int32), axis=1)
    last = tf.shape(probabilities)[1] - 1 - tf.argmax(probabilities[:, ::-1] > 0, axis=1, output_type=tf.int32)
    return tf.minimum(passed, last)
