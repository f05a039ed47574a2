"""What a learned policy draws from: a softmax over actions, or normal distributions cut off at the numbers' bounds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow_probability as tfp
from tf_agents.networks.network import Network
from tf_agents.specs import tensor_spec

from rlbake.learners.bounds import Bounds
from rlbake.learners.categorical import CategoricalHead, allowed_logits
from rlbake.learners.heads import Head
from rlbake.learners.q_learning import number_of_actions
from rlbake.learners.truncated_normal import LearnedTruncatedNormalHead, location_and_deviation
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Action, Continuous

tfd = tfp.distributions


class OverActions(NamedTuple):
    """A softmax over A actions.

    Attributes:
        actions: A.
    """

    actions: int

    @property
    def outputs(self) -> int:
        """How many a network must have."""
        return self.actions

    @property
    def spec(self) -> tensor_spec.BoundedTensorSpec:
        """Of an action as the agent sees it."""
        return tensor_spec.BoundedTensorSpec([], tf.int32, 0, self.actions - 1)

    def decide(self, outputs: tf.Tensor, mask: tf.Tensor) -> tfp.distributions.Distribution:
        """Of logits float32 [..., A] and what the mask, bool [..., A] or [..., 0], allows."""
        return tfd.Categorical(logits=allowed_logits(outputs, mask))

    def seen(self, action: tf.Tensor) -> tf.Tensor:
        """Logged actions, int32 [B], as the agent sees them."""
        return action

    def unit(self) -> float:
        """Logarithm of the unit of a logged action's probability, in that of the agent's."""
        return 0.0

    def head(self, network: Network, epsilon: float = 0.0) -> Head:
        """What decides by a network's outputs."""
        return CategoricalHead(network, epsilon)


class OverNumbers(NamedTuple):
    """A truncated normal distribution for each of n numbers, on the scale on which their bounds are -1 and 1.

    Attributes:
        bounds: of the numbers.
    """

    bounds: Bounds

    @property
    def outputs(self) -> int:
        """How many a network must have."""
        return 2 * len(self.bounds.low)

    @property
    def spec(self) -> tensor_spec.BoundedTensorSpec:
        """Of an action as the agent sees it."""
        return tensor_spec.BoundedTensorSpec([len(self.bounds.low)], tf.float32, -1.0, 1.0)

    def decide(self, outputs: tf.Tensor, mask: tf.Tensor) -> tfp.distributions.Distribution:
        """Of outputs float32 [..., 2n]; numbers know no mask."""
        location, deviation = location_and_deviation(outputs)
        return tfd.Independent(tfd.TruncatedNormal(location, deviation, -1.0, 1.0), reinterpreted_batch_ndims=1)

    def seen(self, action: tf.Tensor) -> tf.Tensor:
        """Logged actions, float32 [B, n], as the agent sees them."""
        return self.bounds.scaled(action)

    def unit(self) -> float:
        """Logarithm of the unit of a logged action's density, in that of the agent's."""
        return float(np.log(self.bounds.half_widths).sum())

    def head(self, network: Network, epsilon: float = 0.0) -> Head:
        """What decides by a network's outputs."""
        return LearnedTruncatedNormalHead(network, self.bounds)


Family = OverActions | OverNumbers


def family(name: str, action: Action) -> Family:
    """What an agent of that name draws from; of MultiDiscrete actions, out of all combinations.

    Raises:
        SpecError: there are too many combinations.
    """
    if isinstance(action, Continuous):
        return OverNumbers(Bounds(action.low, action.high))
    return OverActions(number_of_actions(name, action))
