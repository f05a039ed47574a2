"""Three declared logs: which rows of each a window needs, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from rlbake import Cadence
from rlbake.application import Application
from rlbake.errors import DataError, SpecError
from rlbake.sources import Folder, Logs, Query, SparkTable
from rlbake.timesteps.join_logs import counted
from tests.sources.conftest import at, reading, shown, window_of

ROW = ("player", "date_format(timestamp, 'd HH:mm')", "x", "action", "click")


@pytest.fixture
def logs(spark: SparkSession, tmp_path: Path) -> dict[str, Any]:
    """A CSV folder of states, a partitioned Parquet folder of decisions, and a table of events."""
    (tmp_path / "states").mkdir()
    (tmp_path / "states" / "a.csv").write_text(
        "user,seen_at,x,note\nann,2025-12-30T00:00:00Z,1,old\nann,2026-01-02T23:00:00Z,2,\nbob,2025-12-31T00:00:00Z,3,\n"
    )
    decided = [
        ("ann", at("1 23:30"), "b", "2026-01-01"),
        ("ann", at("2 10:00"), "a", "2026-01-02"),
        ("ann", at("2 23:30"), "b", "2026-01-02"),
        ("bob", at("2 23:59"), "a", "2026-01-02"),
        ("ann", at("3 00:30"), "a", "2026-01-03"),
        ("cat", None, "a", "2026-01-02"),
    ]
    schema = "player string, timestamp timestamp, action string, ds string"
    spark.createDataFrame(decided, schema).write.partitionBy("ds").parquet(str(tmp_path / "decisions"))
    happened = [
        ("ann", at("2 09:00"), "click"),  # caused by the day before
        ("ann", at("2 10:00"), "click"),
        ("ann", at("3 00:29"), "click"),
        ("ann", at("3 00:31"), "click"),  # caused by the day after
        ("bob", at("3 23:59"), "click"),
        ("bob", at("2 23:59"), "view"),
        ("dan", at("2 12:00"), "click"),  # nobody decided
    ]
    events = spark.createDataFrame(happened, "player string, timestamp timestamp, event string")
    events.createOrReplaceTempView("events")
    return {
        "observations": Folder(
            str(tmp_path / "states"),
            format="csv",
            schema="user string, seen_at timestamp, x double, note string",
            columns={"player": "user", "timestamp": "seen_at"},
        ),
        "decisions": Folder(str(tmp_path / "decisions"), partition="ds"),
        "outcomes": SparkTable("events", columns={"click": "CAST(event = 'click' AS INT)"}),
    }


def application(logs: dict[str, Any], **options: Any) -> Application:
    return reading(Logs(**{"attribution": "24h", **logs, **options}))


def test_three_logs_become_the_timesteps_of_a_window(spark: SparkSession, logs: dict[str, Any]) -> None:
    with counted() as counts:
        frame = application(logs).timesteps(spark, window_of(2))
    assert shown(frame, *ROW) == [
        ("ann", "2 10:00", 1.0, "a", 1.0),
        ("ann", "2 23:30", 2.0, "b", 1.0),
        ("bob", "2 23:59", 3.0, "a", 1.0),  # exactly 24 hours later, in the next window
        ("cat", None, None, "a", 0.0),  # for the contract to reject
    ]
    assert counts.get() == {"outcomes": 4, "unmatched_outcomes": 1, "unseen_decisions": 1}


def test_tolerance_and_aggregations_are_those_of_join_logs(spark: SparkSession, logs: dict[str, Any]) -> None:
    frame = application(logs, tolerance="2d", metrics={"click": "count"}).timesteps(spark, window_of(2))
    assert shown(frame, *ROW) == [
        ("ann", "2 10:00", None, "a", 1.0),
        ("ann", "2 23:30", 2.0, "b", 1.0),
        ("bob", "2 23:59", None, "a", 2.0),
        ("cat", None, None, "a", 0.0),
    ]


def test_only_the_files_around_the_window_are_read(spark: SparkSession, logs: dict[str, Any]) -> None:
    files = application(logs).timesteps(spark, window_of(3)).inputFiles()
    assert {Path(file).parent.name for file in files} == {"states", "ds=2026-01-02", "ds=2026-01-03"}


def test_every_log_is_named_in_the_lineage(logs: dict[str, Any], tmp_path: Path) -> None:
    logs["outcomes"] = Query("SELECT * FROM events WHERE timestamp >= :start AND timestamp < :end")
    source = application(logs, tolerance="3d").source
    assert source is not None
    assert source.lineage(window_of(2)) == [
        ("observations", f"{tmp_path}/states"),
        ("decisions", f"{tmp_path}/decisions"),
        (
            "outcomes",
            "SELECT * FROM events WHERE timestamp >= TIMESTAMP '2026-01-02T00:00:00+00:00' "
            "AND timestamp < TIMESTAMP '2026-01-04T00:00:00+00:00'",
        ),
    ]


def test_logs_that_do_not_fit_the_application(spark: SparkSession, logs: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="'soon' is not a duration"):
        Logs(**logs, attribution="soon")
    with pytest.raises(SpecError, match="outcomes must be a Folder"):
        Logs(**{**logs, "outcomes": "events"}, attribution="24h")
    with pytest.raises(SpecError, match=r"reward_delay is shorter than attribution '2d'"):
        application(logs, attribution="2d").timesteps(spark, window_of(2))
    hasty = reading(application(logs).source, cadence=Cadence(start="2026-01-01"))
    with pytest.raises(SpecError, match="reward_delay is shorter"):
        hasty.timesteps(spark, window_of(2))
    with pytest.raises(DataError, match=r"observations: folder .* has no key 'user_id'\. Did you mean 'user'"):
        reading(application(logs).source, keys=("user_id",)).timesteps(spark, window_of(2))
    with pytest.raises(SpecError, match=r"source must be one of rlbake\.sources, got 'logs'"):
        reading("logs")
