"""ReAgent's table format as timesteps, so that whoever has such tables can move over.

https://github.com/facebookresearch/ReAgent/blob/main/docs/usage.rst describes the format: one row
per decision, whose `reward` is what followed that row's action, as here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from rlbake import vocabulary as v
from rlbake.application import Application
from rlbake.cadence import Window, duration
from rlbake.errors import DataError, SpecError, nearest
from rlbake.sources.rows import WHOLE_DAY, Rows, Span, in_days
from rlbake.specs import Binary, Discrete, Feature, Number

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.types import DataType

MDP_ID = "mdp_id"  # of the episode, unique within a ds
SEQUENCE_NUMBER = "sequence_number"  # integer: order of the states of an episode
STATE_FEATURES = "state_features"  # map<key, double>; a key that is not there is a missing value
ACTION = "action"  # string: name of the action taken
REWARD = "reward"  # double
POSSIBLE_ACTIONS = "possible_actions"  # array<string>; NULL = all
ACTION_PROBABILITY = "action_probability"  # double; NULL = unknown
DS = "ds"  # string: day of the dataset, ISO 8601
COLUMNS = (MDP_ID, SEQUENCE_NUMBER, STATE_FEATURES, ACTION, REWARD, POSSIBLE_ACTIONS, ACTION_PROBABILITY, DS)

OPEN = "open"
LAST = (v.TERMINATED, v.TRUNCATED, OPEN)


@dataclass(frozen=True)
class ReAgent:
    """A table with the columns `COLUMNS`, whose windows are days of `ds`.

    A row's `timestamp` is its `ds` plus `sequence_number` times `step`, unless the source has or
    derives one; `reward` is a metric; `log_probability` is ln `action_probability`; and
    `action_mask` holds which of the application's actions are among the `possible_actions`. One
    that the application does not know makes the mask longer, which the contract refuses.

    Attributes:
        source: reads the table; its `columns` may rename what is called otherwise.
        features: key in `state_features` → feature, such as {"0": "cart_position"}. A feature that
            is not named here must be a column.
        last: what the last row of an `mdp_id` within a `ds` is. "terminated": the world ended with
            it. "truncated": one only stopped looking, so it cannot be trained on. "open": it may go
            on in a later `ds`. ReAgent takes it for the first; only you know.
        step: time from one `sequence_number` to the next; an episode must fit into its day.
    """

    source: Rows
    features: Mapping[str, str]
    last: str = field(kw_only=True)
    step: str = field(default="1s", kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.source, Rows):
            raise SpecError("ReAgent: source must be a Folder, SparkTable or Query.")
        if self.last not in LAST:
            raise SpecError(f"ReAgent: last {self.last!r}. {nearest(str(self.last), LAST)}")
        duration(self.step)
        if self.source.partition is None and DS not in self.source.columns:
            object.__setattr__(self, "source", replace(self.source, partition=DS))

    def lineage(self, window: Window) -> list[tuple[str, str]]:
        """What is read for a window: name and place."""
        return [("timesteps", self.source.place(Span(window)))]

    def timesteps(self, spark: SparkSession, window: Window, application: Application) -> DataFrame:
        """The rows of a window's `ds`, with the columns of a timestep besides their own.

        Raises:
            NotFoundError, DataError: the table cannot be read, or is not in ReAgent's format.
            SpecError: the application's action, features or windows do not fit the format.
        """
        from pyspark.sql import functions as F

        action = self._fitting_action(window, application)
        rows = self.source.rows(spark, Span(window))
        for column in COLUMNS:
            if column not in rows.columns:
                raise DataError(f"{self.source.name} has no column {column!r}. {nearest(column, rows.columns)}")
        rows = rows.where(in_days(DS, Span(window)))
        by_name = {feature.name: feature for feature in application.observation}
        keys = self._key_type(rows)
        added = {name: _feature(F.lit(key).cast(keys), key, by_name[name]) for key, name in self.features.items()}
        if v.TIMESTAMP not in rows.columns:
            added[v.TIMESTAMP] = _instant(duration(self.step))
        if self.last != OPEN:
            added[v.END] = _end(self.last)
        probability = F.col(ACTION_PROBABILITY)
        # Spark's logarithm of what has none is NULL, which would pass for unknown.
        log_probability = F.when(probability > 0, F.ln(probability)).when(probability.isNotNull(), F.lit(float("-inf")))
        added |= {v.LOG_PROBABILITY: log_probability, v.ACTION_MASK: _mask(action)}
        return rows.withColumns(added)

    def _key_type(self, rows: DataFrame) -> DataType:
        """Type of the keys of `state_features`."""
        from pyspark.sql import types as T

        kind = rows.schema[STATE_FEATURES].dataType
        if not (isinstance(kind, T.MapType) and isinstance(kind.valueType, T.NumericType)):
            shown = kind.simpleString()
            raise DataError(f"{self.source.name}: {STATE_FEATURES} is {shown}, not a map of numbers by feature.")
        if isinstance(kind.keyType, T.IntegralType):
            for key in self.features:
                if not key.removeprefix("-").isdecimal():
                    raise SpecError(f"ReAgent: the keys of {STATE_FEATURES} are integers, and {key!r} is none.")
        return kind.keyType

    def _fitting_action(self, window: Window, application: Application) -> Discrete:
        where = f"application {application.name}"
        if not isinstance(application.action, Discrete):
            raise SpecError(f"{where}: ReAgent's actions are names: its action must be Discrete.")
        names = [feature.name for feature in application.observation]
        for key, name in self.features.items():
            if name not in names:
                raise SpecError(f"{where}: ReAgent reads state feature {key!r} as {name!r}. {nearest(name, names)}")
        if (window.end - window.start) % WHOLE_DAY or (window.start.hour, window.start.minute) != (0, 0):
            raise SpecError(f"{where}: ReAgent's ds is a day: the cadence's windows must be whole days in UTC.")
        return application.action


def _instant(step: timedelta) -> Column:
    from pyspark.sql import functions as F

    day = F.unix_date(F.col(DS).cast("date")) * F.lit(WHOLE_DAY // timedelta(microseconds=1))
    return F.timestamp_micros(day + F.col(SEQUENCE_NUMBER).cast("long") * F.lit(step // timedelta(microseconds=1)))


def _end(last: str) -> Column:
    from pyspark.sql import Window as Over
    from pyspark.sql import functions as F

    episode = Over.partitionBy(DS, MDP_ID).rowsBetween(Over.unboundedPreceding, Over.unboundedFollowing)
    return F.when(F.col(SEQUENCE_NUMBER) == F.max(SEQUENCE_NUMBER).over(episode), last).otherwise(v.NOT_ENDED)


def _mask(action: Discrete) -> Column:
    """array<boolean>: one per action in the application's order, then one per action that it does not know."""
    from pyspark.sql import functions as F

    possible = F.col(POSSIBLE_ACTIONS).cast("array<string>")
    names = F.array(*(F.lit(name) for name in action.names))
    known = F.transform(names, lambda name: F.array_contains(possible, name))
    unknown = F.transform(F.array_except(possible, names), lambda name: F.lit(True))
    return F.when(possible.isNotNull(), F.concat(known, unknown))


def _feature(typed: Column, key: str, feature: Feature) -> Column:
    """The value under a key of the state; NULL if it is not there, or is no yes or no for a Binary feature."""
    from pyspark.sql import functions as F

    value = F.try_element_at(F.col(STATE_FEATURES), typed)
    if isinstance(feature, Number):
        return value
    if isinstance(feature, Binary):
        return F.when(value == 1, F.lit(True)).when(value == 0, F.lit(False))
    raise SpecError(
        f"feature {feature.name!r}: state_features holds numbers, and a Category is text: derive it with the "
        f"source's columns, such as {{\"{feature.name}\": \"CASE state_features['{key}'] WHEN 1 THEN 'DE' END\"}}."
    )
