"""Raw features to the one vector that networks read; its graph lives inside the saved policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rlbake.errors import NotFoundError, nearest
from rlbake.features.statistics import Statistics
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Binary, Category, Feature, Number

_ROWS_AT_ONCE = 65_536


class Preprocessing(tf.Module):
    """Standardised numbers, then binaries as 0 or 1, then categories one-hot: float32 [B, D].

    Numbers are standardised in float64 (tf.keras.layers.Normalization), so that timestamps and
    other large values keep their differences. A category outside the known values is all zeros
    (tf.keras.layers.StringLookup, whose column for the unknown is left out).

    Attributes:
        observation: the features, in the application's order.
        statistics: moments of the numbers.
        size: D.
    """

    def __init__(self, observation: Sequence[Feature], statistics: Statistics) -> None:
        super().__init__(name="preprocessing")
        self.observation = tuple(observation)
        self.statistics = dict(statistics)
        self._numbers = [f.name for f in observation if isinstance(f, Number)]
        self._binaries = [f.name for f in observation if isinstance(f, Binary)]
        categories = [f for f in observation if isinstance(f, Category)]
        self.size = len(self._numbers) + len(self._binaries) + sum(len(f.values) for f in categories)
        if self._numbers:
            self._standardise = tf.keras.layers.Normalization(
                mean=[statistics[n].mean for n in self._numbers],
                variance=[statistics[n].variance for n in self._numbers],
                dtype=tf.float64,
            )
            self._standardise.build([None, len(self._numbers)])
        self._one_hot = {
            f.name: tf.keras.layers.StringLookup(vocabulary=list(f.values), output_mode="one_hot") for f in categories
        }

    def signature(self) -> dict[str, tf.TensorSpec]:
        """One spec [B] per feature: Number float64, Binary bool, Category string."""
        kinds = {Number: tf.float64, Binary: tf.bool, Category: tf.string}
        return {f.name: tf.TensorSpec([None], kinds[type(f)], f.name) for f in self.observation}

    def __call__(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """float32 [B, D] of tensors as in `signature`."""
        parts = []
        if self._numbers:
            numbers = tf.stack([features[n] for n in self._numbers], axis=1)
            parts.append(tf.cast(self._standardise(numbers), tf.float32))
        parts += [tf.cast(features[n], tf.float32)[:, None] for n in self._binaries]
        parts += [lookup(features[n])[:, 1:] for n, lookup in self._one_hot.items()]
        return tf.concat(parts, axis=1)

    def tensors(self, observations: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
        """Columns [B] as tensors of `signature`'s types.

        Raises:
            NotFoundError: a feature is missing.
        """
        for feature in self.observation:
            if feature.name not in observations:
                raise NotFoundError(
                    f"feature {feature.name!r} is missing from the observations. "
                    + nearest(feature.name, list(observations))
                )
        signature = self.signature()
        return {name: _tensor(observations[name], spec.dtype) for name, spec in signature.items()}

    def apply(self, observations: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 [N, D] of columns [N], a slice at a time."""
        whole = self.tensors(observations)
        rows = len(next(iter(observations.values())))
        vectors = [
            self({n: t[start : start + _ROWS_AT_ONCE] for n, t in whole.items()}).numpy()
            for start in range(0, rows, _ROWS_AT_ONCE)
        ]
        return np.concatenate(vectors) if vectors else np.zeros((0, self.size), np.float32)


def _tensor(column: np.ndarray, dtype: tf.DType) -> tf.Tensor:
    if dtype == tf.string:
        return tf.constant(np.asarray(column, object), tf.string)
    return tf.constant(np.asarray(column, dtype.as_numpy_dtype))
