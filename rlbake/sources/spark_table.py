"""A table that the Spark session's catalog knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlbake.sources.rows import Rows, Span

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class SparkTable(Rows):
    """A table or view, "catalog.schema.table"."""

    table: str

    @property
    def name(self) -> str:
        return f"table {self.table}"

    def place(self, span: Span) -> str:
        return self.table

    def stored(self, spark: SparkSession, span: Span) -> DataFrame:
        return spark.table(self.table)
