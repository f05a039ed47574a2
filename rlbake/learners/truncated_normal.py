"""Policies over numbers whose width is learned too: normal distributions, cut off at the bounds.

Of all that stay within bounds they alone reach from as good as uniform to as good as certain.
"""

from __future__ import annotations

from tf_agents.networks.network import Network

from rlbake.learners.bounds import Bounds
from rlbake.learners.continuous_heads import TruncatedNormalHead
from rlbake.quiet import tensorflow as tf

_LOG_DEVIATION = (-5.0, 1.4)  # least and greatest, on the scale on which the bounds are -1 and 1
_AT_ZERO = 1.5  # so that outputs of 0 give a deviation of 3: densities within 6 % of uniform ones


class LearnedTruncatedNormalHead(TruncatedNormalHead):
    """As TruncatedNormalHead, with μ and σ for each number by `location_and_deviation`.

    Args:
        network: float32 [B, D] → float32 [B, 2n], by TF-Agents' convention.
        bounds: of the n numbers.
    """

    def __init__(self, network: Network, bounds: Bounds) -> None:
        super().__init__(network, bounds, exploration=1.0)

    def spread(self, outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return location_and_deviation(outputs)


def location_and_deviation(outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """μ within the bounds and σ of n normal distributions, [..., n] each, by a network's outputs [..., 2n].

    The logarithm of the deviation runs smoothly between its ends, so that it never ceases to be learned.
    """
    location, share = tf.split(outputs, 2, axis=-1)
    least, greatest = _LOG_DEVIATION
    return tf.tanh(location), tf.exp(least + (greatest - least) * (tf.tanh(share + _AT_ZERO) + 1) / 2)
