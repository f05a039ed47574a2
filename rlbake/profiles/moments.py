"""Count, extremes and moments of a number in one Spark aggregation."""

from __future__ import annotations

from pyspark.sql import Column, Row
from pyspark.sql import functions as F

from rlbake.features.profile import Moments


def described(x: Column) -> list[Column]:
    """Aggregates `present`, `low`, `high`, `mean`, `variance`, `skewness` and `kurtosis` of what is not NULL."""
    return [
        F.count(x).alias("present"),
        F.min(x).alias("low"),
        F.max(x).alias("high"),
        F.avg(x).alias("mean"),
        F.var_pop(x).alias("variance"),
        F.skewness(x).alias("skewness"),
        F.kurtosis(x).alias("kurtosis"),
    ]


def moments(found: Row) -> Moments:
    """Count, mean and central sums, from m₂ = n σ², m₃ = g₁ σ³ n and m₄ = (g₂ + 3) σ⁴ n; 0 where nothing varies.

    Args:
        found: the aggregates of at least one value.
    """
    n, variance = found["present"], found["variance"]
    if found["low"] == found["high"]:
        return n, found["low"], 0.0, 0.0, 0.0
    skewness, kurtosis = found["skewness"] or 0.0, found["kurtosis"] or 0.0
    return n, found["mean"], n * variance, skewness * variance**1.5 * n, (kurtosis + 3) * variance**2 * n
