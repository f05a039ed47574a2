"""Columns by expression, rows by time, Spark tables and queries."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from rlbake import Cadence
from rlbake.errors import DataError, NotFoundError, SpecError
from rlbake.sources import Folder, Query, SparkTable, read_errors
from rlbake.sources.rows import Rows, Span
from tests.sources.conftest import Clicks, at, reading, shown, window_of

EVENTS = "user struct<id: string>, ts string, kind string, ds string"
RAW = [
    (("ann",), "2026-01-01 23:59:59.999999", "click", "2026-01-01"),
    (("ann",), "2026-01-02 00:00:00", "click", "2026-01-02"),
    (("bob",), "2026-01-02 10:00:00", "view", "2026-01-02"),
    (("bob",), "2026-01-03 00:00:00", "click", "2026-01-03"),
]
COLUMNS = {"player": "user.id", "timestamp": "to_timestamp(ts)", "click": "CAST(kind = 'click' AS DOUBLE)"}
SECOND_DAY = [("ann", "2026-01-02 00:00:00", 1.0), ("bob", "2026-01-02 10:00:00", 0.0)]
ROW = ("player", "string(timestamp)", "click")


@pytest.fixture
def events(spark: SparkSession) -> Iterator[str]:
    spark.createDataFrame(RAW, EVENTS).createOrReplaceTempView("events")
    yield "events"
    spark.catalog.dropTempView("events")


def of_day(spark: SparkSession, source: Rows, day: int = 2) -> list[tuple[object, ...]]:
    return shown(reading(source).timesteps(spark, window_of(day)), *ROW)


def test_a_spark_table(spark: SparkSession, events: str) -> None:
    source = SparkTable(events, columns=COLUMNS, partition="ds")
    assert of_day(spark, source) == SECOND_DAY
    assert source.lineage(window_of(2)) == [("timesteps", "events")]
    for missing in ("nowhere", "a.b.c.nowhere"):
        with pytest.raises(NotFoundError, match=f"table {missing}: "):
            of_day(spark, SparkTable(missing))


def test_a_query_is_given_the_window_as_values(spark: SparkSession, events: str) -> None:
    sql = f"SELECT *, :ds AS name, {{}} AS what FROM {events} WHERE ts >= :start AND ts < :end AND ds = :ds"
    assert of_day(spark, Query(sql.format("kind"), columns=COLUMNS)) == SECOND_DAY
    assert Query(sql.format("kind::string")).lineage(window_of(2)) == [
        (
            "timesteps",
            "SELECT *, '2026-01-02' AS name, kind::string AS what FROM events WHERE "
            "ts >= TIMESTAMP '2026-01-02T00:00:00+00:00' AND ts < TIMESTAMP '2026-01-03T00:00:00+00:00' "
            "AND ds = '2026-01-02'",
        )
    ]
    assert (
        of_day(spark, Query(f"SELECT * FROM {events}", columns=COLUMNS)) == SECOND_DAY
    )  # the window holds all the same
    with pytest.raises(SpecError, match="query: Found the unbound parameter: begin"):
        of_day(spark, Query(f"SELECT * FROM {events} WHERE ts >= :begin", columns=COLUMNS))
    with pytest.raises(SpecError, match="query: Syntax error"):
        of_day(spark, Query("SELECT * FORM events"))
    with pytest.raises(NotFoundError, match="nowhere"):
        of_day(spark, Query("SELECT * FROM nowhere"))


def test_the_sql_of_the_lineage_reads_the_same_rows(spark: SparkSession, events: str) -> None:
    [(_, sql)] = Query(f"SELECT * FROM {events} WHERE ts >= :start AND ts < :end").lineage(window_of(2))
    assert spark.sql(sql).count() == 2


@pytest.mark.parametrize(
    ("columns", "error", "says"),
    [
        ({**COLUMNS, "player": "usr.id"}, DataError, "table events: .*`usr`.`id` cannot be resolved. Did you mean"),
        ({**COLUMNS, "click": "kind ="}, SpecError, "table events: Syntax error"),
        ({**COLUMNS, "click": "clicked(kind)"}, SpecError, "`clicked`"),
        ({"player": "user.id"}, DataError, "table events has no column 'timestamp': derive it"),
        ({"timestamp": "ts"}, DataError, "table events: 'timestamp' is STRING, not a TIMESTAMP"),
    ],
)
def test_an_expression_that_cannot_be(
    spark: SparkSession, events: str, columns: dict[str, str], error: type, says: str
) -> None:
    with pytest.raises(error, match=says):
        of_day(spark, SparkTable(events, columns=columns))


def test_a_value_that_an_expression_cannot_read_is_an_error(spark: SparkSession, events: str) -> None:
    columns = {**COLUMNS, "click": "CAST(kind AS DOUBLE)"}
    spark.conf.set("spark.sql.ansi.enabled", "true")  # Spark 4's default
    with (
        pytest.raises(DataError, match=r"^build: The value '(click|view)' of the type .STRING. cannot be cast"),
        read_errors("build"),
    ):
        of_day(spark, SparkTable(events, columns=columns))
    spark.conf.unset("spark.sql.ansi.enabled")
    with pytest.raises(ZeroDivisionError), read_errors():
        raise ZeroDivisionError  # a defect stays a defect


def test_partitions_that_are_none(spark: SparkSession, events: str) -> None:
    with pytest.raises(DataError, match="has no partition 'day'"):
        of_day(spark, SparkTable(events, columns=COLUMNS, partition="day"))
    spark.sql("SELECT *, 20260102 AS day FROM events").createOrReplaceTempView("numbered")
    with pytest.raises(DataError, match="partition 'day' is INT: it must be a day in ISO 8601 or a DATE"):
        of_day(spark, SparkTable("numbered", columns=COLUMNS, partition="day"))
    spark.sql("SELECT *, CAST(ds AS DATE) AS day FROM events").createOrReplaceTempView("dated")
    assert of_day(spark, SparkTable("dated", columns=COLUMNS, partition="day")) == SECOND_DAY


def test_hours_and_margins_decide_which_days_are_read() -> None:
    hour = Cadence(start="2026-01-01", every="1h").window("2026-01-02T05")
    assert Span(hour).days() == ("2026-01-02", "2026-01-03")
    assert Span(hour, before=timedelta(hours=6), after=timedelta(hours=18)).days() == ("2026-01-01", "2026-01-03")
    assert Span(hour, after=timedelta(hours=19)).days() == ("2026-01-02", "2026-01-04")
    assert Span(hour, before=None).days() == (None, "2026-01-03")
    days = ("2026-01-01T23", "2026-01-02", "2026-01-02T05", "2026-01-03", None)
    assert [day for day in days if Span(hour).touches(day)] == ["2026-01-02", "2026-01-02T05", None]


def test_a_row_without_a_time_comes_with_its_partition_or_with_every_window(
    spark: SparkSession, tmp_path: Path
) -> None:
    rows = [("ann", at("2 01:00"), "2026-01-02"), ("bob", None, "2026-01-02"), ("cat", None, None)]
    frame = spark.createDataFrame(rows, "player string, timestamp timestamp, ds string")
    folder = str(tmp_path / "logs")
    frame.withColumn("click", F.lit(1.0)).write.partitionBy("ds").parquet(folder)
    of_partition, of_none = Folder(folder, partition="ds"), Folder(folder)
    players = [
        [row[0] for row in of_day(spark, source, day)] for source in (of_partition, of_none) for day in (1, 2, 3)
    ]
    assert players == [["cat"], ["ann", "bob", "cat"], ["cat"], ["bob", "cat"], ["ann", "bob", "cat"], ["bob", "cat"]]
    around = of_partition.read(spark, Span(window_of(1), after=window_of(1).end - window_of(1).start))
    assert shown(around, "player") == [("ann",), ("cat",)]  # bob is the next window's to reject


def test_an_application_without_a_source_must_write_timesteps(spark: SparkSession) -> None:
    with pytest.raises(SpecError, match="Clicks has no source and does not define timesteps"):
        Clicks().timesteps(spark, window_of(2))


def test_declaring_a_source_does_not_import_spark() -> None:
    code = "import rlbake, sys; rlbake.sources.Folder('logs'); sys.exit('pyspark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
