"""Between numbers in their own units and numbers in [-1, 1]."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rlbake.quiet import tensorflow as tf


class Bounds(NamedTuple):
    """What each of n numbers may be.

    Attributes:
        low: least value of each.
        high: greatest value of each, above `low`.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def half_widths(self) -> np.ndarray:
        """float64 [n], of a number's own unit per unit of what is scaled."""
        return (np.array(self.high) - np.array(self.low)) / 2

    def scaled(self, action: tf.Tensor) -> tf.Tensor:
        """float32 [B, n] in [-1, 1], of numbers in their own units."""
        center = (np.array(self.high) + np.array(self.low)) / 2
        shares = (tf.cast(action, tf.float64) - center) / self.half_widths
        return tf.cast(tf.clip_by_value(shares, -1.0, 1.0), tf.float32)

    def unscaled(self, scaled: tf.Tensor) -> tf.Tensor:
        """float32 [B, n] within the bounds as float32 has them, of float64 [B, n] in [-1, 1]."""
        low, high = np.array(self.low), np.array(self.high)
        action = tf.cast(low + (scaled + 1) * self.half_widths, tf.float32)
        return tf.clip_by_value(action, low.astype(np.float32), high.astype(np.float32))
