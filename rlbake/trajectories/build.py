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
    sequence = pair.in_sequence(rows, tail, episode_timeout=episode_timeout).persist(StorageLevel.DISK_ONLY)
    pairs = pair.paired(sequence, episode_timeout=episode_timeout, window=window)
    replace = partial(_replace, tables, window, run_id, config_digest)
    read, fates = Observation(), Observation()
    try:
        timesteps = replace(v.TIMESTEPS_TABLE, _new(sequence, read), lambda: _judge(rows, read, window))
        waiting = replace(v.OPEN_TABLE, pair.still_open(pairs))
        commit = replace(v.TRAJECTORIES_TABLE, pair.transitions(_counted(pairs, fates), reward))
    finally:
        sequence.unpersist()
    return WindowBuild(
        window=window,
        rows_in=_counts(read)["rows_in"],
        duplicates=_counts(read)["duplicates"],
        transitions=commit.rows,
        open=waiting.rows,
        **_counts(fates),
        commit=commit,
        timesteps=timesteps,
    )


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


def _new(sequence: DataFrame, read: Observation) -> DataFrame:
    """The window's own timesteps, each once."""
    new = F.col(v.EPISODE).isNull()
    return (
        sequence.observe(
            read,
            F.count_if(new).alias("rows_in"),
            F.count_if(pair.COPY).alias("duplicates"),
            F.min(BROKEN_RULE).alias(BROKEN_RULE),
        )
        .where(new & ~F.col(pair.COPY))
        .select(*TIMESTEP)
    )


def _counted(pairs: DataFrame, fates: Observation) -> DataFrame:
    lost = {"unobserved": pair.UNOBSERVED, "timed_out": pair.TIMED_OUT, "stray": pair.STRAY}
    return pairs.observe(fates, *(F.count_if(F.col(pair.FATE) == fate).alias(name) for name, fate in lost.items()))


def _counts(observation: Observation) -> dict[str, int]:
    return {name: count or 0 for name, count in observation.get.items()}


def _judge(rows: Checked, read: Observation, window: Window) -> None:
    if not read.get["rows_in"]:
        raise EmptyWindowError(
            f"window {window}: timesteps() returned no rows. Check that the logs of "
            f"[{window.start:%Y-%m-%dT%H:%M}, {window.end:%Y-%m-%dT%H:%M}) UTC are there, or choose another date."
        )
    rows.judge(read.get[BROKEN_RULE], read.get["rows_in"])
