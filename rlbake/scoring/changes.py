"""How decisions differ from those of the scoring before: where a new champion, or a changed population, acts otherwise.

Two windows of the table are joined by environment on Spark; a few lines come back, however many rows there are.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import Window as Over
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.specs import Feature, Number
from rlbake.warehouse.table import Table

MOST_PARTS = 12  # of a category that is told apart, as in an evaluation
ALL = "all"  # in place of a feature's name
_QUARTERS = (0.25, 0.5, 0.75)
_OLD, _NEW, _PART, _DIFFERS, _SHIFT, _RANK = "_old", "_new", "_part", "_differs", "_shift", "_rank"


@dataclass(frozen=True)
class Change:
    """What became of some environments.

    Attributes:
        segment: name of the feature that they are told apart by, `ALL` for everybody.
        part: of its values: a category, `true` or `false`, a quarter of the numbers, or `missing`.
        both: environments that were decided on both times; the next two are of them.
        changed: share whose action is another one; NaN if there are none.
        log_probability: mean |Δ log π(a)| of the actions taken; NaN if none have one.
        new: environments that were not decided on before.
        gone: environments that are not decided on any more; told apart by what was seen of them then.
    """

    segment: str
    part: str
    both: int
    changed: float
    log_probability: float
    new: int
    gone: int


@dataclass(frozen=True)
class Changes:
    """The scoring of a window against the one before.

    Attributes:
        window: its `ds`.
        previous: `ds` of the latest window before that has been scored.
        version: of the table.
        changes: everybody first, then the segments in the order of the features; the parts of a category with most
            environments, at most `MOST_PARTS`.
    """

    window: str
    previous: str
    version: int
    changes: tuple[Change, ...]

    def as_csv(self) -> str:
        """One line for each change; empty where there is no number."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(field.name for field in fields(Change))
        for change in self.changes:
            lines.writerow("" if value != value else value for value in asdict(change).values())
        return text.getvalue()

    def as_json(self) -> str:
        """The same and what it is of; null where there is no number."""
        whole = asdict(self)
        whole["changes"] = [{k: None if x != x else x for k, x in change.items()} for change in whole["changes"]]
        return json.dumps(whole, indent=2) + "\n"


def changes(
    scores: Table,
    spark: SparkSession,
    window_ds: str,
    *,
    observation: Sequence[Feature],
    segments: Sequence[str] | None,
) -> Changes | None:
    """What the scoring of a window has changed; None if there is no window before it.

    Args:
        scores: the table, which holds the window.
        observation: the application's features.
        segments: names of those to tell environments apart by; None: every Category and Binary.
    """
    version = scores.version()
    earlier = [ds for ds in scores.windows(version) if ds < window_ds]
    if not earlier:
        return None
    new, old = (scores.read(spark, version, [ds]).select(*_COMPARED) for ds in (window_ds, earlier[-1]))
    told_apart = [f for f in observation if (f.name in segments if segments is not None else not isinstance(f, Number))]
    parts = [(ALL, F.lit(""))] + [(f.name, _part(f, new)) for f in told_apart]
    joined = _joined(old, new)
    labels = F.array(*(F.struct(F.lit(name).alias("segment"), part.alias("part")) for name, part in parts))
    found = joined.withColumn(_PART, F.explode(labels)).groupBy(f"{_PART}.segment", f"{_PART}.part").agg(*_measures())
    largest = Over.partitionBy("segment").orderBy(F.desc(F.expr("both + new + gone")), "part")
    rows = found.withColumn(_RANK, F.row_number().over(largest)).where(F.col(_RANK) <= MOST_PARTS).drop(_RANK).collect()
    order = {name: number for number, (name, _) in enumerate(parts)}
    named = sorted((_change(row.asDict()) for row in rows), key=lambda change: (order[change.segment], change.part))
    return Changes(window_ds, earlier[-1], version, tuple(named))


def _change(row: Mapping[str, Any]) -> Change:
    known: dict[str, Any] = {name: math.nan if value is None else value for name, value in row.items()}
    return Change(**known)


_COMPARED = (v.ENV_ID, v.OBSERVATION, v.ACTION, v.LOG_PROBABILITY)


def _joined(old: DataFrame, new: DataFrame) -> DataFrame:
    """One row for each environment: its observation, the latest there is, and how the two decisions differ."""
    before, after = (side.withColumn(name, F.struct(*_COMPARED)) for side, name in ((old, _OLD), (new, _NEW)))
    both = before.select(v.ENV_ID, _OLD).join(after.select(v.ENV_ID, _NEW), v.ENV_ID, "full_outer")
    there = F.col(_OLD).isNotNull() & F.col(_NEW).isNotNull()
    shift = F.abs(F.col(_NEW)[v.LOG_PROBABILITY] - F.col(_OLD)[v.LOG_PROBABILITY]).cast("double")
    return both.select(
        F.coalesce(F.col(_NEW)[v.OBSERVATION], F.col(_OLD)[v.OBSERVATION]).alias(v.OBSERVATION),
        F.col(_OLD).isNull().alias(_NEW),
        F.col(_NEW).isNull().alias(_OLD),
        F.when(there, F.col(_NEW)[v.ACTION] != F.col(_OLD)[v.ACTION]).alias(_DIFFERS),
        shift.alias(_SHIFT),
    )


def _measures() -> list[Column]:
    return [
        F.count(_DIFFERS).alias("both"),
        F.avg(F.col(_DIFFERS).cast("double")).alias("changed"),
        F.avg(_SHIFT).alias("log_probability"),
        F.count_if(_NEW).alias("new"),
        F.count_if(_OLD).alias("gone"),
    ]


def _part(feature: Feature, now: DataFrame) -> Column:
    """string: which part of the feature's values a row is in."""
    value = F.col(v.OBSERVATION)[feature.name]
    if not isinstance(feature, Number):
        return F.coalesce(value.cast("string"), F.lit("missing"))
    edges = sorted(set(now.select(value.alias(_PART)).approxQuantile(_PART, list(_QUARTERS), 0.01)))
    part = F.when(value.isNull(), "missing")
    bounds = [float("-inf"), *edges, float("inf")]
    for low, high in itertools.pairwise(bounds):
        part = part.when((value >= F.lit(low)) & (value < F.lit(high)), f"[{low:.4g}, {high:.4g})")
    return part
