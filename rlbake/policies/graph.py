"""A policy as one pure TensorFlow graph: preprocess, act, and say how likely that was."""

from __future__ import annotations

import numpy as np

from rlbake.features.compression import Compressed
from rlbake.features.preprocessing import Preprocessing
from rlbake.learners.heads import ContinuousHead, DiscreteHead
from rlbake.policies.spread import INCREMENT
from rlbake.quiet import tensorflow as tf

ACTION_MASK, NOISE, EXPLORE, TEMPERATURE = "action_mask", "noise", "explore", "temperature"
INPUTS = (ACTION_MASK, NOISE, EXPLORE, TEMPERATURE)

_HOW = {
    NOISE: tf.TensorSpec([None], tf.float64, NOISE),
    EXPLORE: tf.TensorSpec([], tf.bool, EXPLORE),
    TEMPERATURE: tf.TensorSpec([], tf.float32, TEMPERATURE),
}

NOTHING_ALLOWED = "action_mask: a row allows no action"
NOT_FINITE = "values: not finite; a number among the features is NaN, infinite or far out of range"
NEGATIVE_TEMPERATURE = "temperature: negative or not a number"


class DiscreteGraph(tf.Module):
    """Plain tensors in and out, so that a saved one loads with TensorFlow alone.

    Args:
        preprocessing: raw features → float32 [B, D].
        head: how probable each action is.
        actions: A; of a MultiDiscrete action, all combinations.
    """

    def __init__(self, preprocessing: Preprocessing | Compressed, head: DiscreteHead, *, actions: int) -> None:
        super().__init__(name="policy")
        self._preprocessing = preprocessing
        self._head = head
        specs = preprocessing.signature() | {ACTION_MASK: tf.TensorSpec([None, actions], tf.bool, ACTION_MASK)} | _HOW
        self.decide = tf.function(self._decide, autograph=False)
        self.signature = self.decide.get_concrete_function(**specs)

    def _decide(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        mask = inputs[ACTION_MASK]
        features = self._preprocessing(inputs)
        allowed = tf.debugging.Assert(tf.reduce_all(tf.reduce_any(mask, axis=1)), [NOTHING_ALLOWED])
        with tf.control_dependencies([allowed, _checked(inputs[TEMPERATURE])]):
            features = tf.identity(features)
        preferred = self._head.prefer(features, mask, inputs[EXPLORE], inputs[TEMPERATURE])
        with tf.control_dependencies([_finite(preferred.values)]):
            probabilities = tf.identity(preferred.probabilities)
        action = invert(probabilities, inputs[NOISE])
        chosen = tf.gather(probabilities, action, batch_dims=1)
        return {
            "action_index": action,
            "log_probability": tf.cast(tf.math.log(chosen), tf.float32),
            "probabilities": tf.cast(probabilities, tf.float32),
            "values": preferred.values,
        }


class ContinuousGraph(tf.Module):
    """The same for n numbers, which know no mask.

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
        with tf.control_dependencies([_finite(action)]):
            return {"action": tf.identity(action), "log_probability": log_probability}


def _checked(temperature: tf.Tensor) -> tf.Operation:
    return tf.debugging.Assert(temperature >= 0, [NEGATIVE_TEMPERATURE])


def _finite(found: tf.Tensor) -> tf.Operation:
    return tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(found)), [NOT_FINITE])


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
