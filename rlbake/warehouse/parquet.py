"""Writes a DataFrame as Parquet and hashes its rows on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, StringType, StructField, StructType

from rlbake.warehouse.content import ContentHash

_ROW_HASH = "_row_hash"


def write(frame: DataFrame, folder: str, unrepeated: Iterable[str] = ()) -> ContentHash:
    """Writes one Parquet file per partition into a new folder; returns the hash of the rows.

    The hash is taken in the stage that writes: a stage before it may run twice and count twice.

    Args:
        unrepeated: columns of which hardly a value comes twice: see `without_dictionary`.
    """
    observation = Observation()
    measured = _hashed(frame).observe(observation, *_content())
    writer = measured.drop(_ROW_HASH).write.option("mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
    writer.options(**without_dictionary(unrepeated)).parquet(folder)
    return _content_hash(observation.get)


def without_dictionary(columns: Iterable[str]) -> dict[str, str]:
    """Options of a writer that tries no dictionary for some columns.

    Parquet's writer looks up every value of a column until its dictionary is full. Where no value comes twice, that
    is for nothing: of 200,000 decisions it takes 7 % of the whole job's CPU.
    """
    return {f"parquet.enable.dictionary#{column}": "false" for column in columns}


def content_of(frame: DataFrame) -> ContentHash:
    """The hash of a frame's rows, without writing them."""
    seen = _hashed(frame).agg(*_content()).first()
    assert seen is not None  # an aggregate without groups has one row
    return _content_hash(seen.asDict())


def _hashed(frame: DataFrame) -> DataFrame:
    return frame.withColumn(_ROW_HASH, row_hash(frame.schema))


def _content() -> tuple[Column, ...]:
    hash_ = F.col(_ROW_HASH)
    return (
        F.count(F.lit(1)).alias("rows"),
        F.bit_xor(hash_).alias("xor"),
        F.sum(F.pmod(hash_, F.lit(2**31))).alias("sum"),
    )


def _content_hash(seen: Mapping[str, Any]) -> ContentHash:
    return ContentHash(seen["rows"] or 0, seen["xor"] or 0, seen["sum"] or 0)


def row_hash(schema: StructType) -> Column:
    """A 64-bit hash of a row that tells which of its values are NULL.

    `xxhash64` skips NULLs, so every value is followed by its position (an array by its size):
    (1, NULL) and (NULL, 1) differ.
    """
    parts: list[Column] = []
    for position, (name, type_) in enumerate(_leaves(schema)):
        is_array = isinstance(type_, ArrayType)
        parts += [F.col(name), F.coalesce(F.size(name), F.lit(-1)) if is_array else F.lit(position)]
    return F.xxhash64(*parts)


def table_schema(frame: StructType, partition: str) -> StructType:
    """The schema of a table that holds such rows: everything nullable, the partition column last."""
    return StructType([*_nullable_fields(frame), StructField(partition, StringType(), True)])


def _nullable_fields(struct: StructType) -> list[StructField]:
    return [StructField(field.name, _nullable(field.dataType), True) for field in struct.fields]


def _nullable(type_: DataType) -> DataType:
    if isinstance(type_, StructType):
        return StructType(_nullable_fields(type_))
    if isinstance(type_, ArrayType):
        return ArrayType(_nullable(type_.elementType), True)
    return type_


def _leaves(schema: StructType, prefix: str = "") -> Iterator[tuple[str, DataType]]:
    for field in schema.fields:
        name = f"{prefix}`{field.name}`"
        if isinstance(field.dataType, StructType):
            yield from _leaves(field.dataType, f"{name}.")
        else:
            yield name, field.dataType
