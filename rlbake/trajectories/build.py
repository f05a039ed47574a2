"""Builds one window: bad rows aside, checked timesteps, then what stays open, then trajectories.

The tables are committed in this order, each window of each table in one commit. What a window
leaves open depends only on the window before, so a build that was killed anywhere is made good
by running it again. Of builds of a window at the same time, the last to write trajectories makes
all tables its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from pyspark import StorageLevel
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.errors import DataError, EmptyWindowError
from rlbake.specs import Action, Feature
from rlbake.timesteps import rules
from rlbake.timesteps.contract import BROKEN_RULE, TIMESTEP, Breach, checked, quarantined, verdict
from rlbake.trajectories import pair
from rlbake.warehouse.content import EMPTY, ContentHash
from rlbake.warehouse.table import Commit, Table

SOURCES, TAIL = "sources", "tail"  # what a window of trajectories is built from, as its commit records it

BESIDE = (v.QUARANTINE_TABLE, v.TIMESTEPS_TABLE, v.OPEN_TABLE)
"""The tables that a build writes before the trajectories, whose commit records their content too."""


@dataclass(frozen=True)
class WindowBuild:
    """What building a window did; every decision of the window or left open before it is counted once.

    Attributes:
        window: that was built.
        rows_in: rows the application returned.
        rejected: of them, those that break the contract, which are in the quarantine.
        duplicates: of them, repetitions of identical rows, which were dropped.
        transitions: trajectory rows: `transitions = continued + terminated + truncated`.
        open: decisions that wait for their successor.
        unobserved: truncated decisions without a final observation, which cannot be trained on.
        timed_out: decisions followed by silence longer than the timeout, likewise.
        stray: final observations that no decision leads to.
        breaches: the rules that the rejected rows break.
        commit: of the trajectories table.
        timesteps: commit of the timesteps table.
        left_open: commit of the table of what is open.
    """

    window: Window
    rows_in: int
    rejected: int
    duplicates: int
    transitions: int
    open: int
    unobserved: int
    timed_out: int
    stray: int
    breaches: tuple[Breach, ...]
    commit: Commit
    timesteps: Commit
    left_open: Commit


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
    max_rejected: float = 0.01,
    fatal: Collection[str] = (),
    sources: str = "",
) -> WindowBuild:
    """Replaces one window of the tables by what an application returned for it.

    Args:
        frame: what `timesteps(spark, window)` returned.
        tables: URI of the folder that holds the application's tables.
        previous: the window before; what it left open is completed. If it was never built,
            episodes simply start in this one.
        max_rejected: share of the rows that may break the contract, in [0, 1].
        fatal: names of rules that no row may break.
        sources: digest of what the frame reads; recorded, to know later whether it has changed.

    Raises:
        DataError: too many rows break the contract, or one breaks a fatal rule; they are in the
            quarantine, and no other table has changed.
        EmptyWindowError: there are no rows; no table has changed.
        SpecError: a fatal rule does not exist.
        StorageError: the tables cannot be written.
    """
    refused = rules.known(fatal)
    rows = checked(frame, keys=keys, observation=observation, action=action, metrics=metrics, window=window)
    tail, continued = left_open(frame, tables, previous)
    pairs = pair.paired(rows, tail, episode_timeout=episode_timeout, window=window).persist(StorageLevel.DISK_ONLY)
    commit_ = partial(_replace, tables, window, run_id, config_digest)
    read, fates = Observation(), Observation()
    new, open_, done = _new(pairs, read), pair.still_open(pairs), pair.transitions(_counted(pairs, fates), reward)
    quarantine = partial(_quarantine, tables, window, commit_, quarantined(pairs, rows.rules))
    breaches: list[Breach] = []
    bad = EMPTY

    def judge() -> None:
        nonlocal bad
        seen = _counts(read)
        if not seen["rows_in"]:
            raise no_rows(window)
        bad = quarantine(seen["rejected"])
        if seen["rejected"]:
            breaches.extend(rows.breaches(pairs))
            if refusal := verdict(breaches, rows_in=seen["rows_in"], max_rejected=max_rejected, fatal=refused):
                place = Table(f"{tables}/{v.QUARANTINE_TABLE}").uri
                raise DataError(f"{refusal} All rejected rows are in {place}, ds={window}.")

    try:
        timesteps = commit_(v.TIMESTEPS_TABLE, new, before_commit=judge)
        waiting = commit_(v.OPEN_TABLE, open_)
        beside = zip(BESIDE, map(_said, (bad, timesteps.content, waiting.content)), strict=True)
        inputs = {SOURCES: sources, TAIL: continued, **dict(beside)}
        commit = commit_(v.TRAJECTORIES_TABLE, done, inputs=inputs)
        while _is_held(tables, window, commit, config_digest, inputs) and not is_whole(tables, window):
            quarantine(bad.rows)
            timesteps, waiting = commit_(v.TIMESTEPS_TABLE, new), commit_(v.OPEN_TABLE, open_)
            commit = commit_(v.TRAJECTORIES_TABLE, done, inputs=inputs)
    finally:
        pairs.unpersist()
    return WindowBuild(
        window=window,
        **_counts(read),
        transitions=commit.rows,
        open=waiting.rows,
        **_counts(fates),
        breaches=tuple(breaches),
        commit=commit,
        timesteps=timesteps,
        left_open=waiting,
    )


def left_open(frame: DataFrame, tables: str, previous: Window | None) -> tuple[DataFrame | None, str]:
    """What a window left open, and its content in words; (None, "") if it was never built."""
    table = Table(f"{tables}/{v.OPEN_TABLE}")
    content = tail_content(table, previous)
    if previous is None or not content:
        return None, ""
    version = table.version()
    return table.read(frame.sparkSession, version, [previous.ds]), tail_content(table, previous, version)


def tail_content(table: Table, previous: Window | None, version: int | None = None) -> str:
    """The content of what a window left open, as it is recorded; "" if it was never built."""
    if previous is None or not table.exists() or previous.ds not in table.windows(version):
        return ""
    return _said(table.contents([previous.ds], version)[previous.ds])


def is_whole(tables: str, window: Window) -> bool:
    """Whether all tables hold what the build that wrote a window's trajectories has written.

    Builds of it at the same time, or a later one that was killed, may have left parts of theirs.
    """
    recorded = Table(f"{tables}/{v.TRAJECTORIES_TABLE}").builds([window.ds])[window.ds].inputs
    held = {name: tail_content(Table(f"{tables}/{name}"), window) or _said(EMPTY) for name in BESIDE}
    return all(recorded.get(name, content) == content for name, content in held.items())


def _is_held(tables: str, window: Window, commit: Commit, config_digest: str, inputs: Mapping[str, str]) -> bool:
    """Whether no other build of the window has written trajectories since.

    One that has looks after the tables itself: all that this build wrote, it wrote before.
    """
    held = Table(f"{tables}/{v.TRAJECTORIES_TABLE}").builds([window.ds])[window.ds]
    return (held.content, held.config_digest, held.inputs) == (commit.content, config_digest, inputs)


def _said(content: ContentHash) -> str:
    return f"{content.rows}:{content.xor}:{content.sum}"


def _replace(
    tables: str,
    window: Window,
    run_id: str,
    config_digest: str,
    name: str,
    frame: DataFrame,
    *,
    inputs: Mapping[str, str] | None = None,
    before_commit: Callable[[], None] | None = None,
) -> Commit:
    table = Table(f"{tables}/{name}")
    return table.replace_window(
        frame, window.ds, run_id=run_id, config_digest=config_digest, inputs=inputs, before_commit=before_commit
    )


def _new(pairs: DataFrame, read: Observation) -> DataFrame:
    """The window's own good timesteps, each once."""
    new, copy, bad = F.col(pair.NEW), F.col(pair.COPY), F.col(BROKEN_RULE).isNotNull()
    return (
        pairs.observe(
            read,
            F.count_if(new).alias("rows_in"),
            F.count_if(bad).alias("rejected"),
            F.count_if(copy & ~bad).alias("duplicates"),
        )
        .where(new & ~copy & ~bad)
        .select(*TIMESTEP)
    )


