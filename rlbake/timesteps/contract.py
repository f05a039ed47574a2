"""The contract of an application's timesteps, checked while they are built.

Columns and types are checked at once. Rows are marked with the first rule they break; the
caller observes the marks in the job that writes the rows, and decides before it commits, so that
good data is read once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.errors import described_check
from rlbake.specs import Action, Feature
from rlbake.timesteps import columns
from rlbake.timesteps.columns import Specs
from rlbake.timesteps.env_id import env_id
from rlbake.timesteps.rules import CONFLICT, LOGGED_ACTION, OUT_OF_ORDER, Rule, rules
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

MARKS = (v.STEP_TYPE, BROKEN_RULE, ROW_HASH, v.VALUE, v.ROW)
"""Beside the columns of a timestep: `step_type` as logged, NULL if it is not; the broken rule, the
hash, and of a bad row the offending value and the whole row as it came."""

_JSON = {"ignoreNullFields": "false", "timeZone": "UTC", "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"}
_AT, _COUNT, _EXAMPLES = "_at", "_count", 5


@dataclass(frozen=True)
class Breach:
    """A rule, how many rows break it, and which, for example."""

    rule: Rule
    count: int
    examples: tuple[str, ...]

    def described(self, of: int) -> str:
        rule = self.rule
        return described_check(
            rule.problem, where=f"column {rule.where}", count=self.count, of=of, examples=self.examples, fix=rule.fix
        )


@dataclass(frozen=True)
class Checked:
    """Timesteps in their stored form, with marks.

    Attributes:
        rows: the columns of `TIMESTEP` and `MARKS`; bad rows and duplicates are still in.
        rules: what `BROKEN_RULE` counts, in order.
        stepped: whether step_type is logged.
    """

    rows: DataFrame
    rules: tuple[Rule, ...]
    stepped: bool

    @property
    def conflict(self) -> int:
        """The mark of rows that contradict each other: same environment, same instant."""
        return self.rules.index(CONFLICT)

    @property
    def out_of_order(self) -> int:
        """The mark of rows that continue an episode which has ended."""
        return self.rules.index(OUT_OF_ORDER)

    def breaches(self, marked: DataFrame) -> list[Breach]:
        """Which rules some rows break, the most broken first; up to five rows of each are shown.

        Args:
            marked: `ENV_ID`, `TIMESTAMP`, `BROKEN_RULE` and `VALUE`.
        """
        broken = marked.where(F.col(BROKEN_RULE).isNotNull())
        counts = broken.groupBy(BROKEN_RULE).agg(F.count(F.lit(1)).alias(_COUNT)).collect()
        return [
            Breach(self.rules[row[BROKEN_RULE]], row[_COUNT], _shown(broken, row[BROKEN_RULE]))
            for row in sorted(counts, key=lambda row: (-row[_COUNT], row[BROKEN_RULE]))
        ]


def checked(
    frame: DataFrame,
    *,
    keys: Sequence[str],
    observation: Sequence[Feature],
    action: Action,
    metrics: Sequence[str],
    window: Window,
    what: str = "timesteps",
    kept: Mapping[str, Column] | None = None,
) -> Checked:
    """What an application returned for a window, in its stored form and marked by rule.

    Lazy: rows are neither read nor counted here. `what` is what messages call the frame: a
    population to score is a frame of timesteps without actions.

    Raises:
        DataError: a column is missing or of a wrong type.
    """
    specs = Specs(tuple(keys), tuple(observation), action, tuple(metrics))
    columns.require(frame, specs, what)
    stepped = v.STEP_TYPE in frame.columns
    all_rules = rules(specs, window, stepped=stepped)
    stored = frame.select(
        env_id(specs.keys),
        F.col(v.TIMESTAMP),
        columns.observation(specs.observation).alias(v.OBSERVATION),
        columns.action(frame, action).alias(v.ACTION),
        columns.optional(frame, v.ACTION_MASK, "array<boolean>").alias(v.ACTION_MASK),
        columns.optional(frame, v.LOG_PROBABILITY, "float").alias(v.LOG_PROBABILITY),
        columns.metrics(specs.metrics).alias(v.METRICS),
        F.coalesce(columns.optional(frame, v.END, "string"), F.lit(v.NOT_ENDED)).alias(v.END),
        columns.optional(frame, v.POLICY_VERSION, "string").alias(v.POLICY_VERSION),
        columns.optional(frame, v.STEP_TYPE, "int").alias(v.STEP_TYPE),
        F.col(v.ACTION).alias(LOGGED_ACTION),
        F.struct(*(F.col(f"`{name}`") for name in frame.columns)).alias(v.ROW),
        *(column.alias(name) for name, column in (kept or {}).items()),
    )
    hash_ = row_hash(stored.select(*TIMESTEP).schema).alias(ROW_HASH)
    marked = stored.withColumn(BROKEN_RULE, _first_broken(all_rules))
    broken = F.col(BROKEN_RULE).isNotNull()
    rows = marked.select(
        *TIMESTEP,
        v.STEP_TYPE,
        BROKEN_RULE,
        hash_,
        F.when(broken, _offending(all_rules)).alias(v.VALUE),
        F.when(broken, as_json(F.col(v.ROW))).alias(v.ROW),
        *(kept or {}),
    )
    return Checked(rows, all_rules, stepped)


def verdict(breaches: Sequence[Breach], *, rows_in: int, max_rejected: float, fatal: Collection[str]) -> str | None:
    """Why the data must be refused; None if what is rejected is little enough.

    Args:
        breaches: all there are.
        rows_in: rows that were checked, ≥ 1.
        max_rejected: share of them that may be rejected.
        fatal: names of rules that no row may break.
    """
    hit = sorted({breach.rule.name for breach in breaches if breach.rule.name in fatal})
    share = sum(breach.count for breach in breaches) / rows_in
    if not hit and share <= max_rejected:
        return None
    why = (
        f"No row may break {', '.join(hit)} (fatal)."
        if hit
        else f"That is {share:.2%} of the rows, and at most {max_rejected:.2%} may be rejected (max_rejected)."
    )
    return f"{' Also: '.join(breach.described(rows_in) for breach in breaches)} {why}"


def quarantined(marked: DataFrame, all_rules: Sequence[Rule]) -> DataFrame:
    """The bad rows as the quarantine keeps them: key, instant, rule, column, value and the whole row."""

    def of_rule(names: Sequence[str]) -> Column:
        return F.get(F.array(*(F.lit(name) for name in names)), F.col(BROKEN_RULE))

    as_stored = as_json(F.struct(*TIMESTEP))
    return marked.where(F.col(BROKEN_RULE).isNotNull()).select(
        v.ENV_ID,
        v.TIMESTAMP,
        of_rule([rule.name for rule in all_rules]).alias(v.RULE),
        of_rule([rule.where for rule in all_rules]).alias(v.COLUMN),
        v.VALUE,
        F.coalesce(v.ROW, as_stored).alias(v.ROW),
    )


def as_json(row: Column) -> Column:
    """A struct as the quarantine keeps it: with its NULLs, and instants in UTC."""
    return F.to_json(row, _JSON)


def _first_broken(all_rules: Sequence[Rule]) -> Column:
    mark = F.when(F.lit(False), F.lit(0))
    for number, rule in enumerate(all_rules):
        if rule.broken is not None:
            mark = mark.when(rule.broken, F.lit(number))
    return mark


def _offending(all_rules: Sequence[Rule]) -> Column:
    value = F.when(F.lit(False), F.lit(""))
    for number, rule in enumerate(all_rules):
        if rule.shown is not None:
            value = value.when(F.col(BROKEN_RULE) == number, rule.shown.cast("string"))
    return value


def _shown(broken: DataFrame, number: int) -> tuple[str, ...]:
    at = F.unix_micros(v.TIMESTAMP).alias(_AT)
    first = broken.where(F.col(BROKEN_RULE) == number).select(v.ENV_ID, at, v.VALUE).orderBy(v.ENV_ID, _AT, v.VALUE)
    return tuple(_described(row[v.ENV_ID], row[_AT], row[v.VALUE]) for row in first.limit(_EXAMPLES).collect())


def _described(env: str | None, micros: int | None, shown: str | None) -> str:
    time = "NULL" if micros is None else datetime.fromtimestamp(micros / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    row = f"{env if env is not None else 'NULL'} at {time.removesuffix('.000000')}"
    return row if shown is None else f"{row}: {shown}"
