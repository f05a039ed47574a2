"""A policy as one pure TensorFlow graph: preprocess, act, and say how likely that was."""

from __future__ import annotations

import math

import numpy as np

from rlbake.features.compression import Compressed
from rlbake.features.preprocessing import Preprocessing
from rlbake.learners.heads import ContinuousHead, DiscreteHead, Preferred, distribution
from rlbake.policies.exploration import OWN, ROUNDING
from rlbake.policies.spread import INCREMENT
from rlbake.quiet import tensorflow as tf

ACTION_MASK, NOISE, EXPLORE, TEMPERATURE = "action_mask", "noise", "explore", "temperature"
EPSILON, FLOOR = "epsilon", "floor"
INPUTS = (ACTION_MASK, NOISE, EXPLORE, TEMPERATURE, EPSILON, FLOOR)

UNDECIDED = -1  # action index of a row whose values are not finite

_HOW = {
    NOISE: tf.TensorSpec([None], tf.float64, NOISE),
    EXPLORE: tf.TensorSpec([], tf.bool, EXPLORE),
    TEMPERATURE: tf.TensorSpec([], tf.float32, TEMPERATURE),
}
_HOW_MUCH = {name: tf.TensorSpec([], tf.float64, name) for name in (EPSILON, FLOOR)}

NOTHING_ALLOWED = "action_mask: a row allows no action"
NEGATIVE_TEMPERATURE = "temperature: negative or not a number"
WRONG_EPSILON = "epsilon: neither in [0, 1] nor -1, which leaves exploration to the agent"
WRONG_FLOOR = "floor: negative, or more than 1 / the number of actions that a row allows"


class DiscreteGraph(tf.Module):
    """Plain tensors in and out, so that a saved one loads with TensorFlow alone.

    π'(a) = (1 - k f) π(a) + f for each of the k allowed actions, with floor f. π is the head's own distribution; with
    epsilon ε ≥ 0 it is (1 - ε) p(a) + ε / k, where p is the head's greedy action at temperature 0 and else
    softmax(values / temperature). A row whose values are not finite has the action `UNDECIDED` and no probability.

    Args:
        preprocessing: raw features → float32 [B, D].
        head: how probable each action is.
        actions: A; of a MultiDiscrete action, all combinations.
    """

    def __init__(self, preprocessing: Preprocessing | Compressed, head: DiscreteHead, *, actions: int) -> None:
        super().__init__(name="policy")
        self._preprocessing = preprocessing
        self._head = head
        specs = preprocessing.signature() | _HOW | _HOW_MUCH
        specs[ACTION_MASK] = tf.TensorSpec([None, actions], tf.bool, ACTION_MASK)
        self.decide = tf.function(self._decide, autograph=False)
        self.signature = self.decide.get_concrete_function(**specs)

    def _decide(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = self._preprocessing(inputs)
        with tf.control_dependencies(_checks(inputs)):
            features = tf.identity(features)
        values, probabilities = self._explored(features, inputs)
        finite = tf.reduce_all(tf.math.is_finite(values), axis=1)
        action = invert(probabilities, inputs[NOISE])
        chosen = tf.where(finite, tf.gather(probabilities, action, batch_dims=1), math.nan)
        return {
            "action_index": tf.where(finite, action, UNDECIDED),
            "log_probability": tf.cast(tf.math.log(chosen), tf.float32),
            "probabilities": tf.cast(tf.where(finite[:, None], probabilities, math.nan), tf.float32),
            "values": values,
        }

    def _explored(self, features: tf.Tensor, inputs: dict[str, tf.Tensor]) -> Preferred:
        mask, temperature, epsilon, floor = (inputs[name] for name in (ACTION_MASK, TEMPERATURE, EPSILON, FLOOR))
        own = epsilon < 0
        values, preferred = self._head.prefer(features, mask, tf.logical_and(inputs[EXPLORE], own), temperature)
        allowed = tf.cast(mask, tf.float64)
        count = tf.reduce_sum(allowed, axis=1, keepdims=True)

        def mixed() -> tf.Tensor:
            considered = self._head.considered(features, mask)
            soft = distribution(values, considered, tf.constant(True), temperature, epsilon=0.0)
            return (1 - epsilon) * tf.where(temperature > 0, soft, preferred) + epsilon * allowed / count

        probabilities = tf.cond(own, lambda: preferred, mixed)
        return Preferred(values, tf.maximum(1 - count * floor, 0) * probabilities + floor * allowed)


class ContinuousGraph(tf.Module):
    """The same for n numbers, which know no mask, no epsilon and no floor; those of an undecided row are not finite.

    Args:
        preprocessing: raw features → float32 [B, D].
        head: which numbers, and how dense they lie.
        size: n.
    """

    def __init__(self, preprocessing: Preprocessing | Compressed, head: ContinuousHead, *, size: int) -> None:
        super().__init__(name="policy")
        self._preprocessing = preprocessing
        self._head = head
        self._size = size
        self.decide = tf.function(self._decide, autograph=False)
        self.signature = self.decide.get_concrete_function(**preprocessing.signature() | _HOW)

    def _decide(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = self._preprocessing(inputs)
        with tf.control_dependencies([_checked(inputs[TEMPERATURE])]):
            features = tf.identity(features)
        uniform = spread(inputs[NOISE], self._size)
        action, log_probability = self._head.choose(features, uniform, inputs[EXPLORE], inputs[TEMPERATURE])
        return {"action": action, "log_probability": log_probability}


def _checks(inputs: dict[str, tf.Tensor]) -> list[tf.Operation]:
    """Of what is not the preprocessing's to check."""
    mask, epsilon, floor = inputs[ACTION_MASK], inputs[EPSILON], inputs[FLOOR]
    least = tf.reduce_sum(tf.cast(mask, tf.float64), axis=1) * floor
    return [
        _checked(inputs[TEMPERATURE]),
        tf.debugging.Assert(tf.reduce_all(tf.reduce_any(mask, axis=1)), [NOTHING_ALLOWED]),
        tf.debugging.Assert(tf.logical_or(epsilon == OWN, tf.logical_and(epsilon >= 0, epsilon <= 1)), [WRONG_EPSILON]),
        tf.debugging.Assert(tf.logical_and(floor >= 0, tf.reduce_all(least <= 1 + ROUNDING)), [WRONG_FLOOR]),
    ]


def _checked(temperature: tf.Tensor) -> tf.Operation:
    return tf.debugging.Assert(temperature >= 0, [NEGATIVE_TEMPERATURE])


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


def spread(noise: tf.Tensor, size: int) -> tf.Tensor:
    """Several uniforms out of one: `policies.spread` as a graph, to the last bit.

    Args:
        noise: float64 [B] in [0, 1).
        size: n ≥ 1.

    Returns:
        float64 [B, n] in [0, 1), as good as independent.
    """
    steps = np.arange(1, size + 1, dtype=np.uint64) * INCREMENT  # of Python numbers TensorFlow would round the large
    mixed = tf.bitcast(noise, tf.uint64)[:, None] + tf.constant(steps)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = _shifted(mixed, shift) * tf.constant(factor, tf.uint64)
    mixed = _shifted(mixed, 31)
    return tf.cast(tf.bitwise.right_shift(mixed, tf.constant(11, tf.uint64)), tf.float64) * 2.0**-53


def _shifted(bits: tf.Tensor, shift: int) -> tf.Tensor:
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint64)))
