"""The network's input made shorter: an encoder between the preprocessing and whatever reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rlbake.features.identify import Identified
from rlbake.features.preprocessing import Preprocessing
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Feature


class Compressed(tf.Module):
    """Preprocessed features, float32 [B, D], through one ReLU layer to a code, float32 [B, `size`].

    Attributes:
        observation: the features, in the application's order.
        identified: transforms of the numbers.
        size: numbers in the code.
    """

    def __init__(self, preprocessing: Preprocessing, weights: Sequence[np.ndarray]) -> None:
        """
        Args:
            preprocessing: raw features → float32 [B, D].
            weights: hidden kernel [D, H] and bias [H], code kernel [H, `size`] and bias [`size`].
        """
        super().__init__(name="compressed")
        self._preprocessing = preprocessing
        self.weights = [tf.Variable(weight, trainable=False, dtype=tf.float32) for weight in weights]
        self.observation: tuple[Feature, ...] = preprocessing.observation
        self.identified: Identified = preprocessing.identified
        self.size = int(self.weights[-1].shape[0])

    def signature(self) -> dict[str, tf.TensorSpec]:
        """As of `Preprocessing`."""
        return self._preprocessing.signature()

    def __call__(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """float32 [B, `size`] of tensors as in `signature`. Raises as `Preprocessing`."""
        return self.encode(self._preprocessing(features))

    def apply(self, observations: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 [N, `size`] of columns [N]. Raises as `Preprocessing.apply`."""
        return self.encode(tf.constant(self._preprocessing.apply(observations))).numpy()

    def encode(self, vectors: tf.Tensor) -> tf.Tensor:
        """float32 [B, `size`] of preprocessed features, float32 [B, D]."""
        kernel, bias, out, shift = self.weights
        return tf.nn.relu(vectors @ kernel + bias) @ out + shift
