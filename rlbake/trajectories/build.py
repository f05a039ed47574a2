"""Builds one window: checked timesteps, then what stays open, then trajectories.

The tables are committed in this order, each window of each table in one commit. What a window
leaves open depends only on the window before, so a build that was killed anywhere is made good
by running it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from pyspark import StorageLevel
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.errors import EmptyWindowError
from rlbake.specs import Action, Feature
from rlbake.timesteps.contract import BROKEN_RULE, TIMESTEP, Checked, checked
from rlbake.trajectories import pair
from rlbake.warehouse.table import Commit, Table


@dataclass(frozen=True)
class WindowBuild:
    """What building a window did; every decision of the window or left open before it is counted once.

    Attributes:
        window: that was built.
        rows_in: rows the application returned.
        duplicates: of them, repetitions of identical rows, which were dropped.
        transitions: trajectory rows: `transitions = continued + terminated + truncated`.
        open: decisions that wait for their successor.
        unobserved: truncated decisions without a final observation, which cannot be trained on.
        timed_out: decisions followed by silence longer than the timeout, likewise.
        stray: final observations that no decision leads to.
        commit: of the trajectories table.
        timesteps: commit of the timesteps table.
    """

    window: Window
    rows_in: int
    duplicates: int
    transitions: int
    open: int
    unobserved: int
    timed_out: int
    stray: int
    commit: Commit
    timesteps: Commit


def build_window(
    frame: DataFrame,
    *,
    tables: str,
    keys: Sequence[str],
    observation: Sequence[Feature],
    action: Action,
    metrics: Sequence[str],
    reward: Mapping[str, float],
    window: Window,
    previous: Window | None,
    episode_timeout: timedelta | None,
    run_id: str,
    config_digest: str,
) -> WindowBuild:
    """Replaces one window of the three tables by what an application returned for it.

    Args:
        frame: what `timesteps(spark, window)` returned.
        tables: URI of the folder that holds the application's tables.
        previous: the window before; what it left open is completed. If it was never built,
            episodes simply start in this one.

    Raises:
        DataError: the rows break the contract; no table has changed.
        EmptyWindowError: there are none; no table has changed.
        StorageError: the tables cannot be written.
    """
    rows = checked(frame, keys=keys, observation=observation, action=action, metrics=metrics, window=window)
    tail = _left_open(frame, Table(f"{tables}/{v.OPEN_TABLE}"), previous)
    pairs = pair.paired(rows, tail, episode_timeout=episode_timeout, window=window)
    pairs = pairs.persist(StorageLevel.DISK_ONLY)
    replace = partial(_replace, tables, window, run_id, config_digest)
    try:
        seen = Observation()
        steps = _observed(pairs, seen).where(pair.IN_WINDOW).select(*TIMESTEP)
        timesteps = replace(v.TIMESTEPS_TABLE, steps, lambda: _judge(rows, seen, window))
        replace(v.OPEN_TABLE, pair.still_open(pairs))
        commit = replace(v.TRAJECTORIES_TABLE, pair.transitions(pairs, reward))
    finally:
        pairs.unpersist()
    return WindowBuild(window=window, transitions=commit.rows, commit=commit, timesteps=timesteps, **_counts(seen))


def _replace(
    tables: str,
    window: Window,
    run_id: str,
    config_digest: str,
    name: str,
    frame: DataFrame,
    before_commit: Callable[[], None] | None = None,
) -> Commit:
    table = Table(f"{tables}/{name}")
    return table.replace_window(
        frame, window.ds, run_id=run_id, config_digest=config_digest, before_commit=before_commit
    )


def _left_open(frame: DataFrame, table: Table, previous: Window | None) -> DataFrame | None:
    if previous is None or not table.exists() or previous.ds not in table.windows():
        return None
    return table.read(frame.sparkSession, windows=[previous.ds])


def _observed(pairs: DataFrame, seen: Observation) -> DataFrame:
    fates = {"open": pair.OPEN, "unobserved": pair.UNOBSERVED, "timed_out": pair.TIMED_OUT, "stray": pair.STRAY}
    in_window = F.col(pair.IN_WINDOW)
    return pairs.observe(
        seen,
        F.sum(F.when(in_window, F.col(pair.COPIES))).alias("rows_in"),
        F.sum(F.when(in_window, F.col(pair.COPIES) - 1)).alias("duplicates"),
        F.min(BROKEN_RULE).alias(BROKEN_RULE),
        *(F.count_if(F.col(pair.FATE) == fate).alias(name) for name, fate in fates.items()),
    )


def _counts(seen: Observation) -> dict[str, int]:
    return {name: count or 0 for name, count in seen.get.items() if name != BROKEN_RULE}


def _judge(rows: Checked, seen: Observation, window: Window) -> None:
    counts = _counts(seen)
    if not counts["rows_in"]:
        raise EmptyWindowError(
            f"window {window}: timesteps() returned no rows. Check that the logs of "
            f"[{window.start:%Y-%m-%dT%H:%M}, {window.end:%Y-%m-%dT%H:%M}) UTC are there, or choose another date."
        )
    rows.judge(seen.get[BROKEN_RULE], counts["rows_in"])
