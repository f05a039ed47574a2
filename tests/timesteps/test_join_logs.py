"""Hand-made logs in, exact timesteps out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

import rlbake
from rlbake.cadence import Cadence
from rlbake.errors import DataError, SpecError
from rlbake.timesteps.join_logs import AGGREGATIONS, counted

OBSERVATIONS = "player string, timestamp timestamp, level int, country string"
DECISIONS = "player string, timestamp timestamp, action string, log_probability double"
OUTCOMES = "player string, timestamp timestamp, click int, spent double"


def at(clock: str, day: int = 1) -> datetime:
    hour, minute = clock.split(":")
    return datetime(2026, 1, day, int(hour), int(minute), tzinfo=UTC)


def frame_of(
    spark: SparkSession,
    observations: list[tuple[Any, ...]],
    decisions: list[tuple[Any, ...]],
    outcomes: list[tuple[Any, ...]],
    attribution: str = "2h",
    **options: Any,
) -> DataFrame:
    return rlbake.join_logs(
        observations=spark.createDataFrame(observations, OBSERVATIONS),
        decisions=spark.createDataFrame(decisions, DECISIONS),
        outcomes=spark.createDataFrame(outcomes, OUTCOMES),
        attribution=attribution,
        keys=("player",),
        **options,
    )


def joined(spark: SparkSession, *logs: list[tuple[Any, ...]], **options: Any) -> list[tuple[Any, ...]]:
    frame = frame_of(spark, *logs, **options)
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


def test_an_observation_older_than_the_tolerance_is_not_used(spark: SparkSession) -> None:
    seen = [("ann", at("08:00"), 1, "DE"), ("bob", at("08:00"), 2, "US"), ("bob", at("09:30"), 3, "US")]
    decided = [
        ("ann", at("10:00"), "a", None),  # exactly two hours old
        ("ann", at("10:01"), "a", None),  # older
        ("bob", at("10:01"), "a", None),  # the older one does not matter
        ("bob", at("09:29"), "a", None),
    ]
    assert joined(spark, seen, decided, [], tolerance="2h") == [
        ("ann", "10:00", 1, "DE", "a", None, 0.0, 0.0),
        ("ann", "10:01", None, None, "a", None, 0.0, 0.0),
        ("bob", "09:29", 2, "US", "a", None, 0.0, 0.0),
        ("bob", "10:01", 3, "US", "a", None, 0.0, 0.0),
    ]


@pytest.mark.parametrize(
    ("how", "ann", "bob"),
    [
        ("sum", 9.0, 0.0),
        ("count", 3.0, 0.0),  # events that say something of the metric
        ("max", 5.0, None),  # nothing followed: no value, which the contract rejects
        (("max", -1.0), 5.0, -1.0),  # unless the application says what it is
        ("last", 2.0, None),
        (("last", 0.0), 2.0, 0.0),
    ],
)
def test_how_events_become_a_metric(spark: SparkSession, how: Any, ann: float, bob: float | None) -> None:
    decided = [("ann", at("10:00"), "a", None), ("bob", at("10:00"), "a", None)]
    earned = [
        ("ann", at("10:01"), 1, 2.0),
        ("ann", at("10:02"), 1, 5.0),
        ("ann", at("10:03"), 1, 2.0),
        ("ann", at("10:04"), 1, None),
        ("ann", at("12:01"), 1, 100.0),  # too late
    ]
    assert joined(spark, [], decided, earned, metrics={"spent": how}) == [
        ("ann", "10:00", None, None, "a", None, 4.0, ann),
        ("bob", "10:00", None, None, "a", None, 0.0, bob),
    ]


def test_decisions_at_one_instant_share_what_was_seen_and_what_followed(spark: SparkSession) -> None:
    """Whether they are copies, of which the contract keeps one, or contradict each other."""
    decided = [("ann", at("10:00"), "a", None), ("ann", at("10:00"), "a", None), ("ann", at("10:00"), "b", None)]
    earned = [("ann", at("10:00"), 1, 1.0), ("ann", at("10:05"), 1, 1.0)]
    seen = [("ann", at("10:00"), 1, "DE")]
    assert joined(spark, seen, decided, earned) == [
        ("ann", "10:00", 1, "DE", "a", None, 2.0, 2.0),
        ("ann", "10:00", 1, "DE", "a", None, 2.0, 2.0),
        ("ann", "10:00", 1, "DE", "b", None, 2.0, 2.0),
    ]


def test_rows_without_a_key_or_timestamp_are_never_lost_nor_mixed_up(spark: SparkSession) -> None:
    seen = [(None, at("09:00"), 1, "DE"), ("ann", None, 2, "DE"), ("ann", at("09:00"), 3, "DE")]
    decided = [
        (None, at("10:00"), "a", None),
        (None, at("10:00"), "a", None),
        (None, at("11:00"), "b", None),
        ("ann", None, "a", None),
        ("ann", at("10:00"), "a", None),
    ]
    earned = [(None, at("10:05"), 1, 1.0), ("ann", None, 1, 1.0), ("ann", at("10:05"), 1, 2.0)]
    with counted() as counts:
        frame = frame_of(spark, seen, decided, earned).persist()
    shown = frame.withColumn("timestamp", F.date_format("timestamp", "HH:mm"))
    assert sorted(map(tuple, shown.collect()), key=str) == [
        ("ann", "10:00", 3, "DE", "a", None, 1.0, 2.0),
        ("ann", None, None, None, "a", None, 0.0, 0.0),
        (None, "10:00", None, None, "a", None, 0.0, 0.0),
        (None, "10:00", None, None, "a", None, 0.0, 0.0),
        (None, "11:00", None, None, "b", None, 0.0, 0.0),
    ]
    assert counts.get() == {"outcomes": 3, "unmatched_outcomes": 2, "unseen_decisions": 4}


def test_a_window_returns_its_own_decisions_and_leaves_the_others_what_they_caused(spark: SparkSession) -> None:
    decided = [
        ("ann", at("22:00", day=1), "a", None),  # the window before
        ("ann", at("23:00", day=2), "b", None),
        ("ann", at("00:30", day=3), "a", None),  # the window after
        ("bob", at("23:00", day=2), "b", None),
        ("ann", None, "b", None),
    ]
    earned = [
        ("ann", at("00:00", day=2), 1, 1.0),  # follows the window before
        ("ann", at("00:10", day=3), 1, 2.0),
        ("ann", at("00:40", day=3), 1, 4.0),  # follows the window after
        ("bob", at("00:40", day=3), 1, 8.0),
        ("cat", at("10:00", day=2), 1, 16.0),  # follows nothing
        ("cat", at("10:00", day=3), 1, 16.0),  # nor does this, but the window after says so
    ]
    window = Cadence(start="2026-01-01").window("2026-01-02")
    with counted() as counts:
        rows = frame_of(spark, [], decided, earned, window=window).collect()
    assert sorted((row.player, str(row.timestamp)[11:16], row.spent) for row in rows) == [
        ("ann", "", 0.0),
        ("ann", "23:00", 2.0),
        ("bob", "23:00", 8.0),
    ]
    assert counts.get() == {"outcomes": 2, "unmatched_outcomes": 1, "unseen_decisions": 3}


def test_what_could_not_be_placed_is_counted_once_whatever_is_done_with_the_frame(spark: SparkSession) -> None:
    seen = [("ann", at("08:00"), 1, "DE"), ("cat", at("12:00"), 1, "DE")]
    decided = [("ann", at("10:00"), "a", None), ("bob", at("10:00"), "a", None), ("cat", at("10:00"), "a", None)]
    earned = [
        ("ann", at("09:59"), 1, 1.0),  # before any decision
        ("ann", at("12:00"), 1, 1.0),
        ("ann", at("12:01"), 1, 1.0),  # too late
        ("bob", at("10:00"), None, None),
        ("dan", at("10:00"), 1, 1.0),  # nobody decided
    ]
    expected = {"outcomes": 5, "unmatched_outcomes": 3, "unseen_decisions": 2}
    with counted() as counts:
        frame = frame_of(spark, seen, decided, earned)
    shuffled = frame.repartition(5, "country").persist()
    window = Window.partitionBy("player").orderBy("timestamp")
    assert shuffled.withColumn("next", F.lead("timestamp").over(window)).count() == 3
    assert shuffled.where("click > 0").count() == 1
    assert shuffled.union(shuffled).count() == 6
    assert counts.get() == expected
    shuffled.unpersist()

    with counted() as both:
        frames = [frame_of(spark, seen, decided, earned) for _ in range(2)]
    assert len(frames[0].unionByName(frames[1]).collect()) == 6
    assert len(frames[0].collect()) == 3  # evaluated again
    assert both.get() == {name: 2 * count for name, count in expected.items()}


def test_nothing_is_counted_where_nobody_asks_or_nothing_ran(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs: tuple[list[Any], ...] = ([], [("ann", at("10:00"), "a", None)], [])
    assert "CollectMetrics" not in frame_of(spark, *logs)._jdf.queryExecution().executedPlan().toString()
    with counted() as none:
        pass
    assert none.get() == {}
    monkeypatch.setattr("rlbake.timesteps.join_logs._EVALUATED_WITHIN", 0.1)
    with counted() as unread:
        frame_of(spark, *logs)
    assert unread.get() == {}


Event = tuple[str, datetime, float]
PLAYERS = 1000


def expected(seen: list[Event], decided: list[Event], earned: list[Event]) -> list[tuple[Any, ...]]:
    """What `join_logs` says it does to one player's logs: tolerance 3 minutes, attribution 2 minutes."""
    minute, rows = timedelta(minutes=1), []
    for player, time, _ in decided:
        level = max(((t, x) for _, t, x in seen if time - 3 * minute <= t <= time), default=(time, None))[1]
        later = min((t for _, t, _ in decided if t > time), default=at("23:59"))
        values = [x for t, x in sorted(e[1:] for e in earned if time <= e[1] <= time + 2 * minute and e[1] < later)]
        highest, last = max(values, default=None), values[-1] if values else None
        rows.append((player, time, level, sum(values), float(len(values)), highest, last))
    return rows


