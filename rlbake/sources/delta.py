"""A version of any Delta table, read by Spark through its file list: no Delta package for Spark."""

from __future__ import annotations

import json
from posixpath import basename
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from rlbake.errors import DataError, NotFoundError
from rlbake.sources.rows import Span
from rlbake.warehouse.location import Location

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_DELETION_VECTORS = "deletionVectors"
# Features that leave a data file what it is: plain Parquet whose rows and columns are the table's.
# https://github.com/delta-io/delta/blob/master/PROTOCOL.md#valid-feature-names-in-table-features
_READABLE = {"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", _DELETION_VECTORS}


def open_table(uri: str, version: int | None) -> DeltaTable:
    """A table at a version, None: the latest.

    Raises:
        NotFoundError: there is no table, or it has no such version.
        StorageError: the place cannot be read.
    """
    with Location(uri).errors("read"):
        try:
            return DeltaTable(uri, version=version)
        except TableNotFoundError as error:
            raise NotFoundError(f"there is no Delta table at {uri}.") from error
        except DeltaError as error:
            if version is None:
                raise
            raise NotFoundError(f"the Delta table at {uri} has no version {version}.") from error


def read(spark: SparkSession, location: Location, table: DeltaTable, partition: str | None, span: Span) -> DataFrame:
    """The rows of a table; only those of a span's days if it is partitioned by them.

    Raises:
        DataError: its files alone do not tell its rows.
    """
    from pyspark.sql.types import StructType

    with location.errors("read"):
        partitions = table.metadata().partition_columns
        _check_features(location.uri, table)
        added = pyarrow.table(table.get_add_actions(flatten=True)).to_pylist()
        by_day = f"partition.{partition}" if partition in partitions else None
        wanted = [file for file in added if by_day is None or span.touches(file[by_day])]
        paths = [unquote(file["path"]) for file in wanted]
        _check_files(location.uri, table, partitions, paths)
    schema = StructType.fromJson(json.loads(table.schema().to_json()))
    if not paths:
        return spark.createDataFrame([], schema)
    files = [location.for_spark(path) for path in paths]
    return spark.read.schema(schema).option("basePath", location.for_spark()).parquet(*files)


def _check_features(uri: str, table: DeltaTable) -> None:
    needed = set(table.protocol().reader_features or ()) - _READABLE
    if table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        needed.add("columnMapping")
    if needed:
        raise DataError(
            f"the Delta table at {uri} uses {', '.join(sorted(needed))}, which its files alone do not tell. "
            "Read it as a SparkTable on a cluster that knows Delta."
        )


def _check_files(uri: str, table: DeltaTable, partitions: list[str], paths: list[str]) -> None:
    for path in paths:
        if "://" in path or path.startswith("/") or any(f"/{name}=" not in f"/{path}" for name in partitions):
            raise DataError(
                f"the Delta table at {uri} keeps {path} outside a folder per partition. "
                "Read it as a SparkTable on a cluster that knows Delta."
            )
    if _DELETION_VECTORS in (table.protocol().reader_features or ()):
        deleted = {basename(uri) for uri in pyarrow.table(table.deletion_vectors()).column("filepath").to_pylist()}
        marked = [path for path in paths if basename(path) in deleted]
        if marked:
            raise DataError(
                f"the Delta table at {uri}, version {table.version()}, marks deleted rows by deletion vectors in "
                f"{len(marked):,} of {len(paths):,} files, for example {marked[0]}. Rewrite them with "
                "REORG TABLE ... APPLY (PURGE), or read it as a SparkTable on a cluster that knows Delta."
            )
