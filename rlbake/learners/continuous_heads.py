"""Heads over numbers: normal distributions that stay within the bounds, cut off there or squashed into them.

They take the inverse of their cumulative distribution, so what is drawn has exactly the density that is said.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np
from tf_agents.networks.network import Network

from rlbake.learners.bounds import Bounds
from rlbake.learners.heads import Chosen, ContinuousHead
from rlbake.quiet import tensorflow as tf

_LOG_DEVIATION = (-5.0, 1.0)  # least and greatest log standard deviation, before squashing
_LEAST, _MOST = 2.0**-54, 1 - 2.0**-53  # probabilities of which float64 has a finite normal quantile


class _NormalHead(ContinuousHead):
    """A normal distribution for each number, on the scale on which its bounds are -1 and 1.

    Args:
        network: float32 [B, D] → float32 [B, outputs], by TF-Agents' convention.
        bounds: of the n numbers.
    """

    def __init__(self, network: Network, bounds: Bounds) -> None:
        super().__init__(name="head")
        self.network = network
        self._bounds = bounds

    @abstractmethod
    def _greedy(self, outputs: tf.Tensor) -> tf.Tensor:
        """float64 [B, n] in [-1, 1]: the best action."""

    @abstractmethod
    def _drawn(self, outputs: tf.Tensor, uniform: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """float64 [B, n] in [-1, 1], and the log density of each: at `uniform`, with deviations times `width`."""

    def choose(self, features: tf.Tensor, uniform: tf.Tensor, explore: tf.Tensor, temperature: tf.Tensor) -> Chosen:
        outputs = tf.cast(self.network(features)[0], tf.float64)
        width = tf.cast(tf.where(temperature > 0, temperature, 1.0), tf.float64)
        drawn, log_density = self._drawn(outputs, uniform, width)
        per_unit = tf.reduce_sum(log_density - np.log(self._bounds.half_widths), axis=1)
        return Chosen(
            self._bounds.unscaled(tf.where(explore, drawn, self._greedy(outputs))),
            tf.cast(tf.where(explore, per_unit, math.nan), tf.float32),
        )


class TruncatedNormalHead(_NormalHead):
    """The network's action, which exploration spreads: p(x) = φ((x - μ) / σ) / (σ (Φ((1 - μ) / σ) - Φ((-1 - μ) / σ))).

    μ is the hyperbolic tangent of the network's outputs [B, n], and σ the same for all.

    Args:
        network: as above.
        bounds: as above.
        exploration: σ, > 0, as a share of half the distance between the bounds.
    """

    def __init__(self, network: Network, bounds: Bounds, exploration: float) -> None:
        super().__init__(network, bounds)
        self._exploration = exploration

    def spread(self, outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """μ and σ, of the network's outputs."""
        return tf.tanh(outputs), tf.constant(self._exploration, outputs.dtype)

    def _greedy(self, outputs: tf.Tensor) -> tf.Tensor:
        return self.spread(outputs)[0]

    def _drawn(self, outputs: tf.Tensor, uniform: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mean, deviation = self.spread(outputs)
        deviation *= width
        lowest, highest = (-1 - mean) / deviation, (1 - mean) / deviation
        below, within = _cumulative(lowest), _cumulative(highest) - _cumulative(lowest)
        normal = tf.clip_by_value(_quantile(below + uniform * within), lowest, highest)
        return mean + deviation * normal, _log_density(normal) - tf.math.log(deviation * within)


class SquashedNormalHead(_NormalHead):
    """x = tanh(μ + σ z) with z standard normal: p(x) = φ(z) / (σ (1 - x²)).

    The network's outputs [B, 2n] are those of `mean_and_deviation`. The best action is tanh(μ), the median.
    """

    def _greedy(self, outputs: tf.Tensor) -> tf.Tensor:
        return tf.tanh(mean_and_deviation(outputs)[0])

    def _drawn(self, outputs: tf.Tensor, uniform: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mean, deviation = mean_and_deviation(outputs)
        normal, spread = _quantile(uniform), deviation * width
        x = mean + spread * normal
        log_slope = 2 * (math.log(2) - x - tf.math.softplus(-2 * x))  # of tanh: log(1 - tanh²), finite at the ends
        return tf.tanh(x), _log_density(normal) - tf.math.log(spread) - log_slope


def mean_and_deviation(outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Of normal distributions before they are squashed, [B, n] each, by a network's outputs [B, 2n].

    The logarithm of the deviation runs smoothly between its ends, so that it never ceases to be learned.
    """
    mean, share = tf.split(outputs, 2, axis=-1)
    least, greatest = _LOG_DEVIATION
    return mean, tf.exp(least + (greatest - least) * (tf.tanh(share) + 1) / 2)


def _cumulative(normal: tf.Tensor) -> tf.Tensor:
    return tf.math.erfc(-normal / math.sqrt(2)) / 2  # exact in the lower tail, where 1 + erf is not


def _quantile(probability: tf.Tensor) -> tf.Tensor:
    return tf.math.ndtri(tf.clip_by_value(probability, _LEAST, _MOST))


def _log_density(normal: tf.Tensor) -> tf.Tensor:
    return -(normal**2) / 2 - math.log(2 * math.pi) / 2
