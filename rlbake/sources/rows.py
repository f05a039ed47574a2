"""The rows of one table, wherever it is, between two instants."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from rlbake import vocabulary as v
from rlbake.application import Application
from rlbake.cadence import Window
from rlbake.errors import DataError, SpecError, nearest
from rlbake.sources.failures import declaration_errors

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

WHOLE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Span:
    """A window and some time around it, [start, end).

    Attributes:
        before: how long before the window it starts; None: at the beginning of time.
        after: how long after the window it ends.
    """

    window: Window
    before: timedelta | None = timedelta(0)
    after: timedelta = timedelta(0)

    @property
    def start(self) -> datetime | None:
        return None if self.before is None else self.window.start - self.before

    @property
    def end(self) -> datetime:
        return self.window.end + self.after

    def days(self) -> tuple[str | None, str]:
        """The UTC days that it touches, [first, last + 1), in ISO 8601; no first if it has no start."""
        first = None if self.start is None else self.start.date().isoformat()
        return first, _day_after(self.end).isoformat()

    def touches(self, partition: object) -> bool:
        """Whether a partition, given by its day, or None, may hold rows of it."""
        first, after_last = self.days()
        return partition is None or ((first is None or str(partition) >= first) and str(partition) < after_last)


@dataclass(frozen=True, kw_only=True)
class Rows(ABC):
    """A table whose rows have their time in `timestamp`; by itself one wide table of timesteps.

    Attributes:
        columns: columns to add or replace, name → SQL expression over the table's columns, such
            as {"player_id": "user.id", "timestamp": "to_timestamp(ts)"}.
        partition: a column, best one that the table is partitioned by, which holds the UTC day of
            `timestamp` as ISO 8601 (2026-01-31, or the hour, 2026-01-31T05) or as a DATE. Only the
            partitions of the days in question are read.

    A row whose `timestamp` is NULL belongs to the windows whose partitions hold it, without a
    partition to all of them: the contract rejects it there, which is better than losing it.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    partition: str | None = None

    def __post_init__(self) -> None:
        for name, expression in self.columns.items():
            if not isinstance(expression, str) or not expression.strip():
                raise SpecError(f"{self.name}: column {name!r} needs an SQL expression, got {expression!r}.")
        if self.partition is not None and self.partition in self.columns:
            raise SpecError(f"{self.name}: partition {self.partition!r} must be as stored, and columns derives it.")

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages call it."""

    @abstractmethod
    def place(self, span: Span) -> str:
        """What is read for a span: a URI, a table's name or SQL text."""

    @abstractmethod
    def stored(self, spark: SparkSession, span: Span) -> DataFrame:
        """The table as it is; of the span's partitions at least."""

    def timesteps(self, spark: SparkSession, window: Window, application: Application) -> DataFrame:
        """The rows of a window."""
        return self.read(spark, Span(window))

    def lineage(self, window: Window) -> list[tuple[str, str]]:
        """What is read for a window: name and place."""
        return [("timesteps", self.place(Span(window)))]

    def read(self, spark: SparkSession, span: Span) -> DataFrame:
        """The rows with start <= `timestamp` < end, and those of the window that have none.

        Raises:
            NotFoundError, SpecError, DataError: as `declaration_errors` says; there is no `timestamp`.
        """
        from pyspark.sql import functions as F
        from pyspark.sql import types as T

        rows = self.rows(spark, span)
        fix = f'columns={{"{v.TIMESTAMP}": "to_timestamp(...)"}}'
        if v.TIMESTAMP not in rows.columns:
            raise DataError(f"{self.name} has no column {v.TIMESTAMP!r}: derive it, {fix}.")
        if not isinstance(kind := rows.schema[v.TIMESTAMP].dataType, T.TimestampType):
            shown = kind.simpleString().upper()
            raise DataError(f"{self.name}: {v.TIMESTAMP!r} is {shown}, not a TIMESTAMP: derive it, {fix}.")
        time = F.col(v.TIMESTAMP)
        inside = time < F.lit(span.end)
        if span.start is not None:
            inside &= time >= F.lit(span.start)
        undated = time.isNull()
        if self.partition is not None:
            undated &= in_days(self.partition, Span(span.window))
        return rows.where(inside | undated)

    def rows(self, spark: SparkSession, span: Span) -> DataFrame:
        """The rows of the span's partitions, with all columns, derived ones included."""
        from pyspark.sql import functions as F

        with declaration_errors(self.name):
            frame = self.stored(spark, span)
            if self.partition is not None:
                self._check_partition(frame)
                frame = frame.where(in_days(self.partition, span))
            if self.columns:
                frame = frame.withColumns({name: F.expr(sql) for name, sql in self.columns.items()})
            frame.schema  # noqa: B018 - on Spark Connect, names are resolved only now
        return frame

    def _check_partition(self, frame: DataFrame) -> None:
        from pyspark.sql import types as T

        if self.partition not in frame.columns:
            raise DataError(
                f"{self.name} has no partition {self.partition!r}. {nearest(str(self.partition), frame.columns)}"
            )
        kind = frame.schema[self.partition].dataType
        if not isinstance(kind, T.StringType | T.DateType):
            raise DataError(
                f"{self.name}: partition {self.partition!r} is {kind.simpleString().upper()}: "
                "it must be a day in ISO 8601 or a DATE. Leave it out to read by time alone."
            )


def in_days(partition: str, span: Span) -> Column:
    """Whether a row's day is one that the span touches, or is NULL."""
    from pyspark.sql import functions as F

    first, after_last = span.days()
    day = F.col(f"`{partition}`")
    inside = day < F.lit(after_last)
    if first is not None:
        inside &= day >= F.lit(first)
    return inside | day.isNull()


def _day_after(end: datetime) -> date:
    """The first day that starts at or after an instant."""
    return (end + WHOLE_DAY - timedelta(microseconds=1)).date()
