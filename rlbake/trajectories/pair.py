"""Joins each timestep with its successor in the same episode.

One shuffle and one sort by environment. Bad rows and repetitions stay in the sequence, so that all
that is written is read off it, but nothing is paired with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from rlbake import cadence
from rlbake import vocabulary as v
from rlbake.timesteps.contract import BROKEN_RULE, MARKS, ROW_HASH, TIMESTEP, Checked
from rlbake.trajectories.episodes import Timestep, leaves, out_of_order, parted

NEW = "_new"  # boolean: the row is of the window; otherwise it was left open before
COPY = "_copy"  # boolean: the row repeats another one
FATE = "_fate"  # what became of a timestep, one of the following; NULL for a bad row or a copy
CONTINUED = "continued"  # a decision followed
TERMINATED = "terminated"  # the world ended
CUT = "cut"  # truncated, and its final observation was seen
OPEN = "open"  # the next decision, or the final observation, has not been seen yet
UNOBSERVED = "unobserved"  # truncated without a final observation: cannot be trained on
TIMED_OUT = "timed out"  # silence longer than the timeout: neither can this
FINAL = "final"  # itself a final observation
STRAY = "stray"  # a final observation that no decision leads to

TRANSITIONS = (CONTINUED, TERMINATED, CUT)

_THIS, _FOLLOWING, _PRECEDING, _STARTS, _LEFT = "_this", "_following", "_preceding", "_starts", "_left"


def paired(
    checked: Checked, tail: DataFrame | None, *, episode_timeout: timedelta | None, window: cadence.Window
) -> DataFrame:
    """A window's timesteps and those left open before it, each with its successor and its fate.

    Args:
        checked: the window's timesteps.
        tail: what the window before left open: timestep columns and `episode`.
        episode_timeout: silence that ends an episode; None: never.
        window: being built; a timestep whose silence lasts beyond its end has timed out.

    Returns:
        The timestep columns; `episode`; next_timestamp, next_observation, next_action and
        next_action_mask, whoever's they are; `FATE`, `NEW`, `COPY`, and the marks of the contract:
        `BROKEN_RULE`, which now counts conflicts and disorder too, `VALUE` and `ROW`.
    """
    in_order = _in_order()
    judged = _judged(_with_tail(checked.rows, tail), checked)
    kept = F.col(BROKEN_RULE).isNull() & ~F.col(COPY)
    beside = judged.withColumn(_THIS, F.when(kept, F.struct(*TIMESTEP, v.STEP_TYPE))).withColumns(
        {
            _FOLLOWING: F.expr(f"lead({_THIS}, 1) ignore nulls").over(in_order),
            _PRECEDING: F.expr(f"lag({_THIS}, 1) ignore nulls").over(in_order),
        }
    )
    first = F.coalesce(parted(_of(_PRECEDING), F.col, episode_timeout), F.lit(True))
    starts = kept & F.col(v.EPISODE).isNull() & first
    episode = F.coalesce(v.EPISODE, F.when(F.col(_STARTS), F.col(v.TIMESTAMP)))
    following = _of(_FOLLOWING)
    return beside.withColumn(_STARTS, starts).select(
        *TIMESTEP,
        F.max(episode).over(in_order.rowsBetween(Window.unboundedPreceding, Window.currentRow)).alias(v.EPISODE),
        following(v.TIMESTAMP).alias(v.NEXT_TIMESTAMP),
        following(v.OBSERVATION).alias(v.NEXT_OBSERVATION),
        following(v.ACTION).alias(v.NEXT_ACTION),
        following(v.ACTION_MASK).alias(v.NEXT_ACTION_MASK),
        F.when(kept, _fate(episode_timeout, window)).alias(FATE),
        NEW,
        COPY,
        BROKEN_RULE,
        v.VALUE,
        v.ROW,
    )


def transitions(pairs: DataFrame, reward: Mapping[str, float]) -> DataFrame:
    """The pairs that can be trained on, as trajectory rows; see `rlbake.vocabulary`."""
    fate = F.col(FATE)
    ended = fate == TERMINATED
    at_end = fate != CONTINUED
    gap = (F.unix_micros(v.NEXT_TIMESTAMP) - F.unix_micros(v.TIMESTAMP)) / 1e6

    def unless_terminated(value: Column) -> Column:
        return F.when(~ended, value)

    return pairs.where(fate.isin(*TRANSITIONS)).select(
        v.ENV_ID,
        v.EPISODE,
        v.TIMESTAMP,
        unless_terminated(F.col(v.NEXT_TIMESTAMP)).alias(v.NEXT_TIMESTAMP),
        v.OBSERVATION,
        unless_terminated(F.col(v.NEXT_OBSERVATION)).alias(v.NEXT_OBSERVATION),
        v.ACTION,
        F.when(~at_end, F.col(v.NEXT_ACTION)).alias(v.NEXT_ACTION),
        v.ACTION_MASK,
        unless_terminated(F.col(v.NEXT_ACTION_MASK)).alias(v.NEXT_ACTION_MASK),
        v.LOG_PROBABILITY,
        v.METRICS,
        _weighted(reward).alias(v.REWARD),
        F.when(ended, F.lit(0.0)).otherwise(F.lit(1.0)).cast("float").alias(v.DISCOUNT),
        _step_type().alias(v.STEP_TYPE),
        F.when(at_end, F.lit(v.LAST)).otherwise(F.lit(v.MID)).alias(v.NEXT_STEP_TYPE),
        F.when(ended, v.TERMINATED).when(at_end, v.TRUNCATED).otherwise(v.NOT_ENDED).alias(v.END),
        unless_terminated(gap).alias(v.TIME_GAP),
        v.POLICY_VERSION,
    )


def still_open(pairs: DataFrame) -> DataFrame:
    """The decisions whose successor has not been seen: timestep columns and `episode`."""
    return pairs.where(F.col(FATE) == OPEN).select(*TIMESTEP, v.EPISODE)


def _with_tail(rows: DataFrame, tail: DataFrame | None) -> DataFrame:
    fresh = rows.withColumns({v.EPISODE: F.lit(None).cast("timestamp"), NEW: F.lit(True)})
    if tail is None:
        return fresh
    types = {field.name: field.dataType for field in rows.schema}
    unmarked = [F.lit(None).cast(types[mark]).alias(mark) for mark in MARKS]
    return fresh.union(tail.select(*TIMESTEP, *unmarked, v.EPISODE, F.lit(False)))


def _judged(rows: DataFrame, checked: Checked) -> DataFrame:
    """Rows with `COPY` and with the rules that only neighbours show, each environment's in order of time."""
    at_once = Window.partitionBy(v.ENV_ID, v.TIMESTAMP).orderBy(BROKEN_RULE, ROW_HASH)
    all_at_once = at_once.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    unbroken = F.col(BROKEN_RULE).isNull()
    hash_ = F.when(unbroken, F.col(ROW_HASH))
    conflicting = F.min(hash_).over(all_at_once) != F.max(hash_).over(all_at_once)
    repeated = F.col(ROW_HASH) == F.lag(hash_).over(at_once)
    judged = rows.repartition(v.ENV_ID).withColumns(
        {
            COPY: F.coalesce(unbroken & repeated, F.lit(False)),
            BROKEN_RULE: F.when(unbroken & conflicting, F.lit(checked.conflict)).otherwise(F.col(BROKEN_RULE)),
        }
    )
    if not checked.stepped:
        return judged
    kept = F.col(BROKEN_RULE).isNull() & ~F.col(COPY)
    earlier = _in_order().rowsBetween(Window.unboundedPreceding, -1)
    left = F.last(F.when(kept, leaves(F.col)), ignorenulls=True).over(earlier)
    disordered = F.when(kept & out_of_order(F.col, F.col(_LEFT)), F.lit(checked.out_of_order))
    return judged.withColumn(_LEFT, left).withColumn(BROKEN_RULE, F.coalesce(disordered, BROKEN_RULE)).drop(_LEFT)


