"""Fitted agents of vector actions that were never trained: what they decide can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlbake.features.identify import Transform
from rlbake.features.preprocessing import Preprocessing
from rlbake.learners.heads import Chosen, ContinuousHead, ValueHead
from rlbake.learners.networks import dense_network
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Action, Binary, Category, Continuous, Feature, MultiDiscrete, Number
from rlbake.training.config import resolve
from rlbake.training.fitted import FittedAgent

OBSERVATION = (Number("level"), Binary("payer"), Category("country", ["US", "DE"]))
BUNDLE = MultiDiscrete({"item": ["sword", "shield", "cape"], "discount": ["none", "half"]})
PRICES = Continuous([1.0, 0.0], [20.0, 1.0], ["price", "share"])
EPSILON, SIGMA = 0.3, (3.0, 0.25)
TRANSFORMS = {"level": Transform("standard", 10.0, 2.0)}

ROWS = {
    "level": np.array([16.0, 10.0, 4.0, 10.0]),
    "payer": np.array([False, True, False, False]),
    "country": np.array(["FR", "FR", "DE", "US"], object),
}
"""Network inputs (level, payer, US, DE): (3, 0, 0, 0), (0, 1, 0, 0), (-3, 0, 0, 1), (0, 0, 1, 0)."""

BUNDLE_WEIGHTS = np.array(
    [
        # sword, sword half, shield, shield half, cape, cape half
        [1, 0, 0, 0, 0, 0],  # level
        [0, 1, 0, 0, 0, 0],  # payer
        [0, 0, 0, 0, 0, 1],  # US
        [0, 0, 0, 4, 0, 0],  # DE
    ],
    np.float32,
)
BUNDLES = [[0, 0], [0, 1], [1, 1], [2, 1]]
"""The greedy choices for `ROWS`."""

PRICE_WEIGHTS = np.array([[4, 0], [0, 0.5], [1, 0.25], [0, -1]], np.float32)
PRICE_BIAS = np.array([5, 0.25], np.float32)
MEANS = np.array([[17, 0.25], [5, 0.75], [-7, -0.75], [6, 0.5]])
"""Before they are cut to the bounds, for `ROWS`."""


class TruncatedNormal(ContinuousHead):
    """Numbers around linear means, normal within their bounds.

    Args:
        weights: [D, n].
        bias: [n].
        action: the bounds.
        sigma: [n].
    """

    def __init__(self, weights: np.ndarray, bias: np.ndarray, action: Continuous, sigma: Sequence[float]) -> None:
        super().__init__(name="head")
        self._weights, self._bias = (tf.Variable(values, dtype=tf.float32) for values in (weights, bias))
        self._low, self._high, self._sigma = (
            tf.constant(values, tf.float64) for values in (action.low, action.high, sigma)
        )

    def choose(self, features: tf.Tensor, uniform: tf.Tensor, explore: tf.Tensor, temperature: tf.Tensor) -> Chosen:
        mean = tf.cast(features @ self._weights + self._bias, tf.float64)
        sigma = self._sigma * tf.cast(tf.where(temperature > 0, temperature, 1.0), tf.float64)
        below, within = (_normal((bound - mean) / sigma) for bound in (self._low, self._high))
        z = tf.math.ndtri(below + uniform * (within - below))
        density = -0.5 * z**2 - tf.math.log(sigma * np.sqrt(2 * np.pi)) - tf.math.log(within - below)
        action = tf.clip_by_value(tf.where(explore, mean + sigma * z, mean), self._low, self._high)
        total = tf.where(explore, tf.reduce_sum(density, axis=1), tf.constant(np.nan, tf.float64))
        return Chosen(tf.cast(action, tf.float32), tf.cast(total, tf.float32))


def _normal(z: tf.Tensor) -> tf.Tensor:
    return 0.5 * (1 + tf.math.erf(z / np.sqrt(2)))


def bundle_agent() -> FittedAgent:
    """Combination values = inputs @ `BUNDLE_WEIGHTS`; ε = 0.3."""
    network = dense_network((), 4, len(BUNDLE.joint()))
    network.set_weights([BUNDLE_WEIGHTS, np.zeros(len(BUNDLE.joint()), np.float32)])
    return _fitted(OBSERVATION, BUNDLE, TRANSFORMS, ValueHead(network, EPSILON))


def price_agent() -> FittedAgent:
    """Normal around inputs @ `PRICE_WEIGHTS` + `PRICE_BIAS` with `SIGMA`, within the bounds."""
    return _fitted(OBSERVATION, PRICES, TRANSFORMS, TruncatedNormal(PRICE_WEIGHTS, PRICE_BIAS, PRICES, SIGMA))


def flat_price_agent(
    observation: tuple[Feature, ...], action: Continuous, price: Sequence[float], sigma: Sequence[float]
) -> FittedAgent:
    """The same distribution for everybody, over any action."""
    transforms = {f.name: Transform("standard", 0.0, 1.0) for f in observation if isinstance(f, Number)}
    weights = np.zeros((Preprocessing(observation, transforms).size, len(price)), np.float32)
    return _fitted(observation, action, transforms, TruncatedNormal(weights, np.array(price), action, sigma))


def _fitted(
    observation: tuple[Feature, ...], action: Action, transforms: dict[str, Transform], head: ValueHead | ContinuousHead
) -> FittedAgent:
    config = resolve({"agent": {"epsilon": EPSILON}}, gamma=0.0)
    variables = {"head": [variable.numpy() for variable in head.variables]}
    return FittedAgent(observation, action, config, Preprocessing(observation, transforms), head, variables, {})
