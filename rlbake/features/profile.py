"""How a column is distributed, in numbers that merge: the profile of a month is merged from its days.

Needs neither Spark nor TensorFlow. `rlbake.profiles` takes the same numbers of a table on Spark.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rlbake import vocabulary as v
from rlbake.errors import DataError
from rlbake.specs import Binary, Category, Feature, Number

NUMBER, BINARY, CATEGORY = "number", "binary", "category"

GRID = np.linspace(0, 1, 201)
"""The probabilities at which every profile of numbers has a quantile."""

SMALL = 255
"""Whole numbers of at most this magnitude are told apart one by one."""

TRUE, FALSE = "true", "false"


@dataclass(frozen=True)
class Profile:
    """The distribution of one column.

    The numbers after `missing` describe the values that are there. Those from `low` to `quantiles`
    are of a number and None or empty otherwise; `counts` is of the others.

    Attributes:
        kind: "number", "binary" or "category".
        rows: how many there are, missing ones included.
        missing: how many of them are NULL.
        low: the least value; None where there is no value.
        high: the greatest.
        mean: of the values.
        m2: sum of squared deviations from the mean.
        m3: sum of their third powers.
        m4: sum of their fourth powers.
        whole: how many are whole numbers.
        small: the different whole numbers among them with magnitude ≤ `SMALL`, ascending.
        quantiles: at `GRID`; the first is `low` and the last `high`.
        counts: rows by value; of a binary, by "true" and "false".
    """

    kind: str
    rows: int
    missing: int
    low: float | None = None
    high: float | None = None
    mean: float = 0.0
    m2: float = 0.0
    m3: float = 0.0
    m4: float = 0.0
    whole: int = 0
    small: tuple[int, ...] = ()
    quantiles: tuple[float, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def present(self) -> int:
        """Rows that are not missing."""
        return self.rows - self.missing

    @property
    def varies(self) -> bool:
        """Whether a number takes more than one value."""
        return self.low is not None and self.low != self.high and self.m2 > 0

    @property
    def deviation(self) -> float:
        """Population standard deviation; 1 for a number that does not vary."""
        return math.sqrt(self.m2 / self.present) if self.varies else 1.0

    @property
    def skewness(self) -> float:
        """g₁ = √n m₃ / m₂^1.5; 0 for a number that does not vary."""
        return math.sqrt(self.present / self.m2) * (self.m3 / self.m2) if self.varies else 0.0

    @property
    def excess_kurtosis(self) -> float:
        """g₂ = n m₄ / m₂² - 3; 0 for a normal distribution, and for a number that does not vary."""
        return self.present / self.m2 * (self.m4 / self.m2) - 3 if self.varies else 0.0


Profiles = dict[str, Profile]
"""Profiles by name of the column; see `of_feature` and `of_metric`."""


def of_feature(name: str) -> str:
    """The name under which a feature is profiled."""
    return f"{v.OBSERVATION}.{name}"


def of_metric(name: str) -> str:
    """The name under which a metric is profiled."""
    return f"{v.METRICS}.{name}"


def profile_of(observations: Mapping[str, np.ndarray], observation: Sequence[Feature]) -> Profiles:
    """The profiles of features in memory.

    Args:
        observations: one array [N] per feature, N ≥ 1. Missing is NaN for a number or binary and
            the empty string for a category.
        observation: the features.

    Raises:
        DataError: there is no row, a number is infinite, or a value of a feature that is not optional is missing.
    """
    return {of_feature(f.name): _of_array(f, observations[f.name]) for f in observation}


def _of_array(feature: Feature, column: np.ndarray) -> Profile:
    missing = _missing(feature, column)
    wrong = np.zeros(len(column), bool) if feature.optional else missing
    if isinstance(feature, Number):
        wrong = wrong | np.isinf(np.asarray(column, np.float64))
    if wrong.any() or not len(column):
        rows = np.flatnonzero(wrong)
        example = f", for example {column[rows[0]]} in row {rows[0]}" if len(rows) else ""
        raise DataError(
            f"feature {feature.name!r}: {len(rows):,} of {len(column):,} values are missing or not finite{example}. "
            "Fill or drop them in `timesteps`, or declare the feature optional if it may be missing."
        )
    values = column[~missing]
    rows_, absent = len(column), int(missing.sum())
    if isinstance(feature, Number):
        return number_profile(np.asarray(values, np.float64), rows_, absent)
    if isinstance(feature, Binary):
        true = int(np.count_nonzero(values))
        return Profile(BINARY, rows_, absent, counts=_positive({FALSE: len(values) - true, TRUE: true}))
    return Profile(CATEGORY, rows_, absent, counts=_positive(Counter(values.tolist())))


def number_profile(values: np.ndarray, rows: int, missing: int) -> Profile:
    """The profile of the finite numbers that are there, float64 [rows - missing]."""
    if not len(values):
        return Profile(NUMBER, rows, missing)
    mean = float(values.mean())
    with np.errstate(over="ignore", invalid="ignore"):  # a number near the end of float64 has no fourth power
        m2, m3, m4 = (float(((values - mean) ** power).sum()) for power in (2, 3, 4))
    is_whole = values == np.rint(values)
    small = np.unique(values[is_whole & (np.abs(values) <= SMALL)]).astype(int)
    quantiles = np.quantile(values, GRID, method="inverted_cdf")
    return Profile(
        NUMBER, rows, missing, float(values.min()), float(values.max()), mean, m2, m3, m4,
        int(is_whole.sum()), tuple(small.tolist()), tuple(quantiles.tolist()),
    )  # fmt: skip


def merge(profiles: Iterable[Profile]) -> Profile:
    """The profile of all the rows together.

    Everything is exact but the quantiles, which are those of the mixture of the parts' distributions.
    Merging many parts at once loses less than merging them one after the other.

    Args:
        profiles: of the same column of disjoint rows; at least one.

    Raises:
        DataError: they are of different kinds.
    """
    parts = list(profiles)
    kinds = sorted({part.kind for part in parts})
    if len(kinds) != 1:
        raise DataError(f"profiles of different kinds ({', '.join(kinds)}) do not merge: build these windows again.")
    rows, missing = sum(part.rows for part in parts), sum(part.missing for part in parts)
    if kinds[0] != NUMBER:
        counts: Counter[str] = sum((Counter(part.counts) for part in parts), Counter())
        return Profile(kinds[0], rows, missing, counts=_positive(counts))
    seen = [part for part in parts if part.present]
    if not seen:
        return Profile(NUMBER, rows, missing)
    _, mean, m2, m3, m4 = functools.reduce(pooled, [(p.present, p.mean, p.m2, p.m3, p.m4) for p in seen])
    return Profile(
        NUMBER,
        rows,
        missing,
        low=min(part.low for part in seen if part.low is not None),
        high=max(part.high for part in seen if part.high is not None),
        mean=mean,
        m2=m2,
        m3=m3,
        m4=m4,
        whole=sum(part.whole for part in seen),
        small=tuple(sorted(set().union(*(part.small for part in seen)))),
        quantiles=tuple(_mixture_quantiles(seen).tolist()),
    )


def merge_all(profiles: Sequence[Profiles]) -> Profiles:
    """Merges the profiles of windows column by column; a column that not all of them have is left out."""
    columns = [name for name in profiles[0] if all(name in window for window in profiles)]
    return {name: merge(window[name] for window in profiles) for name in columns}


Moments = tuple[int, float, float, float, float]


def pooled(a: Moments, b: Moments) -> Moments:
    """Count, mean and central sums of two samples together.

    Pébay, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
    statistical moments", SAND2008-6212, equations 2.1 and 3.1.
    """
    (n_a, mean_a, m2_a, m3_a, m4_a), (n_b, mean_b, m2_b, m3_b, m4_b) = a, b
    n, d = n_a + n_b, mean_b - mean_a
    p, q = n_a / n, n_b / n
    m2 = m2_a + m2_b + d**2 * n * p * q
    m3 = m3_a + m3_b + d**3 * n * p * q * (p - q) + 3 * d * (p * m2_b - q * m2_a)
    m4 = (
        m4_a + m4_b + d**4 * n * p * q * (p * p - p * q + q * q)
        + 6 * d**2 * (p * p * m2_b + q * q * m2_a) + 4 * d * (p * m3_b - q * m3_a)
    )  # fmt: skip
    return n, mean_a + d * q, m2, m3, m4


def distribution(profile: Profile) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """F(x-) and F(x), the shares of values below x and up to x, as functions of float64 [K].

    Linear between two neighbouring quantiles; a value that fills several of them is an atom.
    """
    grid = np.asarray(profile.quantiles)
    knots, first = np.unique(grid, return_index=True)
    last = np.append(first[1:], len(grid)) - 1
    below, upto = GRID[first], GRID[last]
    if len(knots) > 1:
        below[0] = 0.0

    def shares(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        left = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, max(len(knots) - 2, 0))
        right = np.minimum(left + 1, len(knots) - 1)
        width = np.where(knots[right] > knots[left], knots[right] - knots[left], 1.0)
        with np.errstate(over="ignore"):  # a share beyond any number is cut to 1
            part = np.clip((x - knots[left]) / width, 0, 1)
        between = upto[left] + (below[right] - upto[left]) * part
        at = np.minimum(np.searchsorted(knots, x), len(knots) - 1)
        on_knot = knots[at] == x
        low = np.where(on_knot, below[at], between)
        high = np.where(on_knot, upto[at], between)
        outside = [x < knots[0], x > knots[-1]]
        return np.select(outside, [0.0, 1.0], low), np.select(outside, [0.0, 1.0], high)

    return shares


def _mixture_quantiles(parts: Sequence[Profile]) -> np.ndarray:
    if len(parts) == 1:
        return np.asarray(parts[0].quantiles)
    weights = np.array([part.present for part in parts], np.float64)
    weights /= weights.sum()
    x = np.unique(np.concatenate([part.quantiles for part in parts]))
    shares = [distribution(part)(x) for part in parts]
    below, upto = (sum(w * share[side] for w, share in zip(weights, shares, strict=True)) for side in (0, 1))
    mixed = np.interp(GRID, np.ravel([below, upto], order="F"), np.repeat(x, 2))
    mixed[0], mixed[-1] = x[0], x[-1]
    return np.maximum.accumulate(mixed)


def _missing(feature: Feature, column: np.ndarray) -> np.ndarray:
    if isinstance(feature, Category):
        return np.asarray(column, object) == ""
    return np.isnan(np.asarray(column, np.float64))


def _positive(counts: Mapping[Any, int]) -> dict[str, int]:
    return {str(value): int(counts[value]) for value in sorted(counts) if counts[value]}