def test_a_thousand_random_histories_agree_with_the_definition(spark: SparkSession) -> None:
    random = Random(7)
    histories: list[list[Event]] = []
    for most in (6, 5, 9):
        events = []
        for player in range(PLAYERS):
            for _ in range(random.randrange(most)):
                minute = random.randrange(10)  # so few that many fall together, and the limits are met exactly
                events.append((f"p{player}", at(f"10:{minute:02d}"), float((7 * minute + player) % 5)))
        histories.append(events)
    frames = [
        spark.createDataFrame(events, f"player string, timestamp timestamp, {column} double")
        for events, column in zip(histories, ("level", "action", "spent"), strict=True)
    ]
    earned = frames[2].select("player", "timestamp", *(F.col("spent").alias(how) for how in AGGREGATIONS))
    frame = rlbake.join_logs(
        observations=frames[0],
        decisions=frames[1],
        outcomes=earned,
        attribution="2min",
        keys=("player",),
        tolerance="3min",
        metrics={how: how for how in AGGREGATIONS},
    )
    rows = frame.select("player", F.unix_seconds("timestamp"), "level", "sum", "count", "max", "last").collect()
    found = [(row[0], datetime.fromtimestamp(row[1], UTC), *row[2:]) for row in rows]
    by_player = [[[e for e in events if e[0] == f"p{player}"] for events in histories] for player in range(PLAYERS)]
    assert sorted(found, key=str) == sorted((row for logs in by_player for row in expected(*logs)), key=str)


