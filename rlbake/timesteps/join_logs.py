"""Three messy logs into one timestep per decision.

The logs are stacked and sorted once by key and time; what was seen and which decision an outcome
belongs to are read off that order, so there is no join (but one to find decisions by their ids), and
the work grows with the rows of a key, not with their square.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

from pyspark.errors import PySparkAssertionError
from pyspark.sql import Column, DataFrame, Observation, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.window import WindowSpec

from rlbake import cadence
from rlbake import vocabulary as v
from rlbake.cadence import duration
from rlbake.errors import DataError, SpecError, nearest

SUM, MAX, LAST, COUNT = "sum", "max", "last", "count"
AGGREGATIONS = (SUM, MAX, LAST, COUNT)
OUTCOMES, UNMATCHED, UNSEEN = "outcomes", "unmatched_outcomes", "unseen_decisions"

_SEEN, _DECIDED, _EARNED = 0, 1, 2  # at one instant, first seen, then decided, then earned
_KIND, _FEATURES, _DECISION, _OUTCOME = "_kind", "_features", "_decision", "_outcome"
_SEEN_AT, _DECIDED_AT, _TIE, _APART = "_seen_at", "_decided_at", "_tie", "_apart"
_NAMED_AT = "_named_at"  # when the decision was made that an outcome names
_EVALUATED_WITHIN = 10.0  # seconds from the end of a job until its observations have arrived

Metrics = Mapping[str, str | tuple[str, float]]


def join_logs(
    *,
    observations: DataFrame | None,
    decisions: DataFrame,
    outcomes: DataFrame,
    attribution: str,
    keys: Sequence[str] | None = None,
    tolerance: str | None = None,
    metrics: Metrics | None = None,
    window: cadence.Window | None = None,
) -> DataFrame:
    """One row per decision: what was seen when it was made, and what followed.

    A decision sees the latest observation at or before it, never a later one; without any, its
    features are NULL. An outcome belongs to the decision that it names, else to the latest decision
    at or before it, if that is no longer than `attribution` ago, and to none otherwise; decisions at
    one instant share what belongs to them. A decision without a key or timestamp is returned, having seen and earned
    nothing; an observation without is left out, and an outcome without belongs to no decision.
    A column `ds` of a log is left out.

    Args:
        observations: the keys, `timestamp` and one column per feature; None: `decisions` hold what was seen.
        decisions: the keys, `timestamp`, `action` and, where known, `log_probability`,
            `policy_version`, `action_mask` and `end`.
        outcomes: the keys, `timestamp` and one numeric column per metric, NULL where an event
            says nothing of that metric. It may name its decision in `decision_id`, and then needs no
            key; NULL where it does not.
        attribution: how long after a decision an outcome may still be its consequence, "24h".
        keys: what identifies an environment; by default the columns that all three logs share.
        tolerance: how old an observation may be to count as seen, "7d"; None: any age.
        metrics: how the events of a metric become one number: their "sum", "max", "last" or
            "count"; "sum" unless said. Where nothing followed a decision, sum and count are 0,
            while max and last are NULL, or the value that is given with them: ("max", 0.0).
        window: returns the decisions of this window only. Those of `attribution` after it must be
            among `decisions` all the same, or what they caused is taken for a consequence of these.

    Returns:
        The keys, `timestamp`, the features, the columns of `decisions`, and the metrics (double).

    Raises:
        DataError: the logs do not fit together.
        SpecError: `attribution` or `tolerance` is no duration, or there is no such aggregation.
    """
    horizon = duration(attribution)
    oldest = None if tolerance is None else duration(tolerance)
    logs = {"decisions": decisions, "outcomes": outcomes}
    if observations is not None:
        logs = {"observations": observations, **logs}
    keys = _keys(logs, keys)
    own = {name: [c for c in log.columns if c not in (*keys, v.TIMESTAMP, v.DS)] for name, log in logs.items()}
    named = v.DECISION_ID in own["outcomes"]
    if named:
        own["outcomes"].remove(v.DECISION_ID)
    aggregations = _aggregations(metrics or {}, own["outcomes"])
    _check(logs, keys, own, aggregations)
    if named:
        logs["outcomes"] = _of_named(outcomes, decisions, keys)

    in_order = Window.partitionBy(*map(_column, keys), _APART).orderBy(v.TIMESTAMP, _KIND, _TIE)
    placed = _placed(_stacked(logs, keys, own), in_order, oldest)
    placed = _counting(placed, horizon, window)

    same_decision = Window.partitionBy(*map(_column, keys), _APART, _DECIDED_AT).orderBy(v.TIMESTAMP, _KIND, _TIE)
    all_rows = same_decision.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    belongs = (F.col(_KIND) == _EARNED) & _in_time(horizon)
    values = [
        _aggregate(F.when(belongs, F.col(f"{_OUTCOME}.`{metric}`")), *how, all_rows).alias(metric)
        for metric, how in aggregations.items()
    ]
    structs = [_FEATURES, _DECISION] if observations is not None else [_DECISION]
    return (
        placed.withColumn(_OUTCOME, F.struct(*values))
        .where((F.col(_KIND) == _DECIDED) & _within(window))
        .select(*map(_column, keys), v.TIMESTAMP, *(f"{struct}.*" for struct in structs), f"{_OUTCOME}.*")
    )


class Counts:
    """What the joins made inside `counted()` could not place."""

    def __init__(self) -> None:
        self._observations: list[Observation] = []

    def get(self) -> dict[str, int]:
        """Rows by name, over all joins whose frame has been evaluated; empty if there are none.

        `outcomes`: events, of the window if one was given; `unmatched_outcomes`: of them, events
        that belong to no decision; `unseen_decisions`: decisions that had no observation.

        Counted over what the first action on the frame reads, whatever is done with it afterwards. A
        part of the work that Spark does twice, because it lost a worker, counts twice.
        """
        found = [counts for counts in map(_observed, self._observations) if counts]
        return {name: sum(counts[name] for counts in found) for name in (OUTCOMES, UNMATCHED, UNSEEN) if found}


_counts: ContextVar[Counts | None] = ContextVar("_counts", default=None)


@contextmanager
def counted() -> Iterator[Counts]:
    """Has every `join_logs` inside count what it cannot place.

    To be asked with `get` when the frame has been evaluated, inside or after the block.
    """
    counts = Counts()
    token = _counts.set(counts)
    try:
        yield counts
    finally:
        _counts.reset(token)


def _counting(placed: DataFrame, horizon: timedelta, window: cadence.Window | None) -> DataFrame:
    counts = _counts.get()
    if counts is None:
        return placed
    observation = Observation()
    counts._observations.append(observation)
    earned = (F.col(_KIND) == _EARNED) & _within(window)
    decided = (F.col(_KIND) == _DECIDED) & _within(window)
    unseen = F.col(_FEATURES).isNull() if _FEATURES in placed.columns else F.lit(False)
    return placed.observe(
        observation,
        F.count_if(earned).alias(OUTCOMES),
        F.count_if(earned & ~F.coalesce(_in_time(horizon), F.lit(False))).alias(UNMATCHED),
        F.count_if(decided & unseen).alias(UNSEEN),
    )


def _observed(observation: Observation) -> dict[str, int]:
    """What was observed; empty if nothing was evaluated, on which `Observation.get` waits for ever."""
    arrived: dict[str, int] = {}

    def wait() -> None:
        try:
            arrived.update(observation.get)
        except PySparkAssertionError:  # Spark Connect: not evaluated
            return

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(_EVALUATED_WITHIN)
    return arrived


def _of_named(outcomes: DataFrame, decisions: DataFrame, keys: Sequence[str]) -> DataFrame:
    """The outcomes with the keys and the time of the decisions that they name; without keys if there is no such one."""
    named = F.min(F.struct(v.TIMESTAMP, *map(_column, keys))).alias(_DECISION)
    decided = decisions.where(F.col(v.DECISION_ID).isNotNull()).groupBy(v.DECISION_ID).agg(named)
    found = outcomes.join(decided, on=v.DECISION_ID, how="left")
    return found.withColumns(
        {
            _NAMED_AT: F.col(f"{_DECISION}.{v.TIMESTAMP}"),
            **{
                key: F.when(F.col(v.DECISION_ID).isNull(), _column(key)).otherwise(F.col(f"{_DECISION}.`{key}`"))
                for key in keys
            },
        }
    ).drop(_DECISION, v.DECISION_ID)


def _stacked(logs: dict[str, DataFrame], keys: Sequence[str], own: dict[str, list[str]]) -> DataFrame:
    """All rows of all logs: keys, timestamp, kind, and each log's own columns as a struct.

    Rows without a key or timestamp lie apart from all others, and from each other.
    """
    structs = {"observations": _FEATURES, "decisions": _DECISION, "outcomes": _OUTCOME}
    structs = {name: structs[name] for name in logs}
    named = [_NAMED_AT] if _NAMED_AT in logs["outcomes"].columns else []
    types = {
        name: T.StructType([T.StructField(c, logs[name].schema[c].dataType) for c in own[name]]) for name in structs
    }
    placeable = F.col(v.TIMESTAMP).isNotNull()
    for key in keys:
        placeable &= _column(key).isNotNull()
    parts = []
    kinds = {"observations": _SEEN, "decisions": _DECIDED, "outcomes": _EARNED}
    for name in logs:
        kind = kinds[name]
        columns = [_column(c) for c in own[name]]
        packed = {
            struct: F.struct(*columns) if other == name else F.lit(None).cast(types[other])
            for other, struct in structs.items()
        }
        whole_row = F.xxhash64(F.lit(kind), *map(_column, keys), F.col(v.TIMESTAMP), *columns)
        parts.append(
            logs[name].select(
                *map(_column, keys),
                v.TIMESTAMP,
                F.lit(kind).alias(_KIND),
                F.xxhash64(*columns).alias(_TIE),
                F.when(~placeable, whole_row).alias(_APART),
                *((F.col(at) if at in logs[name].columns else F.lit(None).cast("timestamp")).alias(at) for at in named),
                *(value.alias(struct) for struct, value in packed.items()),
            )
        )
    *seen, decided, earned = parts
    of_decisions = decided.unionByName(earned)
    return seen[0].where(F.col(_APART).isNull()).unionByName(of_decisions) if seen else of_decisions


def _placed(stacked: DataFrame, in_order: WindowSpec, oldest: timedelta | None) -> DataFrame:
    """Decisions and outcomes with what was seen last and with the instant of the decision they belong to."""
    so_far = in_order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    decided = F.when(F.col(_KIND) == _DECIDED, F.col(v.TIMESTAMP))
    latest = {_DECIDED_AT: F.last(decided, ignorenulls=True).over(so_far)}
    if _NAMED_AT in stacked.columns:
        latest = {_DECIDED_AT: F.coalesce(_NAMED_AT, latest[_DECIDED_AT])}
    if _FEATURES in stacked.columns:
        latest = {_FEATURES: F.last(_FEATURES, ignorenulls=True).over(so_far), **latest}
    if oldest is None or _FEATURES not in stacked.columns:
        return stacked.withColumns(latest).where(F.col(_KIND) != _SEEN)
    seen = F.when(F.col(_KIND) == _SEEN, F.col(v.TIMESTAMP))
    placed = stacked.withColumns({**latest, _SEEN_AT: F.last(seen, ignorenulls=True).over(so_far)})
    fresh = _micros_since(_SEEN_AT) <= _micros(oldest)
    return placed.where(F.col(_KIND) != _SEEN).withColumn(_FEATURES, F.when(fresh, F.col(_FEATURES)))


def _aggregate(value: Column, how: str, otherwise: float | None, over: WindowSpec) -> Column:
    if how == COUNT:
        return F.count(value).over(over).cast("double")
    number = value.cast("double")
    result = {SUM: F.sum(number), MAX: F.max(number), LAST: F.last(number, ignorenulls=True)}[how].over(over)
    return result if otherwise is None else F.coalesce(result, F.lit(otherwise))


def _in_time(horizon: timedelta) -> Column:
    """Whether an outcome is close enough to its decision; NULL if it has none."""
    return _micros_since(_DECIDED_AT) <= _micros(horizon)


def _within(window: cadence.Window | None) -> Column:
    """Whether a row belongs to the window, or nobody can tell."""
    if window is None:
        return F.lit(True)
    time = F.col(v.TIMESTAMP)
    return time.isNull() | ((time >= F.lit(window.start)) & (time < F.lit(window.end)))


def _micros_since(earlier: str) -> Column:
    return F.unix_micros(v.TIMESTAMP) - F.unix_micros(earlier)


def _micros(length: timedelta) -> int:
    return length // timedelta(microseconds=1)


def _aggregations(metrics: Metrics, columns: Sequence[str]) -> dict[str, tuple[str, float | None]]:
    """How each column of the outcomes is put together, and what it is where nothing followed."""
    for metric in metrics:
        if metric not in columns:
            raise DataError(f"join_logs: outcomes has no metric {metric!r}. {nearest(metric, columns)}")
    return {metric: _aggregation(metric, metrics.get(metric, SUM)) for metric in columns}


def _aggregation(metric: str, how: str | tuple[str, float]) -> tuple[str, float | None]:
    name, otherwise = (how, None) if isinstance(how, str) else how
    if name not in AGGREGATIONS:
        hint = nearest(str(name), AGGREGATIONS)
        raise SpecError(f"join_logs: metric {metric!r}: there is no aggregation {name!r}. {hint}")
    if name not in (SUM, COUNT):
        return name, otherwise
    if otherwise is not None:
        raise SpecError(f"join_logs: metric {metric!r}: write {name!r} alone; it is 0 where nothing followed.")
    return name, 0.0


def _keys(logs: dict[str, DataFrame], keys: Sequence[str] | None) -> list[str]:
    if isinstance(keys, str):
        raise DataError(f'join_logs: keys must be a tuple of column names, such as ("{keys}",).')
    if keys is None:
        shared = set.intersection(*(set(log.columns) for log in logs.values())) - {v.TIMESTAMP, v.DS, v.DECISION_ID}
        if not shared:
            raise DataError("join_logs: the logs share no column but the time. Name the keys alike in all of them.")
        return [column for column in logs["decisions"].columns if column in shared]
    for name, log in logs.items():
        for key in keys:
            if key not in log.columns:
                raise DataError(f"join_logs: {name} has no key {key!r}. {nearest(key, log.columns)}")
    if not keys:
        raise DataError("join_logs: keys is empty. Name what identifies an environment.")
    return list(keys)


def _check(
    logs: dict[str, DataFrame],
    keys: Sequence[str],
    own: dict[str, list[str]],
    aggregations: Mapping[str, tuple[str, float | None]],
) -> None:
    for name, log in logs.items():
        if v.TIMESTAMP not in log.columns:
            raise DataError(f"join_logs: {name} has no column {v.TIMESTAMP!r}. {nearest(v.TIMESTAMP, log.columns)}")
        if not isinstance(log.schema[v.TIMESTAMP].dataType, T.TimestampType):
            type_ = log.schema[v.TIMESTAMP].dataType.simpleString().upper()
            raise DataError(f"join_logs: {v.TIMESTAMP!r} of {name} is {type_}: cast it to TIMESTAMP.")
        if not own[name]:
            raise DataError(f"join_logs: {name} has no columns but the keys ({', '.join(keys)}) and the time.")
    if v.DECISION_ID in logs["outcomes"].columns and v.DECISION_ID not in own["decisions"]:
        raise DataError(
            f"join_logs: outcomes name their decisions in {v.DECISION_ID!r}, and decisions have no such column: add it."
        )
    if v.ACTION not in own["decisions"]:
        raise DataError(f"join_logs: decisions has no column {v.ACTION!r}. {nearest(v.ACTION, own['decisions'])}")
    for key in keys:
        types = {name: log.schema[key].dataType for name, log in logs.items()}
        if len(set(types.values())) > 1 and not all(isinstance(t, T.IntegralType) for t in types.values()):
            shown = ", ".join(f"{type_.simpleString()} in {name}" for name, type_ in types.items())
            raise DataError(f"join_logs: key {key!r} has different types: {shown}. Cast it to one.")
    for metric in own["outcomes"]:
        kind = logs["outcomes"].schema[metric].dataType
        if not isinstance(kind, T.NumericType) and aggregations[metric][0] != COUNT:
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
