"""What serving remembered, as timesteps: the experience log, and batch scores where they are acted upon."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from typing import TYPE_CHECKING

from rlbake import vocabulary as v
from rlbake.application import Application
from rlbake.cadence import Window, duration
from rlbake.errors import DataError
from rlbake.sources.folder import DELTA, Folder
from rlbake.sources.logs import refuse_too_early
from rlbake.sources.rows import Span
from rlbake.specs import Action, Binary, Continuous, Discrete, Feature, Number

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from rlbake.timesteps.join_logs import Metrics

APPLICATIONS_OWN = "{tables}/{name}/" + v.EXPERIENCE_LOG
CLOCKS_DIFFER = timedelta(hours=1)  # an outcome that names its decision may seem this much older than it

_HOUR = timedelta(hours=1)
_TOLD = "_told"
_ENDED = {v.TERMINATED: "_terminated", v.TRUNCATED: "_truncated"}  # columns on the way through the join
_OF_A_DECISION = (
    v.TIMESTAMP, v.DECISION_ID, v.ACTION, v.ACTION_MASK, v.LOG_PROBABILITY, v.POLICY_VERSION
)  # fmt: skip


@dataclass(frozen=True)
class _Hours(Span):
    """A span of a table that is partitioned by the hour."""

    def days(self) -> tuple[str | None, str]:
        """The UTC hours that it touches, [first, last + 1), as `hour` has them."""
        first = None if self.start is None else _hour(self.start)
        return first, _hour(self.end + _HOUR - timedelta(microseconds=1))


@dataclass(frozen=True)
class ExperienceLog:
    """The decisions and outcomes that `serve` remembers, put together without a line of code.

    An outcome that names its decision goes to that one, any other to the latest decision of its
    keys at or before it, if that is no longer than `attribution` ago. One that is told twice under
    one `outcome_id` counts once. The `end` of an outcome ends the episode with its decision. Who
    decided in place of a policy that could not is kept like any other, with its own probability.

    A window reads the log's hours from `attribution` before it until `attribution` after it.

    Attributes:
        uri: of the folder with the tables `decisions` and `outcomes`. {tables} and {name} stand for
            the application's.
        attribution: how long after a decision an outcome may still be its consequence, "24h".
        metrics: how each metric's events become one number; see `rlbake.join_logs`.
        scores: the decisions in the application's table `scores` count as well: whoever acts on them
            says what followed by their `decision_id`, or by key.
    """

    uri: str = APPLICATIONS_OWN
    attribution: str = "24h"
    metrics: Metrics | None = None
    scores: bool = False
    _read: dict[str, list[tuple[str, str]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        duration(self.attribution)

    def timesteps(self, spark: SparkSession, window: Window, application: Application) -> DataFrame:
        """The decisions of a window, with what was seen and what followed.

        Raises:
            NotFoundError, DataError: the log cannot be read, or is not of this application.
            SpecError: windows are built before their outcomes are in.
        """
        from pyspark.sql import functions as F

        from rlbake.timesteps.join_logs import MAX, join_logs

        refuse_too_early(application, self.attribution)
        decisions = self._decisions(spark, window, application)
        outcomes = self._outcomes(spark, window, application)
        joined = join_logs(
            observations=None,
            decisions=decisions,
            outcomes=outcomes,
            attribution=self.attribution,
            keys=application.keys,
            metrics={**(self.metrics or {}), **dict.fromkeys(_ENDED.values(), MAX)},
            window=window,
        )
        ends = [F.when(F.col(ended) > 0, end) for end, ended in _ENDED.items()]
        return joined.withColumn(v.END, F.coalesce(*ends, F.lit(v.NOT_ENDED))).drop(*_ENDED.values())

    def last_seen(self, spark: SparkSession, window: Window, application: Application) -> DataFrame:
        """Whom to score after a window: everybody who was decided for in it and went on, as last seen.

        Raises:
            NotFoundError, DataError, SpecError: as `timesteps`.
        """
        from pyspark.sql import functions as F

        features = [feature.name for feature in application.observation]
        steps = self.timesteps(spark, window, application)
        last = F.max_by(F.struct(v.END, v.ACTION_MASK, *(f"`{name}`" for name in features)), v.TIMESTAMP)
        seen = steps.groupBy(*application.keys).agg(last.alias(v.OBSERVATION))
        went_on = seen.where(F.col(f"{v.OBSERVATION}.{v.END}") == v.NOT_ENDED)
        return went_on.select(*application.keys, f"{v.OBSERVATION}.*").drop(v.END)

    def lineage(self, window: Window) -> list[tuple[str, str]]:
        """What is read for a window: the tables, with the versions that were last read for it."""
        unread = [(table, f"{self.uri}/{table}") for table in (v.DECISIONS_TABLE, v.OUTCOMES_TABLE)]
        return self._read.get(window.ds, unread)

    def _decisions(self, spark: SparkSession, window: Window, application: Application) -> DataFrame:
        horizon = duration(self.attribution)
        parts: list[tuple[Folder, Span]] = [
            (self._folder(v.DECISIONS_TABLE, application), _Hours(window, before=horizon, after=horizon))
        ]
        scores = Folder(f"{application.tables}/{application.name}/{v.SCORES_TABLE}", format=DELTA, partition=v.DS)
        if self.scores and _exists(scores):
            # A score is dated at the end of the window that it is filed under.
            parts.append((scores, Span(window, before=horizon + application.cadence.every, after=horizon)))
        frames = []
        self._read[window.ds] = []
        for folder, span in parts:
            rows = folder.read(spark, span)
            _refuse_another(folder, rows, application)
            features = [_feature(rows, feature).alias(feature.name) for feature in application.observation]
            decided = [_decided(rows, application.action, name).alias(name) for name in _OF_A_DECISION]
            frames.append(rows.select(*_keys(application), *decided, *features))
            self._read[window.ds].append(
                (v.SCORES_TABLE if folder is scores else v.DECISIONS_TABLE, folder.place(span))
            )
        return reduce(lambda some, more: some.unionByName(more), frames)

    def _outcomes(self, spark: SparkSession, window: Window, application: Application) -> DataFrame:
        """Each outcome once: keys, timestamp, decision id, metrics, and 1 where it ended the episode in either way."""
        from pyspark.sql import Window as Over
        from pyspark.sql import functions as F

        horizon = duration(self.attribution)
        folder = self._folder(v.OUTCOMES_TABLE, application)
        span = _Hours(window, before=max(horizon, CLOCKS_DIFFER), after=horizon)  # what is told again was told there
        rows = folder.read(spark, span)
        _refuse_another(folder, rows, application)
        self._read[window.ds].append((v.OUTCOMES_TABLE, folder.place(span)))
        whole = F.xxhash64(v.TIMESTAMP, *application.keys, v.DECISION_ID, v.METRICS, v.END)
        unnamed = F.col(v.OUTCOME_ID).isNull()
        first = Over.partitionBy(v.OUTCOME_ID, F.when(unnamed, whole)).orderBy(v.TIMESTAMP, whole)
        once = rows.withColumn(_TOLD, F.row_number().over(first)).where(unnamed | (F.col(_TOLD) == 1))
        known = rows.schema[v.METRICS].dataType.fieldNames()  # type: ignore[attr-defined]
        return once.select(
            *_keys(application),
            v.TIMESTAMP,
            v.DECISION_ID,
            *(
                (F.col(f"{v.METRICS}.`{metric}`") if metric in known else F.lit(None).cast("double")).alias(metric)
                for metric in application.metrics
            ),
            *(F.when(F.col(v.END) == end, 1.0).alias(ended) for end, ended in _ENDED.items()),
        )

    def _folder(self, table: str, application: Application) -> Folder:
        folder = self.uri.replace("{tables}", application.tables).replace("{name}", application.name)
        return Folder(f"{folder}/{table}", format=DELTA, partition=v.HOUR)


def _exists(folder: Folder) -> bool:
    from rlbake.warehouse.table import Table

    return Table(folder.path).exists()


def _refuse_another(folder: Folder, rows: DataFrame, application: Application) -> None:
    missing = [key for key in application.keys if key not in rows.columns]
    if missing:
        raise DataError(f"{folder.name} has no key {missing[0]!r}: it is not of application {application.name}.")


def _keys(application: Application) -> list[Column]:
    """As the log has them: strings, whatever their type elsewhere; an environment's id is the same."""
    from pyspark.sql import functions as F

    return [F.col(f"`{key}`").cast("string").alias(key) for key in application.keys]


def _feature(rows: DataFrame, feature: Feature) -> Column:
    """A feature as it was used; NULL in rows from before the application had it."""
    from pyspark.sql import functions as F

    type_ = "double" if isinstance(feature, Number) else "boolean" if isinstance(feature, Binary) else "string"
    known = rows.schema[v.OBSERVATION].dataType.fieldNames()  # type: ignore[attr-defined]
    value = F.col(f"{v.OBSERVATION}.`{feature.name}`") if feature.name in known else F.lit(None)
    return value.cast(type_)


def _decided(rows: DataFrame, action: Action, name: str) -> Column:
    from pyspark.sql import functions as F

    if name != v.ACTION:
        return F.col(name)
    type_ = "string" if isinstance(action, Discrete) else "array<float>" if isinstance(action, Continuous) else None
    return F.col(name).cast(type_ or "array<string>")


def _hour(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H")