def _counted(pairs: DataFrame, fates: Observation) -> DataFrame:
    lost = {"unobserved": pair.UNOBSERVED, "timed_out": pair.TIMED_OUT, "stray": pair.STRAY}
    return pairs.observe(fates, *(F.count_if(F.col(pair.FATE) == fate).alias(name) for name, fate in lost.items()))


def _counts(observation: Observation) -> dict[str, int]:
    return {name: count or 0 for name, count in observation.get.items()}


def no_rows(window: Window) -> EmptyWindowError:
    """The refusal of a window without rows."""
    return EmptyWindowError(
        f"window {window}: timesteps() returned no rows. Check that the logs of "
        f"[{window.start:%Y-%m-%dT%H:%M}, {window.end:%Y-%m-%dT%H:%M}) UTC are there, or choose another date."
    )


def _quarantine(
    tables: str, window: Window, commit: Callable[..., Commit], bad: DataFrame, rejected: int
) -> ContentHash:
    """Makes the quarantine hold the window's bad rows, and no others."""
    table = Table(f"{tables}/{v.QUARANTINE_TABLE}")
    held = table.exists() and window.ds in table.windows() and table.contents([window.ds])[window.ds] != EMPTY
    written: Commit | None = commit(v.QUARANTINE_TABLE, bad) if rejected or held else None
    return written.content if written else EMPTY
