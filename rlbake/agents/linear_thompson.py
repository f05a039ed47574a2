"""Linear Thompson sampling (Agrawal & Goyal, 2013, https://arxiv.org/abs/1209.3352).

The exported policy draws one of K samples θ of the posterior N(mean, α² (A + λ I)⁻¹), which are drawn when
training ends, and acts greedily in it. So an action's probability is the share of the samples that prefer it,
exactly. Without exploring it acts greedily in the mean.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.bandits.agents.linear_thompson_sampling_agent import LinearThompsonSamplingAgent

from rlbake.learners.facts import Facts
from rlbake.learners.heads import Preferred, distribution
from rlbake.learners.linear_bandit import (
    UNREAD_BY_SUMS,
    LinearConfig,
    LinearHead,
    LinearLearner,
    Posterior,
    blocks,
    projected,
)
from rlbake.learners.q_learning import number_of_actions
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Action, Discrete, MultiDiscrete

FACTS = Facts(
    actions=(Discrete, MultiDiscrete),
    foresight=False,
    on_logs="exact and fast; as good as rewards are linear in the features",
    unread=UNREAD_BY_SUMS,
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config(LinearConfig):
    """Hyperparameters of linear Thompson sampling, besides those of LinearConfig.

    Attributes:
        samples: K, of the posterior, that the exported policy draws from when it explores, ≥ 1: probabilities
            are multiples of 1 / K.
    """

    name: Literal["linear_thompson"] = "linear_thompson"
    samples: Annotated[int, Field(ge=1)] = 256


def learner(config: Config, *, size: int, action: Action, masked: bool) -> LinearThompson:
    """The agent for `size` features; made once per shape and process.

    Raises:
        SpecError: the action is Continuous.
    """
    return _learner(size, number_of_actions(config.name, action))


@lru_cache(maxsize=4)
def _learner(size: int, actions: int) -> LinearThompson:
    return LinearThompson(LinearThompsonSamplingAgent, size, actions)


class LinearThompson(LinearLearner):
    """TF-Agents' LinearThompsonSamplingAgent."""

    def restart(self, seed: int) -> None:
        """The seed decides which samples are drawn in the end."""
        self._seed = seed

    def configure(self, config: Config) -> None:
        super().configure(config)
        self._samples = config.samples

    def head(self) -> SampledHead:
        mean, root = posterior = self.model.posterior()
        noise = np.random.default_rng(self._seed).normal(size=(self._samples, *mean.shape))
        away = np.einsum("kaj,aji->kai", noise, root, optimize=True)
        return SampledHead(posterior, mean + self.alpha * away)


class SampledHead(LinearHead):
    """Greedy in one of K samples of the weights, each as likely as any other.

    With a temperature, probabilities are the mean over the samples of softmax(values / temperature).

    Args:
        posterior: of A actions.
        samples: float64 [K, A, D].
    """

    def __init__(self, posterior: Posterior, samples: np.ndarray) -> None:
        super().__init__(posterior)
        self.samples = tf.Variable(samples, trainable=False)

    def prefer(self, features: tf.Tensor, mask: tf.Tensor, explore: tf.Tensor, temperature: tf.Tensor) -> Preferred:
        context = self.context(features)
        values = tf.cast(self.expected(context), tf.float32)
        probabilities = tf.cond(
            explore,
            lambda: self._shares(context, mask, temperature),
            lambda: distribution(values, mask, explore, temperature, 0.0),
        )
        return Preferred(values, probabilities)

    def _shares(self, context: tf.Tensor, mask: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
        """float64 [B, A]."""
        return tf.cond(
            temperature > 0, lambda: self._softened(context, mask, temperature), lambda: self._counted(context, mask)
        )

    def _counted(self, context: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        count, actions, _ = self.samples.shape
        best = []
        for some in blocks(count, actions):
            values = tf.where(mask[:, None, :], projected(context, self.samples[some]), float("-inf"))
            best.append(tf.argmax(values, axis=2, output_type=tf.int32))
        preferring = tf.math.bincount(tf.concat(best, axis=1), minlength=actions, maxlength=actions, axis=-1)
        return tf.cast(preferring, tf.float64) / count

    def _softened(self, context: tf.Tensor, mask: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
        count, actions, _ = self.samples.shape
        total = tf.zeros_like(mask, tf.float64)
        for some in blocks(count, actions):
            values = projected(context, self.samples[some])
            allowed = tf.repeat(mask, some.stop - some.start, axis=0)
            each = distribution(tf.reshape(values, [-1, actions]), allowed, tf.constant(True), temperature, 0.0)
            total += tf.reduce_sum(tf.reshape(each, tf.shape(values)), axis=1)
        return total / count
