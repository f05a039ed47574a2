"""Raw features to the one vector that networks read; its graph lives inside the saved policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rlbake.errors import NotFoundError, nearest
from rlbake.features.identify import PROBABILITY_MARGIN, Identified, Transform
from rlbake.quiet import tensorflow as tf
from rlbake.specs import OTHER, Binary, Category, Feature, Number

FARTHEST = 100.0
"""A standardised number is read as if no further than this many deviations from the mean."""

NOT_FINITE = "features missing or not finite: "

_ROWS_AT_ONCE = 65_536


class Preprocessing(tf.Module):
    """Transformed numbers, then binaries, then categories, then flags of what is missing: float32 [B, D].

    Numbers are transformed in float64, so that timestamps and other large values keep their
    differences, and however far a finite one lies from what was seen, what it becomes is bounded
    (but for `raw`, which is only kept finite). Binaries are 0 or 1, categories one-hot; one outside
    the known values is all zeros, or in the column of "other" if the feature says so
    (tf.keras.layers.StringLookup). Every optional feature has a flag, 1 where it is missing; its
    own columns are 0 there.

    Keras' Normalization is not used: it takes every deviation for at least 1e-7, which numbers of a
    small unit and powers fall below. Nor is IntegerLookup: it would take 2.5 for 2.

    Attributes:
        observation: the features, in the application's order.
        identified: transforms of the numbers.
        size: D.
    """

    def __init__(self, observation: Sequence[Feature], identified: Identified) -> None:
        super().__init__(name="preprocessing")
        self.observation = tuple(observation)
        self.identified = dict(identified)
        self._numbers = [f for f in observation if isinstance(f, Number)]
        self._binaries = [f for f in observation if isinstance(f, Binary)]
        self._categories = [f for f in observation if isinstance(f, Category)]
        self._optional = [f for f in observation if f.optional]
        self.size = (
            sum(identified[f.name].size for f in self._numbers)
            + len(self._binaries)
            + sum(len(f.values) for f in self._categories)
            + len(self._optional)
        )
        self._lookup = {
            f.name: tf.keras.layers.StringLookup(vocabulary=[x for x in f.values if not _is_other(f, x)])
            for f in self._categories
            if f.values != (OTHER,)
        }

    def signature(self) -> dict[str, tf.TensorSpec]:
        """One spec [B] per feature: Number float64, Binary bool, or float64 if optional, Category string.

        Missing is NaN, or the empty string; only for optional features.
        """
        return {f.name: tf.TensorSpec([None], _dtype(f), f.name) for f in self.observation}

    def __call__(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """float32 [B, D] of tensors as in `signature`.

        Raises:
            tf.errors.InvalidArgumentError: a number is infinite, or NaN and not optional.
        """
        missing = {f.name: _is_missing(f, features[f.name]) for f in self._optional}
        parts = self._transformed(features, missing) if self._numbers else []
        for binary in self._binaries:
            value = tf.cast(features[binary.name], tf.float32)
            parts.append(_zero_where(missing.get(binary.name), value[:, None]))
        parts += [self._one_hot(f, features[f.name], missing.get(f.name)) for f in self._categories]
        parts += [tf.cast(flag, tf.float32)[:, None] for flag in missing.values()]
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

    def _transformed(self, features: Mapping[str, tf.Tensor], missing: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """The numbers' columns, float32 [B, …], in the application's order."""
        numbers = tf.stack([features[f.name] for f in self._numbers], axis=1)
        optional = tf.constant([f.optional for f in self._numbers])
        allowed = tf.math.is_finite(numbers) | (optional & tf.math.is_nan(numbers))
        _refuse_unless(allowed, [f.name for f in self._numbers])
        absent = tf.math.is_nan(numbers)
        transforms = [self.identified[f.name] for f in self._numbers]
        if all(t.name == "standard" for t in transforms):
            mean = tf.constant([t.mean for t in transforms], tf.float64)
            deviation = tf.constant([t.deviation for t in transforms], tf.float64)
            standardised = _bounded((numbers - mean) / deviation)
            return [
                tf.cast(tf.where(absent, tf.zeros_like(numbers), standardised) if missing else standardised, tf.float32)
            ]
        parts = []
        for column, (feature, transform) in enumerate(zip(self._numbers, transforms, strict=True)):
            # what a missing number becomes is set to 0 after the transform, which must not see the NaN
            number = tf.where(absent[:, column], tf.zeros_like(numbers[:, column]), numbers[:, column])
            parts.append(_zero_where(missing.get(feature.name), transformed(transform, number)))
        return parts

    def _one_hot(self, feature: Category, text: tf.Tensor, missing: tf.Tensor | None) -> tf.Tensor:
        index = self._lookup[feature.name](text) if feature.name in self._lookup else tf.zeros_like(text, tf.int64)
        known = [x for x in feature.values if not _is_other(feature, x)]
        hot = tf.one_hot(index, len(known) + 1)  # the first is for the unknown
        if len(known) < len(feature.values):
            return _zero_where(missing, tf.concat([hot[:, 1:], hot[:, :1]], axis=1))
        return hot[:, 1:]


def transformed(transform: Transform, number: tf.Tensor) -> tf.Tensor:
    """float32 [B, `transform.size`] of finite numbers, float64 [B]; finite for any of them.

    But for `binary` and `category`, a greater number never becomes less.
    """
    if transform.low is not None and transform.high is not None:
        number = tf.clip_by_value(number, transform.low, transform.high)
    if transform.name == "category":
        hot = number[:, None] == tf.constant(transform.values, tf.float64)
        return tf.cast(hot, tf.float32)
    read = {
        "raw": lambda x: tf.clip_by_value(x, tf.float32.min, tf.float32.max),
        "standard": lambda x: _bounded(_standardised(transform, x)),
        "probability": _log_odds,
        "binary": lambda x: tf.cast(x != 0, tf.float64),
        "box_cox": lambda x: _standardised(transform, _log_power(tf.math.log(x), transform.power or 0.0)),
        "yeo_johnson": lambda x: _standardised(transform, _yeo_johnson(x, transform.power or 0.0)),
        "clipped_log": lambda x: _standardised(transform, tf.math.log1p(x)),
        "quantile": lambda x: _rank(transform, x),
    }[transform.name]
    return tf.cast(read(number), tf.float32)[:, None]


def _standardised(transform: Transform, x: tf.Tensor) -> tf.Tensor:
    return (x - tf.constant(transform.mean, tf.float64)) / tf.constant(transform.deviation, tf.float64)


def _bounded(x: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(x, tf.constant(-FARTHEST, tf.float64), tf.constant(FARTHEST, tf.float64))


def _log_odds(x: tf.Tensor) -> tf.Tensor:
    within = tf.clip_by_value(x, PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
    return tf.math.log(within) - tf.math.log1p(-within)


def _log_power(log_x: tf.Tensor, power: float) -> tf.Tensor:
    """(x^λ - 1) / λ of log x."""
    return tf.math.expm1(power * log_x) / power if power else log_x


def _yeo_johnson(x: tf.Tensor, power: float) -> tf.Tensor:
    above = _log_power(tf.math.log1p(tf.maximum(x, 0.0)), power)
    below = -_log_power(tf.math.log1p(tf.maximum(-x, 0.0)), 2 - power)
    return tf.where(x >= 0, above, below)


def _rank(transform: Transform, x: tf.Tensor) -> tf.Tensor:
    """Between two values whose ranks are known, linear."""
    values, ranks = (tf.constant(numbers, tf.float64) for numbers in (transform.values, transform.ranks))
    if len(transform.values) == 1:
        return tf.zeros_like(x)
    x = tf.clip_by_value(x, values[0], values[-1])
    left = tf.minimum(tf.searchsorted(values, x, side="right") - 1, len(transform.values) - 2)
    lower, upper = tf.gather(values, left), tf.gather(values, left + 1)
    share = (x - lower) / (upper - lower)
    return tf.gather(ranks, left) * (1 - share) + tf.gather(ranks, left + 1) * share


def _refuse_unless(allowed: tf.Tensor, names: list[str]) -> None:
    """Says which features hold something else than a number; `allowed` is bool [B, n]."""
    wrong = tf.boolean_mask(tf.constant(names), ~tf.reduce_all(allowed, axis=0))
    tf.debugging.Assert(tf.reduce_all(allowed), [NOT_FINITE + tf.strings.reduce_join(wrong, separator=", ")])


def _dtype(feature: Feature) -> tf.DType:
    if isinstance(feature, Category):
        return tf.string
    return tf.bool if isinstance(feature, Binary) and not feature.optional else tf.float64


def _is_missing(feature: Feature, column: tf.Tensor) -> tf.Tensor:
    return column == "" if isinstance(feature, Category) else tf.math.is_nan(column)


def _zero_where(missing: tf.Tensor | None, columns: tf.Tensor) -> tf.Tensor:
    return columns if missing is None else tf.where(missing[:, None], tf.zeros_like(columns), columns)


def _is_other(feature: Category, value: str) -> bool:
    return feature.unknown == OTHER and value == OTHER


def _tensor(column: np.ndarray, dtype: tf.DType) -> tf.Tensor:
    if dtype == tf.string:
        return tf.constant(np.asarray(column, object), tf.string)
    return tf.constant(np.asarray(column, dtype.as_numpy_dtype))
