"""A Delta table that Spark fills and `deltalake` commits, looked at from outside."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from rlbake.errors import NotFoundError, StorageError
from rlbake.warehouse.table import Commit, Table

ROW = "id", "struct(cast(id as float) x, id % 2 = 0 b, cast(id as string) c) s", "timestamp_micros(id * 1000) t"


def rows(spark: SparkSession, first: int, end: int) -> DataFrame:
    return spark.range(first, end).selectExpr(*ROW)


def replace(table: Table, frame: DataFrame, ds: str, config: str = "config") -> Commit:
    return table.replace_window(frame, ds, run_id="run", config_digest=config)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(str(tmp_path / "a folder" / "table"))


def ids(table: Table, **where: object) -> list[int]:
    return sorted(DeltaTable(table.uri, **where).to_pyarrow_table(columns=["id"])["id"].to_pylist())


def test_what_was_written_is_read_by_spark_and_by_arrow(spark: SparkSession, table: Table) -> None:
    assert not table.exists()
    commit = replace(table, rows(spark, 0, 3), "2026-01-01")
    assert (commit.version, commit.rows, commit.changed, commit.window) == (0, 3, True, "2026-01-01")
    replace(table, rows(spark, 3, 4), "2026-01-02T05")
    frame = table.read(spark, windows=["2026-01-02T05"])
    assert [(r.id, r.s.asDict(), r.ds) for r in frame.collect()] == [
        (3, {"x": 3.0, "b": False, "c": "3"}, "2026-01-02T05")
    ]
    arrow = DeltaTable(table.uri).to_pyarrow_table().sort_by("id")
    assert arrow["s"].to_pylist()[1] == {"x": 1.0, "b": False, "c": "1"}
    assert str(arrow.schema.field("t").type) == "timestamp[us, tz=UTC]"
    assert table.read(spark, version=0).count() == 3
    assert table.windows() == ["2026-01-01", "2026-01-02T05"]
    assert table.windows(version=0) == ["2026-01-01"]
    assert DeltaTable(table.uri).count() == 4


def test_replacing_a_window_leaves_the_others(spark: SparkSession, table: Table) -> None:
    replace(table, rows(spark, 0, 3), "2026-01-01")
    replace(table, rows(spark, 10, 13), "2026-01-02")
    commit = replace(table, rows(spark, 5, 7), "2026-01-01")
    assert (commit.version, commit.changed) == (2, True)
    assert ids(table) == [5, 6, 10, 11, 12]
    assert ids(table, version=1) == [0, 1, 2, 10, 11, 12]


def test_an_identical_rebuild_makes_no_version(spark: SparkSession, table: Table) -> None:
    first = replace(table, rows(spark, 0, 50), "2026-01-01")
    replace(table, rows(spark, 0, 5), "2026-01-02")
    again = replace(table, rows(spark, 0, 50).repartition(7), "2026-01-01")
    assert (again.changed, again.version, again.content) == (False, 1, first.content)
    assert len(list(Path(table.uri).glob("ds=2026-01-01/*"))) == 1  # the fresh files are gone
    other_config = replace(table, rows(spark, 0, 50), "2026-01-01", config="other")
    assert (other_config.changed, other_config.version) == (True, 2)
    other_schema = replace(table, rows(spark, 0, 50).selectExpr("*", "1 more"), "2026-01-01", config="other")
    assert (other_schema.changed, other_schema.version) == (True, 3)


def test_the_digest_depends_on_rows_and_configuration_alone(spark: SparkSession, tmp_path: Path) -> None:
    def digest(name: str, frame: DataFrame, config: str = "config") -> str:
        table = Table(str(tmp_path / name))
        replace(table, rows(spark, 0, 2), "2026-01-01")
        replace(table, frame, "2026-01-02", config)
        return table.digest()

    frame = rows(spark, 0, 100)
    same = {digest(f"on {n}", frame.orderBy("id", ascending=n == 4).repartition(n)) for n in (1, 4, 7)}
    assert len(same) == 1
    others = {
        digest("one less", rows(spark, 0, 99)),
        digest("one twice", frame.union(rows(spark, 7, 8))),
        digest("configured", frame, "other"),
        digest("moved null", frame.selectExpr("id", "s", "cast(null as timestamp) t")),
    }
    assert len(others | same) == 5
    assert all(len(d) == 32 for d in others)


def test_a_null_is_told_from_its_neighbour(spark: SparkSession, tmp_path: Path) -> None:
    def content(values: str) -> object:
        frame = spark.sql(f"select * from values {values} as (a, b, c)")
        return replace(Table(str(tmp_path / str(abs(hash(values))))), frame, "2026-01-01").content

    left, right = content("(1, cast(null as int), array(true))"), content("(cast(null as int), 1, array(true))")
    empty, missing = content("(1, 1, cast(array() as array<boolean>))"), content("(1, 1, cast(null as array<boolean>))")
    assert len({left, right, empty, missing}) == 4


def test_an_empty_window_is_not_an_unbuilt_one(spark: SparkSession, table: Table) -> None:
    commit = replace(table, rows(spark, 0, 0), "2026-01-01")
    assert (commit.rows, commit.changed, commit.version) == (0, True, 0)
    assert not replace(table, rows(spark, 0, 0), "2026-01-01").changed
    assert table.windows() == ["2026-01-01"]
    assert table.read(spark, windows=["2026-01-01"]).columns == ["id", "s", "t", "ds"]
    with pytest.raises(NotFoundError, match="has no window 2026-01-02: it holds 2026-01-01 to 2026-01-01"):
        table.read(spark, windows=["2026-01-02"])
    replace(table, rows(spark, 0, 2), "2026-01-01")
    replace(table, rows(spark, 0, 0), "2026-01-01")
    assert ids(table) == []
    assert table.windows() == ["2026-01-01"]


def test_the_history_names_run_configuration_and_content(spark: SparkSession, table: Table) -> None:
    commit = replace(table, rows(spark, 0, 3), "2026-01-01")
    recorded = table.history()[0]["rlbake"]
    assert (recorded["run_id"], recorded["config_digest"], recorded["ds"]) == ("run", "config", "2026-01-01")
    assert table.contents() == {"2026-01-01": commit.content}


def test_what_a_check_refuses_is_not_committed(spark: SparkSession, table: Table) -> None:
    replace(table, rows(spark, 0, 3), "2026-01-01")

    def refuse() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        table.replace_window(
            rows(spark, 5, 9), "2026-01-01", run_id="run", config_digest="config", before_commit=refuse
        )
    assert ids(table) == [0, 1, 2]
    assert len(list(Path(table.uri).glob("ds=2026-01-01/*"))) == 1


def test_writers_of_different_windows_all_land(spark: SparkSession, table: Table) -> None:
    days = range(1, 7)
    with ThreadPoolExecutor(6) as pool:  # the first of them also creates the table
        commits = list(pool.map(lambda d: replace(table, rows(spark, 10 * d, 10 * d + 2), f"2026-01-0{d}"), days))
    assert sorted(c.version for c in commits) == list(range(6))
    assert ids(table) == [10 * d + i for d in days for i in (0, 1)]


def test_writers_of_one_window_leave_one_of_them_whole(spark: SparkSession, table: Table) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: replace(table, rows(spark, 10 * n, 10 * n + 3), "2026-01-01"), range(4)))
    found = ids(table)
    assert found in [[10 * n, 10 * n + 1, 10 * n + 2] for n in range(4)]
    assert table.contents()["2026-01-01"].rows == 3


KILLED = """
import os, signal, sys
from rlbake.warehouse.session import spark_session
from rlbake.warehouse.table import Table
spark = spark_session()
frame = spark.range(5, 9).selectExpr("id")
die = lambda: os.killpg(os.getpgrp(), signal.SIGKILL)
Table(sys.argv[1]).replace_window(frame, "2026-01-01", run_id="r", config_digest="c", before_commit=die)
"""


def test_a_writer_killed_before_its_commit_changes_nothing(spark: SparkSession, tmp_path: Path) -> None:
    table, undisturbed = Table(str(tmp_path / "table")), Table(str(tmp_path / "undisturbed"))
    for target in (table, undisturbed):
        replace(target, spark.range(3).selectExpr("id"), "2026-01-01")
    killed = subprocess.run([sys.executable, "-c", KILLED, table.uri], start_new_session=True, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(Path(table.uri).glob("ds=2026-01-01/*"))) == 2  # it had written its files
    assert (table.version(), ids(table)) == (0, [0, 1, 2])
    for target in (table, undisturbed):
        replace(target, spark.range(5, 9).selectExpr("id"), "2026-01-01")
    assert (table.version(), ids(table), table.digest()) == (1, [5, 6, 7, 8], undisturbed.digest())


@pytest.mark.parametrize("inside", ["{file}/table", "/proc/nowhere/table"])
def test_a_place_that_cannot_be_written_is_one_clear_line(spark: SparkSession, tmp_path: Path, inside: str) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StorageError, match="cannot write to the table at") as raised:
        replace(Table(inside.format(file=file)), rows(spark, 0, 1), "2026-01-01")
    assert "\n" not in str(raised.value)


def test_a_table_that_is_not_there(table: Table) -> None:
    for ask in (table.version, table.history, table.windows, table.contents, table.digest):
        with pytest.raises(NotFoundError, match="there is no table at"):
            ask()


def test_a_version_that_is_not_there(spark: SparkSession, table: Table) -> None:
    replace(table, rows(spark, 0, 1), "2026-01-01")
    with pytest.raises(NotFoundError, match="has no version 7"):
        table.read(spark, version=7)


def test_columns_that_a_later_build_adds_are_null_in_older_windows(spark: SparkSession, table: Table) -> None:
    replace(table, rows(spark, 0, 1), "2026-01-01")
    replace(table, rows(spark, 1, 2).selectExpr("*", "id + 1 more"), "2026-01-02")
    assert sorted((r.id, r.more) for r in table.read(spark).select("id", "more").collect()) == [(0, None), (1, 2)]
    assert json.loads(DeltaTable(table.uri, version=0).schema().to_json())["fields"][-1]["name"] == "ds"
