"""Whom to score, checked before anything is decided.

A row of a population is a timestep without a decision, so the contract of timesteps holds for
it; beside that, everybody is in it once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as Over
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.errors import DataError
from rlbake.policies.exploration import ROUNDING
from rlbake.specs import Action, Continuous, Discrete, Feature, MultiDiscrete
from rlbake.timesteps import contract
from rlbake.timesteps.columns import OPTIONAL
from rlbake.timesteps.contract import BROKEN_RULE, ROW_HASH, Breach
from rlbake.timesteps.rules import Rule

_STORED = {Discrete: "int", MultiDiscrete: "array<int>", Continuous: "array<float>"}
_KEPT, _COPY, _HASH = "_kept_{}", "_copy", "_hash"
_ROWS, _GOOD, _REPEATED = "rows", "good", "repeated"


@dataclass(frozen=True)
class Population:
    """Who can be decided on, and who cannot.

    Attributes:
        rows: the keys, the features and the mask where there is one; each environment once.
        rejected: the other rows, as `contract.quarantined` has them; repetitions of a row are in neither.
        breaches: why; the rules that most rows break come first.
        rows_in: rows that were given.
        left: in `rows`.
    """

    rows: DataFrame
    rejected: DataFrame
    breaches: tuple[Breach, ...]
    rows_in: int
    left: int


@contextmanager
def checked(
    population: DataFrame,
    *,
    keys: Sequence[str],
    observation: Sequence[Feature],
    action: Action,
    window: Window,
    floor: float = 0.0,
) -> Iterator[Population]:
    """Looks at every row, and keeps what it has read until the block ends.

    Args:
        population: the keys, one column per feature, optionally `action_mask`; whatever else it has is not looked at.
        floor: least probability that every allowed action is to have.

    Raises:
        DataError: nobody is in it, or a column is missing or of a wrong type.
    """
    wanted = [*keys, *(feature.name for feature in observation)]
    wanted += [v.ACTION_MASK] if v.ACTION_MASK in population.columns else []
    twice = [name for name in wanted if population.columns.count(name) > 1]
    if twice:
        raise DataError(f"population: it has two columns named {twice[0]!r}. Keep one.")
    if set(wanted) <= set(population.columns):
        population = population.select(*wanted)
    marked = contract.checked(
        _undecided(population, action, window),
        keys=keys,
        observation=observation,
        action=action,
        metrics=(),
        window=window,
        what="population",
        kept={_KEPT.format(n): F.col(f"`{name}`") for n, name in enumerate(wanted)},
    )
    if floor:
        marked = _marked_by(_floor_rule(floor, action), marked)
    population.persist()
    try:
        yield _judged(population, marked, window)
    finally:
        population.unpersist()


def _undecided(population: DataFrame, action: Action, window: Window) -> DataFrame:
    reserved = {v.TIMESTAMP, v.ACTION, *OPTIONAL} - {v.ACTION_MASK}
    nothing = F.lit(None).cast(_STORED[type(action)])
    return population.drop(*reserved).withColumns({v.TIMESTAMP: F.lit(window.start), v.ACTION: nothing})


def _floor_rule(floor: float, action: Action) -> Rule:
    mask = F.col(v.ACTION_MASK)
    allowed = F.coalesce(F.size(F.filter(mask, lambda one: one)), F.lit(len(action.joint())))  # type: ignore[union-attr]
    return Rule(
        "floor",
        f"mask that allows more actions than can have a probability of {floor:g} each",
        v.ACTION_MASK,
        allowed * F.lit(floor) > 1 + ROUNDING,
        mask,
        "Lower the floor.",
    )


def _marked_by(rule: Rule, marked: contract.Checked) -> contract.Checked:
    """One more rule, for rows that break none of the others."""
    assert rule.broken is not None
    assert rule.shown is not None
    number = F.when(F.col(BROKEN_RULE).isNull() & rule.broken, F.lit(len(marked.rules)))
    rows = marked.rows.withColumn(v.VALUE, F.coalesce(v.VALUE, F.when(number.isNotNull(), rule.shown.cast("string"))))
    return replace(
        marked, rows=rows.withColumn(BROKEN_RULE, F.coalesce(BROKEN_RULE, number)), rules=(*marked.rules, rule)
    )


def _judged(population: DataFrame, marked: contract.Checked, window: Window) -> Population:
    good = F.col(BROKEN_RULE).isNull()
    environments = marked.rows.groupBy(F.xxhash64(v.ENV_ID).alias(_HASH))
    counted = environments.agg(F.count(F.lit(1)).alias(_ROWS), F.count_if(good).alias(_GOOD))
    repeated = F.count_if(F.col(_GOOD) > 1).alias(_REPEATED)
    seen = counted.agg(F.sum(_ROWS).alias(_ROWS), F.sum(_GOOD).alias(_GOOD), repeated).first()
    if seen is None or not seen[_ROWS]:
        raise DataError(f"population: nobody is in it at {window}. Check that its sources hold this date.")
    rows = _without_repetitions(marked) if seen[_REPEATED] else marked.rows
    rows = rows.withColumn(v.TIMESTAMP, F.lit(window.end))
    whole = F.struct(*(F.col(_KEPT.format(n)).alias(name) for n, name in enumerate(population.columns)))
    rejected = contract.quarantined(rows.withColumn(v.ROW, contract.as_json(whole)), marked.rules)
    if seen[_GOOD] == seen[_ROWS] and not seen[_REPEATED]:
        return Population(population, rejected, (), seen[_ROWS], seen[_ROWS])
    breaches = tuple(marked.breaches(rows))
    left = rows.where(good).select(*(F.col(_KEPT.format(n)).alias(name) for n, name in enumerate(population.columns)))
    return Population(left, rejected, breaches, seen[_ROWS], left.count())


def _without_repetitions(marked: contract.Checked) -> DataFrame:
    """Of good rows of the same environment the first if they are identical; else all are marked as contradictory."""
    good = F.col(BROKEN_RULE).isNull()
    same = Over.partitionBy(v.ENV_ID, good)

    def over(what: Column) -> Column:
        return what.over(same)

    contradict = good & (over(F.min(ROW_HASH)) != over(F.max(ROW_HASH)))
    copy = good & (F.row_number().over(same.orderBy(ROW_HASH)) > 1)
    rows = marked.rows.withColumns(
        {_COPY: copy & ~contradict, BROKEN_RULE: F.when(contradict, marked.conflict).otherwise(F.col(BROKEN_RULE))}
    )
    return rows.where(~F.col(_COPY)).drop(_COPY)
