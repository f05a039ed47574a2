"""The contract of an application's timesteps, checked while they are built.

Columns and types are checked at once. Rows are marked with the first rule they break; the
caller observes the marks in the job that writes the rows, and asks for the verdict before it
commits, so that good data is read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.errors import failed_check
from rlbake.specs import Action, Feature
from rlbake.timesteps import columns
from rlbake.timesteps.columns import Specs
from rlbake.timesteps.env_id import env_id
from rlbake.timesteps.rules import LOGGED_ACTION, Rule, rules
from rlbake.warehouse.parquet import row_hash

TIMESTEP = (
    v.ENV_ID,
    v.TIMESTAMP,
    v.OBSERVATION,
    v.ACTION,
    v.ACTION_MASK,
    v.LOG_PROBABILITY,
    v.METRICS,
    v.END,
    v.POLICY_VERSION,
)
BROKEN_RULE = "_broken_rule"  # int: index of the first rule that the row breaks; NULL on a good row
ROW_HASH = "_row_hash"  # long: equal for identical rows

_SHOWN, _AT = "_shown", "_at"


@dataclass(frozen=True)
class Checked:
    """Timesteps in their stored form, with marks.

    Attributes:
        rows: the columns of `TIMESTEP`, `BROKEN_RULE` and `ROW_HASH`; bad rows and duplicates
            are still in.
        rules: what `BROKEN_RULE` counts, in order; the one after the last is `conflict`.
    """

    rows: DataFrame
    rules: tuple[Rule, ...]
    _logged: DataFrame

    @property
    def conflict(self) -> int:
        """The mark of rows that contradict each other: same environment, same instant."""
        return len(self.rules)

    def judge(self, first_broken: int | None, rows: int) -> None:
        """Passes or refuses the data, given the smallest mark that was seen among its rows.

        Raises:
            DataError: with the rule, the column, the count and up to five rows; only now is the
                data read a second time.
        """
        if first_broken is None:
            return
        if first_broken == self.conflict:
            self._refuse_conflicts(rows)
        rule = self.rules[first_broken]
        marked = self._logged.withColumn(BROKEN_RULE, _first_broken(self.rules)).where(
            F.col(BROKEN_RULE) == first_broken
        )
        shown = F.lit(None) if rule.shown is None else rule.shown
        at = F.unix_micros(v.TIMESTAMP).alias(_AT)
        examples = marked.select(v.ENV_ID, at, shown.cast("string").alias(_SHOWN)).orderBy(v.ENV_ID, _AT).limit(5)
        raise failed_check(
            rule.problem,
            where=f"column {rule.where}",
            count=marked.count(),
            of=rows,
            examples=[_described(row[v.ENV_ID], row[_AT], row[_SHOWN]) for row in examples.collect()],
            fix=rule.fix,
        )

    def _refuse_conflicts(self, rows: int) -> None:
        at = F.unix_micros(v.TIMESTAMP).alias(_AT)
        count = F.count(F.lit(1)).alias("count")
        groups = (
            self.rows.groupBy(v.ENV_ID, at)
            .agg(count, F.count_distinct(ROW_HASH).alias("distinct"))
            .where(F.col("distinct") > 1)
        )
        total = groups.agg(F.sum("count")).first()
        examples = groups.orderBy(v.ENV_ID, _AT).limit(5).collect()
        raise failed_check(
            "rows that contradict each other",
            where="same key and timestamp, other values",
            count=total[0] if total else 0,
            of=rows,
            examples=[_described(row[v.ENV_ID], row[_AT], f"{row['distinct']} versions") for row in examples],
            fix="An environment makes one decision at a time: keep one row, or add what tells them apart to the keys.",
        )


def checked(
    frame: DataFrame,
    *,
    keys: Sequence[str],
    observation: Sequence[Feature],
    action: Action,
    metrics: Sequence[str],
    window: Window,
    what: str = "timesteps",
) -> Checked:
    """What an application returned for a window, in its stored form and marked by rule.

    Lazy: rows are neither read nor counted here. `what` is what messages call the frame: a
    population to score is a frame of timesteps without actions.

    Raises:
        DataError: a column is missing or of a wrong type.
    """
    specs = Specs(tuple(keys), tuple(observation), action, tuple(metrics))
    columns.require(frame, specs, what)
    logged = frame.select(
        env_id(specs.keys),
        F.col(v.TIMESTAMP),
        columns.observation(specs.observation).alias(v.OBSERVATION),
        columns.action(frame, action).alias(v.ACTION),
        columns.optional(frame, v.ACTION_MASK, "array<boolean>").alias(v.ACTION_MASK),
        columns.optional(frame, v.LOG_PROBABILITY, "float").alias(v.LOG_PROBABILITY),
        columns.metrics(specs.metrics).alias(v.METRICS),
        F.coalesce(columns.optional(frame, v.END, "string"), F.lit(v.NOT_ENDED)).alias(v.END),
        columns.optional(frame, v.POLICY_VERSION, "string").alias(v.POLICY_VERSION),
        F.col(v.ACTION).alias(LOGGED_ACTION),
    )
    all_rules = rules(specs, window)
    hash_ = row_hash(logged.drop(LOGGED_ACTION).schema).alias(ROW_HASH)
    rows = logged.select(*TIMESTEP, _first_broken(all_rules).alias(BROKEN_RULE), hash_)
    return Checked(rows, all_rules, logged)


def _first_broken(all_rules: Sequence[Rule]) -> Column:
    mark = F.when(F.lit(False), F.lit(0))
    for number, rule in enumerate(all_rules):
        mark = mark.when(rule.broken, F.lit(number))
    return mark


def _described(env: str | None, micros: int | None, shown: str | None) -> str:
    time = "NULL" if micros is None else datetime.fromtimestamp(micros / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    row = f"{env if env is not None else 'NULL'} at {time.removesuffix('.000000')}"
    return row if shown is None else f"{row}: {shown}"
