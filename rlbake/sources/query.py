"""What an SQL query returns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rlbake.sources.rows import Rows, Span

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_MARKER = re.compile(r"(?<![:\w]):(start|end|ds)\b")


@dataclass(frozen=True)
class Query(Rows):
    """A SELECT, with Spark's named parameters for the time in question.

    `:start` and `:end` are timestamps, the half-open interval that is wanted; `:ds` is the window's
    name, a string. As parameters they are values, never text to be parsed, so they need no quotes:

        SELECT * FROM clicks WHERE ts >= :start AND ts < :end

    https://spark.apache.org/docs/latest/sql-ref-syntax-parameters.html
    """

    sql: str

    @property
    def name(self) -> str:
        return "query"

    def place(self, span: Span) -> str:
        """The query with its values written in."""
        literals = {
            name: f"'{value}'" if isinstance(value, str) else f"TIMESTAMP '{value.isoformat()}'"
            for name, value in _values(span).items()
        }
        return _MARKER.sub(lambda marker: literals[marker[1]], self.sql)

    def stored(self, spark: SparkSession, span: Span) -> DataFrame:
        return spark.sql(self.sql, args=_values(span))


def _values(span: Span) -> dict[str, str | datetime]:
    return {"start": span.start or BEGINNING, "end": span.end, "ds": span.window.ds}
