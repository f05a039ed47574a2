"""Episodes are counted where they end, and only in the rows given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pyspark.sql import SparkSession

from rlbake import vocabulary as v
from rlbake.features.profile import NUMBER, Profile, number_profile
from rlbake.profiles.episodes import episode_lengths

SCHEMA = f"{v.ENV_ID} string, {v.EPISODE} timestamp, {v.END} string"
START = datetime(2026, 1, 1, tzinfo=UTC)


def lengths_of(spark: SparkSession, episodes: list[tuple[str, int, int, str]]) -> Profile:
    """Of episodes: environment, hour of the first decision, transitions, and the end of the last."""
    rows = [
        (env, START + timedelta(hours=hour), end if step == length - 1 else v.NOT_ENDED)
        for env, hour, length, end in episodes
        for step in range(length)
    ]
    return episode_lengths(spark.createDataFrame(rows, SCHEMA))


def test_by_hand(spark):
    profile = lengths_of(
        spark,
        [
            ("ann", 0, 3, v.TERMINATED),
            ("ann", 5, 1, v.TRUNCATED),  # the same environment's next
            ("bob", 0, 2, v.TERMINATED),
            ("cyd", 0, 9, v.NOT_ENDED),  # goes on, or was cut without a final observation
        ],
    )
    assert (profile.rows, profile.missing, profile.low, profile.high, profile.mean) == (3, 0, 1.0, 3.0, 2.0)
    assert (profile.small, profile.whole) == ((1, 2, 3), 3)
    assert profile.quantiles[100] == 2.0


def test_the_profile_is_that_of_the_lengths_in_memory(spark):
    lengths = np.random.default_rng(0).geometric(0.01, 300)
    profile = lengths_of(spark, [(f"p{i}", 0, int(n), v.TERMINATED) for i, n in enumerate(lengths)])
    expected = number_profile(lengths.astype(float), len(lengths), 0)
    assert (profile.kind, profile.rows, profile.whole, profile.small) == (NUMBER, 300, 300, expected.small)
    for name in ("low", "high", "mean", "m2", "m3", "m4"):
        assert getattr(profile, name) == pytest.approx(getattr(expected, name), rel=1e-9), name
    assert profile.quantiles == pytest.approx(expected.quantiles, abs=lengths.max() * 0.02)


def test_episodes_of_one_length(spark):
    profile = lengths_of(spark, [(name, 0, 4, v.TERMINATED) for name in "abc"])
    assert (profile.low, profile.high, profile.mean, profile.m2, profile.varies) == (4.0, 4.0, 4.0, 0.0, False)


def test_no_episode_has_ended(spark):
    assert lengths_of(spark, [("ann", 0, 2, v.NOT_ENDED)]) == Profile(NUMBER, 0, 0)
    assert episode_lengths(spark.createDataFrame([], SCHEMA)) == Profile(NUMBER, 0, 0)
