"""What TF-Agents asks of the networks of agents that learn a distribution: a policy's, and a value's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow_probability as tfp
from tf_agents.networks import network

from rlbake.quiet import tensorflow as tf

Observed = tuple[tf.Tensor, tf.Tensor]
"""Features float32 [..., D], and mask bool [..., A] of the actions that are allowed; [..., 0]: all always are."""

Decide = Callable[[tf.Tensor, tf.Tensor], tfp.distributions.Distribution]
"""Of a network's outputs float32 [..., k] and the mask, a distribution over actions."""


class PolicyNetwork(network.Network):
    """Observed → distribution over actions.

    Args:
        core: float32 [..., D] → float32 [..., k], by TF-Agents' convention.
        decide: what becomes of its outputs.
        observed: spec of what it reads.
    """

    def __init__(self, core: network.Network, decide: Decide, observed: tuple[tf.TensorSpec, tf.TensorSpec]) -> None:
        super().__init__(input_tensor_spec=observed)
        self._core = core
        self._decide = decide

    def call(self, observed: Observed, step_type: Any = None, network_state: Any = (), training: bool = False) -> Any:
        features, mask = observed
        return self._decide(self._core(features, training=training)[0], mask), network_state


class ValueNetwork(network.Network):
    """Observed → value, float32 [...], whatever is allowed.

    Args:
        core: float32 [..., D] → float32 [..., 1], by TF-Agents' convention.
        observed: spec of what it reads.
    """

    def __init__(self, core: network.Network, observed: tuple[tf.TensorSpec, tf.TensorSpec]) -> None:
        super().__init__(input_tensor_spec=observed)
        self._core = core

    def call(self, observed: Observed, step_type: Any = None, network_state: Any = (), training: bool = False) -> Any:
        features, _ = observed
        return tf.squeeze(self._core(features, training=training)[0], axis=-1), network_state
