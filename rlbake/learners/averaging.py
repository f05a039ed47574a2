"""The moving average of a network's weights, which is steadier than the last of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlbake.quiet import tensorflow as tf

_EVERY = 10  # steps: following at every one would cost a twentieth of a training's time


class Average:
    """Follows weights as they are trained.

    Args:
        weights: of a network.

    Attributes:
        variables: the average, one for each weight.
    """

    def __init__(self, weights: Sequence[tf.Variable]) -> None:
        self._weights = list(weights)
        self._decay = tf.Variable(0.0, trainable=False)
        self.variables = [tf.Variable(weight, trainable=False) for weight in weights]

    def restart(self) -> None:
        """The average is what the weights are now."""
        for average, weight in zip(self.variables, self._weights, strict=True):
            average.assign(weight)

    def configure(self, decay: float) -> None:
        """Sets the decay per step, in [0, 1); 0: the average is the last weights."""
        self._decay.assign(decay)

    def follow(self, step: tf.Tensor) -> tf.Operation:
        """In the graph, after every step: `step` int64 are taken.

        Early on it follows at every step, and faster, as tf.train.ExponentialMovingAverage does with
        `num_updates`, so that a short training does not export its initial weights.
        """
        updates = tf.cast(step, tf.float32) / _EVERY
        rate = 1 - tf.minimum(self._decay**_EVERY, (1 + updates) / (10 + updates))

        def move() -> tf.Operation:
            pairs = zip(self.variables, self._weights, strict=True)
            return tf.group(*(average.assign_add(rate * (weight - average)) for average, weight in pairs))

        return tf.cond((step % _EVERY == 0) | (step < _EVERY), move, tf.no_op)

    def weights(self, step: int) -> list[np.ndarray]:
        """The average after so many steps."""
        rate = 1 - float(self._decay) ** (step % _EVERY)
        pairs = zip(self.variables, self._weights, strict=True)
        return [average.numpy() + rate * (weight.numpy() - average.numpy()) for average, weight in pairs]
