"""Three messy logs into one timestep per decision.

The logs are stacked and sorted once by key and time; what was seen and which decision an outcome
belongs to are read off that order, so there is no join.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from rlbake import vocabulary as v
from rlbake.cadence import duration
from rlbake.errors import DataError, nearest

_SEEN, _DECIDED, _EARNED = 0, 1, 2  # at one instant, first seen, then decided, then earned
_KIND, _FEATURES, _DECISION, _OUTCOME = "_kind", "_features", "_decision", "_outcome"
_DECIDED_AT, _TIE = "_decided_at", "_tie"


def join_logs(
    *,
    observations: DataFrame,
    decisions: DataFrame,
    outcomes: DataFrame,
    attribution: str,
    keys: Sequence[str] | None = None,
) -> DataFrame:
    """One row per decision: what was seen when it was made, and what followed.

    A decision sees the latest observation at or before it, never a later one; without any, its
    features are NULL. An outcome belongs to the latest decision at or before it, if that is no
    longer than `attribution` ago, and to none otherwise. A column `ds` of a log is left out.

    Args:
        observations: the keys, `timestamp` and one column per feature.
        decisions: the keys, `timestamp`, `action` and, where known, `log_probability`,
            `policy_version`, `action_mask` and `end`.
        outcomes: the keys, `timestamp` and one numeric column per metric, NULL where an event
            says nothing of that metric.
        attribution: how long after a decision an outcome may still be its consequence, "24h".
        keys: what identifies an environment; by default the columns that all three logs share.

    Returns:
        The keys, `timestamp`, the features, the columns of `decisions`, and each metric's sum
        (double), 0 for a decision that nothing followed.

    Raises:
        DataError: the logs do not fit together.
        SpecError: `attribution` is no duration.
    """
    horizon = duration(attribution)
    logs = {"observations": observations, "decisions": decisions, "outcomes": outcomes}
    keys = _keys(logs, keys)
    own = {name: [c for c in log.columns if c not in (*keys, v.TIMESTAMP, v.DS)] for name, log in logs.items()}
    _check(logs, keys, own)

    stacked = _stacked(logs, keys, own)
    in_order = Window.partitionBy(*map(_column, keys)).orderBy(v.TIMESTAMP, _KIND, _TIE)
    so_far = in_order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    decided = F.when(F.col(_KIND) == _DECIDED, F.col(v.TIMESTAMP))
    placed = stacked.withColumns(
        {
            _FEATURES: F.last(_FEATURES, ignorenulls=True).over(so_far),
            _DECIDED_AT: F.last(decided, ignorenulls=True).over(so_far),
        }
    ).where(F.col(_KIND) != _SEEN)

    same_decision = Window.partitionBy(*map(_column, keys), _DECIDED_AT).orderBy(v.TIMESTAMP, _KIND, _TIE)
    all_rows = same_decision.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    sums = {metric: F.sum(_attributed(metric, horizon)).over(all_rows) for metric in own["outcomes"]}
    return (
        placed.withColumn(_OUTCOME, F.struct(*(F.coalesce(total, F.lit(0.0)).alias(m) for m, total in sums.items())))
        .where(F.col(_KIND) == _DECIDED)
        .select(*map(_column, keys), v.TIMESTAMP, f"{_FEATURES}.*", f"{_DECISION}.*", f"{_OUTCOME}.*")
    )


def _stacked(logs: dict[str, DataFrame], keys: Sequence[str], own: dict[str, list[str]]) -> DataFrame:
    """All rows of all logs: keys, timestamp, kind, and each log's own columns as a struct."""
    structs = {"observations": _FEATURES, "decisions": _DECISION, "outcomes": _OUTCOME}
    types = {
        name: T.StructType([T.StructField(c, logs[name].schema[c].dataType) for c in own[name]]) for name in structs
    }
    parts = []
    for kind, name in ((_SEEN, "observations"), (_DECIDED, "decisions"), (_EARNED, "outcomes")):
        columns = [_column(c) for c in own[name]]
        packed = {
            struct: F.struct(*columns) if other == name else F.lit(None).cast(types[other])
            for other, struct in structs.items()
        }
        parts.append(
            logs[name].select(
                *map(_column, keys),
                v.TIMESTAMP,
                F.lit(kind).alias(_KIND),
                F.xxhash64(*columns).alias(_TIE),
                *(value.alias(struct) for struct, value in packed.items()),
            )
        )
    seen, decided, earned = parts
    return seen.unionByName(decided).unionByName(earned)


def _attributed(metric: str, horizon: timedelta) -> Column:
    late = F.unix_micros(v.TIMESTAMP) - F.unix_micros(_DECIDED_AT)
    value = F.col(f"{_OUTCOME}.`{metric}`").cast("double")
    return F.when((F.col(_KIND) == _EARNED) & (late <= horizon // timedelta(microseconds=1)), value)


def _keys(logs: dict[str, DataFrame], keys: Sequence[str] | None) -> list[str]:
    if isinstance(keys, str):
        raise DataError(f'join_logs: keys must be a tuple of column names, such as ("{keys}",).')
    if keys is None:
        shared = set.intersection(*(set(log.columns) for log in logs.values())) - {v.TIMESTAMP, v.DS}
        if not shared:
            raise DataError("join_logs: the three logs share no column but the time. Name the keys alike in all three.")
        return [column for column in logs["decisions"].columns if column in shared]
    for name, log in logs.items():
        for key in keys:
            if key not in log.columns:
                raise DataError(f"join_logs: {name} has no key {key!r}. {nearest(key, log.columns)}")
    if not keys:
        raise DataError("join_logs: keys is empty. Name what identifies an environment.")
    return list(keys)


def _check(logs: dict[str, DataFrame], keys: Sequence[str], own: dict[str, list[str]]) -> None:
    for name, log in logs.items():
        if v.TIMESTAMP not in log.columns:
            raise DataError(f"join_logs: {name} has no column {v.TIMESTAMP!r}. {nearest(v.TIMESTAMP, log.columns)}")
        if not isinstance(log.schema[v.TIMESTAMP].dataType, T.TimestampType):
            type_ = log.schema[v.TIMESTAMP].dataType.simpleString().upper()
            raise DataError(f"join_logs: {v.TIMESTAMP!r} of {name} is {type_}: cast it to TIMESTAMP.")
        if not own[name]:
            raise DataError(f"join_logs: {name} has no columns but the keys ({', '.join(keys)}) and the time.")
    if v.ACTION not in own["decisions"]:
        raise DataError(f"join_logs: decisions has no column {v.ACTION!r}. {nearest(v.ACTION, own['decisions'])}")
    for key in keys:
        types = {name: log.schema[key].dataType for name, log in logs.items()}
        if len(set(types.values())) > 1 and not all(isinstance(t, T.IntegralType) for t in types.values()):
            shown = ", ".join(f"{type_.simpleString()} in {name}" for name, type_ in types.items())
            raise DataError(f"join_logs: key {key!r} has different types: {shown}. Cast it to one.")
    for metric in own["outcomes"]:
        kind = logs["outcomes"].schema[metric].dataType
        if not isinstance(kind, T.NumericType):
            raise DataError(f"join_logs: metric {metric!r} of outcomes is {kind.simpleString().upper()}: cast it.")
    everywhere = [column for columns in own.values() for column in columns]
    twice = sorted({column for column in everywhere if everywhere.count(column) > 1})
    if twice:
        raise DataError(
            f"join_logs: column {', '.join(twice)} is in more than one log and is no key: "
            "drop or rename it in one, or name the keys."
        )


def _column(name: str) -> Column:
    return F.col(f"`{name}`")