@pytest.mark.timeout(240)
def test_a_player_with_a_hundred_thousand_events_costs_what_its_rows_cost(spark: SparkSession) -> None:
    """100,000 observations, decisions and outcomes of one player, beside 20,000 players with one each."""
    events, players = 100_000, 20_000
    second = (F.col("id") * 10).cast("timestamp")
    heavy = spark.range(events).select(F.lit("heavy").alias("player"), second.alias("timestamp"), "id")
    light = spark.range(players).select(F.concat(F.lit("p"), "id").alias("player"), second.alias("timestamp"), "id")
    both = heavy.unionByName(light)
    later = F.col("timestamp") + F.expr("interval 3 seconds")
    frame = rlbake.join_logs(
        observations=both.select("player", "timestamp", F.col("id").alias("level")),
        decisions=both.select("player", "timestamp", F.lit("a").alias("action")),
        outcomes=both.select("player", later.alias("timestamp"), F.col("id").alias("spent")).unionByName(
            heavy.select("player", F.lit(at("00:00")).alias("timestamp"), F.lit(1).alias("spent"))
        ),
        attribution="5s",
        keys=("player",),
    )
    wrong = frame.where((F.col("level") != F.unix_seconds("timestamp") / 10) | (F.col("spent") != F.col("level")))
    assert frame.count() == events + players
    assert wrong.count() == 0


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"attribution": "soon"}, SpecError, "'soon' is not a duration"),
        ({"tolerance": "-1d"}, SpecError, "'-1d' is not positive"),
        ({"metrics": {"clicks": "sum"}}, DataError, "no metric 'clicks'. Did you mean 'click'?"),
        ({"metrics": {"click": "latest"}}, SpecError, "no aggregation 'latest'. Did you mean 'last'?"),
        ({"metrics": {"click": ("count", 1.0)}}, SpecError, "write 'count' alone"),
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
