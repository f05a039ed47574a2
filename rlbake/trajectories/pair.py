"""Joins each timestep with its successor in the same episode.

One shuffle and one sort by environment: the sequence is kept in that order, pairs are read off it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from rlbake import cadence
from rlbake import vocabulary as v
from rlbake.timesteps.contract import BROKEN_RULE, ROW_HASH, TIMESTEP, Checked
from rlbake.trajectories.episodes import starts

COPY = "_copy"  # boolean: the row repeats the one before it
STARTS = "_starts"  # boolean: the timestep is the first of an episode

FATE = "_fate"  # what became of a timestep, one of:
CONTINUED = "continued"  # a decision followed
TERMINATED = "terminated"  # the world ended
CUT = "cut"  # truncated, and its final observation was seen
OPEN = "open"  # the next decision has not been seen yet
UNOBSERVED = "unobserved"  # truncated without a final observation: cannot be trained on
TIMED_OUT = "timed out"  # silence longer than the timeout: neither can this
FINAL = "final"  # itself a final observation
STRAY = "stray"  # a final observation that no decision leads to

TRANSITIONS = (CONTINUED, TERMINATED, CUT)

_NEXT_STARTS = "_next_starts"


def in_sequence(checked: Checked, tail: DataFrame | None, *, episode_timeout: timedelta | None) -> DataFrame:
    """A window's timesteps and those left open before it, each environment's in order of time.

    Args:
        checked: the window's timesteps.
        tail: what the window before left open: timestep columns and `episode`.
        episode_timeout: silence that ends an episode; None: never.

    Returns:
        The timestep columns; `episode`, NULL but on a timestep left open before; `BROKEN_RULE`,
        which now marks conflicts too; `COPY` and `STARTS`. Partitioned by environment.
    """
    in_order = Window.partitionBy(v.ENV_ID).orderBy(v.TIMESTAMP, ROW_HASH)
    same_instant = F.col(v.TIMESTAMP) == F.lag(v.TIMESTAMP).over(in_order)
    same_row = F.col(ROW_HASH) == F.lag(ROW_HASH).over(in_order)
    return _with_tail(checked.rows, tail).select(
        *TIMESTEP,
        v.EPISODE,
        F.coalesce(BROKEN_RULE, F.when(same_instant & ~same_row, F.lit(checked.conflict))).alias(BROKEN_RULE),
        F.coalesce(same_instant & same_row, F.lit(False)).alias(COPY),
        starts(in_order, episode_timeout).alias(STARTS),
    )


def paired(sequence: DataFrame, *, episode_timeout: timedelta | None, window: cadence.Window) -> DataFrame:
    """Every timestep of a sequence with its successor and its fate; copies are dropped.

    Args:
        sequence: see `in_sequence`.
        window: being built; a timestep whose silence lasts beyond its end has timed out.

    Returns:
        The timestep columns; `episode`; next_timestamp, next_observation, next_action and
        next_action_mask, whoever's they are; and `FATE`.
    """
    in_order = Window.partitionBy(v.ENV_ID).orderBy(v.TIMESTAMP)
    so_far = in_order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    episode = F.coalesce(v.EPISODE, F.when(F.col(STARTS), F.col(v.TIMESTAMP)))
    followed = sequence.where(~F.col(COPY)).select(
        *TIMESTEP,
        STARTS,
        F.max(episode).over(so_far).alias(v.EPISODE),
        F.lead(v.TIMESTAMP).over(in_order).alias(v.NEXT_TIMESTAMP),
        F.lead(v.OBSERVATION).over(in_order).alias(v.NEXT_OBSERVATION),
        F.lead(v.ACTION).over(in_order).alias(v.NEXT_ACTION),
        F.lead(v.ACTION_MASK).over(in_order).alias(v.NEXT_ACTION_MASK),
        F.lead(STARTS).over(in_order).alias(_NEXT_STARTS),
    )
    return followed.withColumn(FATE, _fate(episode_timeout, window)).drop(STARTS, _NEXT_STARTS)


def _with_tail(rows: DataFrame, tail: DataFrame | None) -> DataFrame:
    fresh = rows.withColumn(v.EPISODE, F.lit(None).cast("timestamp"))
    if tail is None:
        return fresh
    waiting = tail.select(
        *TIMESTEP, F.lit(None).cast("int").alias(BROKEN_RULE), F.lit(0).cast("long").alias(ROW_HASH), v.EPISODE
    )
    return fresh.union(waiting)


def _fate(timeout: timedelta | None, window: cadence.Window) -> Column:
    decision = F.col(v.ACTION).isNotNull()
    is_last = F.col(v.NEXT_TIMESTAMP).isNull()
    continues = ~is_last & ~F.col(_NEXT_STARTS)
    silent = F.lit(False) if timeout is None else F.lit(window.end - timeout) > F.col(v.TIMESTAMP)
    return (
        F.when(~decision & F.col(STARTS), STRAY)
        .when(~decision, FINAL)
        .when(F.col(v.END) == v.TERMINATED, TERMINATED)
        .when(continues & F.col(v.NEXT_ACTION).isNull(), CUT)
        .when(F.col(v.END) == v.TRUNCATED, UNOBSERVED)
        .when(continues, CONTINUED)
        .when(~is_last | silent, TIMED_OUT)
        .otherwise(OPEN)
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


def _weighted(reward: Mapping[str, float]) -> Column:
    total = F.lit(0.0)
    for metric, weight in reward.items():
        total = total + F.lit(float(weight)) * F.col(f"{v.METRICS}.{metric}").cast("double")
    return total


def _step_type() -> Column:
    return F.when(F.col(v.TIMESTAMP) == F.col(v.EPISODE), F.lit(v.FIRST)).otherwise(F.lit(v.MID))
