"""Prioritised replay (Schaul et al., 2016, https://arxiv.org/abs/1511.05952), for all rows at once.

    P(i) = wᵢ pᵢᵅ / Σₖ wₖ pₖᵅ,    pᵢ = |δᵢ| + mean |δ| / 100

draws row i, with δᵢ the error of its n-step target when it was last learned from, and wᵢ its own weight, such as
that of its age. Its loss is multiplied by

    (P(i) / wᵢ)^-β

over the mean such factor of what is drawn at once, so that at β = 1 the expected gradient is that of rows drawn by w
alone. (The paper divides by the largest. That makes gradients smaller by as much as errors differ, and Adam, which
remembers how large they used to be, all but stops learning.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rlbake.quiet import tensorflow as tf

NEVER_DRAWN = -1.0  # the error of such rows

_FLOOR = 0.01  # of the mean error: what was learned is drawn now and then, for its target moves


class Prioritisation(NamedTuple):
    """How much errors count.

    Attributes:
        priority: α in [0, 1].
        correction: β in [0, 1].
    """

    priority: float
    correction: float


class Priorities:
    """What rows in memory are drawn by; learning from them changes it.

    Args:
        errors: float32 [N], |δ|, or NEVER_DRAWN.
        weight: float64 [N], w; None: all the same.
        prioritisation: α and β.

    Attributes:
        errors: as they are now.
    """

    def __init__(self, errors: np.ndarray, weight: np.ndarray | None, prioritisation: Prioritisation) -> None:
        self.errors = tf.constant(errors, tf.float32)
        self.weight = None if weight is None else tf.constant(weight, tf.float64)
        self.prioritisation = prioritisation


def priority(errors: tf.Tensor, exponent: tf.Tensor) -> tf.Tensor:
    """pᵅ, float64 [N]; rows that were never drawn count as much as the largest error.

    Args:
        errors: float32 [N], |δ|, or NEVER_DRAWN.
        exponent: α, float64 scalar.
    """
    known = errors >= 0
    count = tf.reduce_sum(tf.cast(known, tf.float64))
    error = tf.cast(tf.where(known, errors, 0.0), tf.float64)
    mean = tf.math.divide_no_nan(tf.reduce_sum(error), count)
    largest = tf.where(mean > 0, tf.reduce_max(error), 1.0)
    return (tf.where(known, error, largest) + _FLOOR * tf.where(mean > 0, mean, 1.0)) ** exponent


def importance(priority: tf.Tensor, correction: tf.Tensor) -> tf.Tensor:
    """Factors of the losses of what is drawn at once, float32 of the shape of its pᵅ; their mean is 1.

    Args:
        priority: pᵅ of what is drawn, float64.
        correction: β, float64 scalar.
    """
    factor = priority**-correction
    return tf.cast(factor / tf.reduce_mean(factor), tf.float32)


def refreshed(errors: tf.Tensor, drawn: tf.Tensor, found: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Errors after some more rows were learned from; of a row drawn twice, the later one.

    Args:
        errors: float32 [N].
        drawn: int32 [M], row numbers, in the order in which they were learned from.
        found: float32 [M], their errors.
        count: int32 scalar, how many of them were learned from; the rest is filler.
    """
    order = tf.range(tf.shape(drawn)[0])
    order = tf.where(order < count, order, -1)
    latest = tf.math.unsorted_segment_max(order, drawn, tf.shape(errors)[0])
    return tf.where(latest >= 0, tf.gather(found, tf.maximum(latest, 0)), errors)
