"""Hand-made logs in, exact timesteps out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rlbake
from rlbake.errors import DataError, SpecError

OBSERVATIONS = "player string, timestamp timestamp, level int, country string"
DECISIONS = "player string, timestamp timestamp, action string, log_probability double"
OUTCOMES = "player string, timestamp timestamp, click int, spent double"


def at(clock: str, day: int = 1) -> datetime:
    hour, minute = clock.split(":")
    return datetime(2026, 1, day, int(hour), int(minute), tzinfo=UTC)


def joined(
    spark: SparkSession,
    observations: list[tuple[Any, ...]],
    decisions: list[tuple[Any, ...]],
    outcomes: list[tuple[Any, ...]],
    attribution: str = "2h",
) -> list[tuple[Any, ...]]:
    frame = rlbake.join_logs(
        observations=spark.createDataFrame(observations, OBSERVATIONS),
        decisions=spark.createDataFrame(decisions, DECISIONS),
        outcomes=spark.createDataFrame(outcomes, OUTCOMES),
        attribution=attribution,
    )
    assert frame.columns == [
        "player", "timestamp", "level", "country", "action", "log_probability", "click", "spent",
    ]  # fmt: skip
    shown = frame.withColumn("timestamp", F.date_format("timestamp", "HH:mm"))
    return sorted(map(tuple, shown.collect()))


def test_a_decision_sees_the_latest_observation_at_or_before_it(spark: SparkSession) -> None:
    seen = [
        ("ann", at("08:00"), 1, "DE"),
        ("ann", at("10:00"), 2, None),
        ("ann", at("10:01"), 3, "FR"),
        ("bob", at("09:00"), 7, "US"),
    ]
    decided = [
        ("ann", at("07:59"), "a", None),
        ("ann", at("09:59"), "a", -0.5),
        ("ann", at("10:00"), "b", None),
        ("bob", at("23:00"), "b", None),
    ]
    assert joined(spark, seen, decided, []) == [
        ("ann", "07:59", None, None, "a", None, 0.0, 0.0),
        ("ann", "09:59", 1, "DE", "a", -0.5, 0.0, 0.0),
        ("ann", "10:00", 2, None, "b", None, 0.0, 0.0),  # the same instant counts, a NULL stays NULL
        ("bob", "23:00", 7, "US", "b", None, 0.0, 0.0),
    ]


def test_an_outcome_goes_to_the_latest_decision_within_attribution(spark: SparkSession) -> None:
    seen = [("ann", at("00:00"), 1, "DE"), ("bob", at("00:00"), 1, "DE")]
    decided = [("ann", at("10:00"), "a", None), ("ann", at("11:00"), "b", None), ("bob", at("10:30"), "a", None)]
    earned = [
        ("ann", at("09:59"), 100, 1.0),  # before any decision
        ("ann", at("10:00"), 1, None),  # at the decision's instant
        ("ann", at("10:59"), 1, 0.5),
        ("ann", at("11:00"), 1, 0.1),  # the later decision's, from its very instant
        ("ann", at("13:00"), None, 0.2),  # exactly within two hours
        ("ann", at("13:01"), 100, 1.0),  # too late
        ("cat", at("10:00"), 100, 1.0),  # nobody decided
    ]
    assert joined(spark, seen, decided, earned) == [
        ("ann", "10:00", 1, "DE", "a", None, 2.0, 0.5),
        ("ann", "11:00", 1, "DE", "b", None, 1.0, 0.1 + 0.2),
        ("bob", "10:30", 1, "DE", "a", None, 0.0, 0.0),
    ]


def test_a_decision_logged_twice_stays_twice_the_same(spark: SparkSession) -> None:
    decided = [("ann", at("10:00"), "a", None)] * 2
    row = ("ann", "10:00", 1, "DE", "a", None, 1.0, 2.0)
    assert joined(spark, [("ann", at("09:00"), 1, "DE")], decided, [("ann", at("10:05"), 1, 2.0)]) == [row, row]


def test_one_shuffle_and_no_join(spark: SparkSession) -> None:
    frame = rlbake.join_logs(
        observations=spark.createDataFrame([("ann", at("09:00"), 1, "DE")], OBSERVATIONS),
        decisions=spark.createDataFrame([("ann", at("09:00"), "a", None)], DECISIONS),
        outcomes=spark.createDataFrame([("ann", at("09:00"), 1, 1.0)], OUTCOMES),
        attribution="1h",
    )
    plan = frame._jdf.queryExecution().executedPlan().toString()
    assert plan.count("Exchange") == 1
    assert "Join" not in plan


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"attribution": "soon"}, SpecError, "'soon' is not a duration"),
        ({"keys": ("playr",)}, DataError, "observations has no key 'playr'. Did you mean 'player'?"),
        ({"keys": "player"}, DataError, "keys must be a tuple"),
        ({"outcomes": ["timestamp timestamp, user string, click int"]}, DataError, "share no column but the time"),
        ({"decisions": ["player string, timestamp timestamp, act string"]}, DataError, "Did you mean 'act'?"),
        ({"decisions": ["player string, timestamp string, action string"]}, DataError, "is STRING: cast it"),
        ({"outcomes": ["player string, timestamp timestamp, click string"]}, DataError, "metric 'click' of outcomes"),
        ({"outcomes": ["player int, timestamp timestamp, click int"]}, DataError, "different types: string"),
        ({"outcomes": ["player string, timestamp timestamp, level int"]}, DataError, "level is in more than one log"),
    ],
)
def test_logs_that_do_not_fit_together(spark: SparkSession, change: dict[str, Any], error: type, says: str) -> None:
    def empty(schema: str) -> DataFrame:
        return spark.createDataFrame([], schema)

    arguments: dict[str, Any] = {
        "observations": empty(OBSERVATIONS),
        "decisions": empty(DECISIONS),
        "outcomes": empty(OUTCOMES),
        "attribution": "1h",
        **{name: empty(value[0]) if isinstance(value, list) else value for name, value in change.items()},
    }
    with pytest.raises(error, match=says.replace("?", r"\?")):
        rlbake.join_logs(**arguments)
