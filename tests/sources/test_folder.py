"""The same rows in four formats, and what is wrong with a folder."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.sql import DataFrame, SparkSession

from rlbake.errors import DataError, NotFoundError, SpecError
from rlbake.sources import Folder, read_errors
from tests.sources.conftest import at, reading, shown, window_of

SCHEMA = "player string, timestamp timestamp, x double, action string, click double, ds string"
ROWS = [
    ("ann", at("1 23:59"), 1.0, "a", 0.0, "2026-01-01"),
    ("ann", at("2 00:00"), 2.0, "b", 1.0, "2026-01-02"),
    ("bob", at("2 23:59"), None, "a", 0.0, "2026-01-02"),
    ("bob", at("3 00:00"), 4.0, "b", 1.0, "2026-01-03"),
]
SECOND_DAY = [("ann", "2026-01-02 00:00:00", 2.0), ("bob", "2026-01-02 23:59:00", None)]
ROW = ("player", "string(timestamp)", "x")


def written(spark: SparkSession, path: Path, format_: str, partitioned: bool = False) -> Folder:
    """`ROWS` in a folder, and the source that reads them."""
    frame = spark.createDataFrame(ROWS, SCHEMA)
    partition = ["ds"] if partitioned else []
    if format_ == "delta":
        write_deltalake(str(path), arrow(ROWS), partition_by=partition or None)
    else:
        options = {"header": "true"} if format_ == "csv" else {}
        frame.write.options(**options).partitionBy(*partition).format(format_).save(str(path))
    schema = SCHEMA if format_ in ("csv", "json") else None
    return Folder(str(path), format=format_, schema=schema, partition="ds" if partitioned else None)


def arrow(rows: list[tuple[Any, ...]]) -> pa.Table:
    names = [column.split()[0] for column in SCHEMA.split(", ")]
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])


def of_day(spark: SparkSession, source: Folder, day: int = 2) -> DataFrame:
    return reading(source).timesteps(spark, window_of(day))


@pytest.mark.parametrize("format_", ["parquet", "csv", "json", "delta"])
def test_a_window_of_every_format(spark: SparkSession, tmp_path: Path, format_: str) -> None:
    source = written(spark, tmp_path / "logs", format_)
    assert shown(of_day(spark, source), *ROW) == SECOND_DAY
    place = f"{tmp_path / 'logs'}{'@v0' if format_ == 'delta' else ''}"
    assert source.lineage(window_of(2)) == [("timesteps", place)]


@pytest.mark.parametrize("format_", ["parquet", "csv", "json", "delta"])
def test_only_the_partitions_of_the_window_are_read(spark: SparkSession, tmp_path: Path, format_: str) -> None:
    frame = of_day(spark, written(spark, tmp_path / "two words", format_, partitioned=True))
    assert shown(frame, *ROW) == SECOND_DAY
    assert {Path(file).parent.name for file in frame.inputFiles()} == {"ds=2026-01-02"}
    assert of_day(spark, written(spark, tmp_path / "logs", format_, partitioned=True), day=9).count() == 0


def test_a_path_is_relative_to_the_working_directory(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(spark, tmp_path / "logs", "parquet")
    monkeypatch.chdir(tmp_path)
    assert shown(of_day(spark, Folder("logs")), *ROW) == SECOND_DAY
    assert Folder("logs").lineage(window_of(2)) == [("timesteps", str(tmp_path / "logs"))]


def test_a_delta_table_is_pinned_to_a_version_or_follows_the_latest(spark: SparkSession, tmp_path: Path) -> None:
    latest = written(spark, tmp_path / "logs", "delta", partitioned=True)
    first = Folder(str(tmp_path / "logs"), format="delta", partition="ds", version=0)
    assert of_day(spark, latest).count() == 2
    late = [("cat", at("2 12:00"), 3.0, "a", 0.0, "2026-01-02")]
    write_deltalake(latest.path, arrow(late), mode="append")
    assert latest.lineage(window_of(2))[0][1].endswith("@v0")  # what the frame above reads
    assert of_day(spark, latest).count() == 3
    assert latest.lineage(window_of(2))[0][1].endswith("@v1")
    assert of_day(spark, first).count() == 2
    assert first.lineage(window_of(2))[0][1].endswith("@v0")
    with pytest.raises(NotFoundError, match="has no version 7"):
        of_day(spark, Folder(latest.path, format="delta", version=7))
    with pytest.raises(DataError, match="has no partition 'day'"):
        of_day(spark, Folder(latest.path, format="delta", partition="day"))


def test_a_day_that_is_a_column_and_no_folder_filters_all_the_same(spark: SparkSession, tmp_path: Path) -> None:
    for format_ in ("parquet", "delta"):
        source = replace(written(spark, tmp_path / format_, format_), partition="ds")
        assert shown(of_day(spark, source), *ROW) == SECOND_DAY


def test_partition_values_that_a_path_must_escape(spark: SparkSession, tmp_path: Path) -> None:
    rows = [("ann", at("2 05:00"), 1.0, "a", 0.0, "2026-01-02T05:00"), ("bob", at("2 06:00"), 1.0, "a", 0.0, None)]
    write_deltalake(str(tmp_path / "delta"), arrow(rows), partition_by=["ds"])
    spark.createDataFrame(rows, SCHEMA).write.partitionBy("ds").parquet(str(tmp_path / "parquet"))
    for format_ in ("delta", "parquet"):
        source = Folder(str(tmp_path / format_), format=format_, partition="ds")
        assert shown(of_day(spark, source), "player", "string(ds)") == [("ann", "2026-01-02T05:00"), ("bob", None)]


def test_deletion_vectors_and_renamed_columns_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    source = written(spark, tmp_path / "logs", "delta")
    mark_deleted(tmp_path / "logs")
    with pytest.raises(DataError, match=r"deletion vectors in 1 of 1 files, for example .*\.parquet.*REORG TABLE"):
        of_day(spark, source)
    assert of_day(spark, Folder(source.path, format="delta", version=0)).count() == 2

    mapped = written(spark, tmp_path / "mapped", "delta")
    commit(tmp_path / "mapped", protocol={"minReaderVersion": 2, "minWriterVersion": 5}, metaData={})
    with pytest.raises(DataError, match="uses columnMapping"):
        of_day(spark, mapped)


def commit(table: Path, **actions: dict[str, Any]) -> None:
    """Writes version 1 of a table by hand: a file replaces version 0's, or its columns get other names in the files."""
    first = [json.loads(line) for line in (table / "_delta_log" / f"{0:020}.json").read_text().splitlines()]
    known = {name: action for line in first for name, action in line.items()}
    if "metaData" in actions:
        schema = json.loads(known["metaData"]["schemaString"])
        for number, column in enumerate(schema["fields"], 1):
            mapping = {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": f"col-{number}"}
            column["metadata"] = mapping
        configuration = {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "9"}
        actions["metaData"] = {"schemaString": json.dumps(schema), "configuration": configuration}
    if "add" in actions:
        actions["remove"] = {"path": known["add"]["path"], "deletionTimestamp": 0, "dataChange": True}
    lines = [json.dumps({name: {**known.get(name, {}), **action}}) for name, action in actions.items()]
    (table / "_delta_log" / f"{1:020}.json").write_text("\n".join(lines))


def mark_deleted(table: Path) -> None:
    """Marks the first row of a table's only file as deleted, as Delta does: an inline bitmap in Z85.

    https://github.com/delta-io/delta/blob/master/PROTOCOL.md#deletion-vector-format
    """
    bitmap = struct.pack("<IIHHIH", 12346, 1, 0, 0, 16, 0)  # a Roaring bitmap that holds 0
    vector = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    b85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
    padded = vector + bytes(-len(vector) % 4)
    encoded = base64.b85encode(padded).decode().translate(str.maketrans(b85, z85))
    deletion = {
        "storageType": "i",
        "pathOrInlineDv": encoded,
        "sizeInBytes": len(vector),
        "cardinality": 1,
    }
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    commit(
        table,
        protocol={"minReaderVersion": 3, "minWriterVersion": 7, **features},
        add={"deletionVector": deletion, "dataChange": True},
    )


HEADER = "player,timestamp,x,action,click,ds\n"
GOOD = "ann,2026-01-02T00:00:00Z,2.0,b,1.0,2026-01-02\n"


@pytest.mark.parametrize(
    ("format_", "content", "says"),
    [
        ("csv", HEADER + "bob,2026-01-02T00:00:00Z,two,b,1,x\n", r'/bad\.csv .* the record \[bob,.*"two"'),
        ("csv", HEADER + "bob,yesterday,2,b,1,x\n", r"the record \[bob,null,.*does not fit"),
        ("csv", HEADER + "bob,2026-01-02T00:00:00Z,2,b,1\n", r"record: bob,2026-01-02T00:00:00Z,2,b,1\)"),
        ("csv", HEADER + "bob,2026-01-02T00:00:00Z,2,b,1,x,y\n", r"the record .*,x,y\)"),
        ("csv", "player,time,x,action,click,ds\n" + GOOD, r"not that of the schema: player, time, .* instead"),
        ("csv", GOOD, "header is not that of the schema"),
        ("json", '{"player": "ann", "x": "two"}\n', r"/bad\.json .* the record .* does not fit"),
        ("json", '{"player": "ann",\n', "the record"),
    ],
)  # fmt: skip
def test_a_record_that_does_not_fit_is_an_error_and_never_a_null(
    spark: SparkSession, tmp_path: Path, format_: str, content: str, says: str
) -> None:
    (tmp_path / f"bad.{format_}").write_text(content)
    frame = of_day(spark, Folder(str(tmp_path), format=format_, schema=SCHEMA))
    with pytest.raises(DataError, match=says), read_errors():
        frame.collect()


def test_a_record_of_another_length_is_an_error_whichever_columns_are_read(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(HEADER + GOOD + "bob,2026-01-02T00:00:00Z,2,b,1\n")
    frame = of_day(spark, Folder(str(tmp_path), format="csv", schema=SCHEMA))
    with pytest.raises(DataError, match="Malformed CSV record: bob"), read_errors():
        frame.select("player").count()


def test_an_empty_cell_is_null_and_a_time_without_an_offset_is_utc(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEADER + "ann,2026-01-02 00:00:00,,b,1,\nbob,2026-01-02T01:00:00+01:00,1,b,1,\n")
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        frame = of_day(spark, Folder(str(tmp_path), format="csv", schema=SCHEMA))
        assert shown(frame, "player", "unix_seconds(timestamp)", "x") == [
            ("ann", int(at("2 00:00").timestamp()), None),
            ("bob", int(at("2 00:00").timestamp()), 1.0),
        ]
    finally:
        spark.conf.set("spark.sql.session.timeZone", zone)


def test_folders_that_are_not_what_was_said(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.csv").write_text(HEADER + GOOD)
    for format_ in ("parquet", "delta"):
        with pytest.raises(NotFoundError, match="nowhere"):
            of_day(spark, Folder(str(tmp_path / "nowhere"), format=format_))
    with pytest.raises(NotFoundError, match="empty: Unable to infer schema"):
        of_day(spark, Folder(str(tmp_path / "empty")))
    with pytest.raises(DataError, match=r"texts/a\.csv cannot be read: it is no Parquet file"):
        of_day(spark, Folder(str(tmp_path / "texts")))
    with pytest.raises(SpecError, match="texts: Syntax error"):
        of_day(spark, Folder(str(tmp_path / "texts"), format="csv", schema="player strin, x double,"))
    written(spark, tmp_path / "logs", "parquet")
    frame = of_day(spark, Folder(str(tmp_path / "logs"), schema="player string, timestamp timestamp, x string"))
    with pytest.raises(DataError, match=r"\[x\]. Expected.* string, "), read_errors():
        frame.collect()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"format": "parket"}, "Did you mean 'parquet'"),
        ({"format": "csv"}, "csv needs a schema"),
        ({"format": "json"}, "json needs a schema"),
        ({"format": "delta", "schema": SCHEMA}, "a schema of its own"),
        ({"version": 3}, "only a Delta table has versions"),
        ({"columns": {"x": ""}}, "column 'x' needs an SQL expression"),
        ({"columns": {"ds": "date"}, "partition": "ds"}, "must be as stored"),
    ],
)
def test_a_folder_that_contradicts_itself(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        Folder("logs", **arguments)