def _in_order() -> WindowSpec:
    return Window.partitionBy(v.ENV_ID).orderBy(v.TIMESTAMP)


def _of(neighbour: str) -> Timestep:
    return lambda column: F.col(f"{neighbour}.{column}")


def _fate(timeout: timedelta | None, window: cadence.Window) -> Column:
    following = _of(_FOLLOWING)
    decision = F.col(v.ACTION).isNotNull()
    is_last = following(v.TIMESTAMP).isNull()
    continues = F.coalesce(~parted(F.col, following, timeout), F.lit(False))
    silent = F.lit(False) if timeout is None else F.lit(window.end - timeout) > F.col(v.TIMESTAMP)
    given_up = ~is_last | silent
    return (
        F.when(~decision & F.col(_STARTS), STRAY)
        .when(~decision, FINAL)
        .when(F.col(v.END) == v.TERMINATED, TERMINATED)
        .when(continues & following(v.ACTION).isNull(), CUT)
        .when((F.col(v.END) == v.TRUNCATED) & given_up, UNOBSERVED)
        .when(continues, CONTINUED)
        .when(given_up, TIMED_OUT)
        .otherwise(OPEN)
    )


def _weighted(reward: Mapping[str, float]) -> Column:
    total = F.lit(0.0)
    for metric, weight in reward.items():
        total = total + F.lit(float(weight)) * F.col(f"{v.METRICS}.{metric}").cast("double")
    return total


def _step_type() -> Column:
    return F.when(F.col(v.TIMESTAMP) == F.col(v.EPISODE), F.lit(v.FIRST)).otherwise(F.lit(v.MID))
