"""Policies that are a softmax: one logit per action."""

from __future__ import annotations

from tf_agents.networks.network import Network

from rlbake.learners.heads import DiscreteHead, Preferred, distribution
from rlbake.quiet import tensorflow as tf

_NEVER = -1e9  # as good as -∞ in a softmax, but its gradients are finite


def allowed_logits(logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Logits float32 [..., A] whose softmax is 0 where the mask, bool [..., A], forbids; [..., 0] forbids nothing."""
    return tf.where(mask, logits, _NEVER) if mask.shape[-1] else logits


class CategoricalHead(DiscreteHead):
    """π(a) = (1 - ε) softmax(logits / t)(a) + ε / n over the n allowed actions, where temperature 0 means t = 1.

    The values are log-probabilities among all actions, allowed or not.

    Args:
        network: float32 [B, D] → logits float32 [B, A], by TF-Agents' convention.
        epsilon: ε, in [0, 1].
    """

    def __init__(self, network: Network, epsilon: float = 0.0) -> None:
        super().__init__(name="head")
        self.network = network
        self.epsilon = epsilon

    def values(self, features: tf.Tensor) -> tf.Tensor:
        return tf.nn.log_softmax(self.network(features)[0], axis=1)

    def prefer(self, features: tf.Tensor, mask: tf.Tensor, explore: tf.Tensor, temperature: tf.Tensor) -> Preferred:
        values = self.values(features)
        own = tf.where(temperature > 0, temperature, 1.0)
        return Preferred(values, distribution(values, mask, explore, own, self.epsilon))
