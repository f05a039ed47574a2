"""Mean and variance of every number, over the training split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rlbake.errors import DataError
from rlbake.specs import Feature, Number


@dataclass(frozen=True)
class Moments:
    """Mean and variance of one number, in its own unit and its square; a constant has variance 1."""

    mean: float
    variance: float


Statistics = dict[str, Moments]
"""Moments by name of the `Number`."""


def statistics(observations: Mapping[str, np.ndarray], observation: Sequence[Feature]) -> Statistics:
    """Population moments of each `Number` over N rows, in float64.

    A feature that never varies gets variance 1, so that standardising it only subtracts its mean
    and a slightly different value at serving stays small.

    Args:
        observations: one array [N] per feature, N ≥ 1.
        observation: the features; others than numbers have no moments.

    Raises:
        DataError: there is no row, or a number is NaN or infinite.
    """
    return {f.name: _moments(f.name, observations[f.name]) for f in observation if isinstance(f, Number)}


def _moments(name: str, column: np.ndarray) -> Moments:
    values = np.asarray(column, np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong) or not len(values):
        example = f", for example {values[wrong[0]]} in row {wrong[0]}" if len(wrong) else ""
        raise DataError(
            f"feature {name!r}: {len(wrong):,} of {len(values):,} values are not finite{example}. "
            "Fill or drop them in `timesteps`."
        )
    mean, variance = float(values.mean()), float(values.var())
    varies = values.min() < values.max() and variance > 0
    return Moments(mean, variance if varies else 1.0)
