"""Truth tables: a few rows in, exact rows out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from rlbake.errors import DataError
from rlbake.trajectories.build import WindowBuild
from rlbake.warehouse.table import Table
from tests.trajectories.conftest import Row, at

Build = Callable[..., WindowBuild]
RowsOf = Callable[..., list[Row]]

CLOCK = "date_format({}, 'd HH:mm')"
PAIR = [
    "env_id",
    CLOCK.format("episode"),
    CLOCK.format("timestamp"),
    CLOCK.format("next_timestamp"),
    "observation.x",
    "next_observation.x",
    "action",
    "next_action",
    "discount",
    "step_type",
    "next_step_type",
    "end",
    "time_gap",
]
WAITING = ["env_id", CLOCK.format("episode"), CLOCK.format("timestamp"), "observation.x", "action"]

FIRST, MID, LAST = 0, 1, 2


def test_terminated_truncated_and_open(build: Build, rows_of: RowsOf) -> None:
    built = build(
        1,
        [
            ("ann", at("1 10:00"), 1.0, "a", 0.0, 0.0, None),
            ("ann", at("1 11:00"), 2.0, "b", 0.0, 0.0, "none"),
            ("ann", at("1 12:00"), 3.0, "a", 0.0, 0.0, "terminated"),
            ("ann", at("1 13:00"), 4.0, "a", 0.0, 0.0, None),  # a new episode
            ("bob", at("1 10:00"), 1.0, "b", 0.0, 0.0, "truncated"),
            ("bob", at("1 10:30"), 2.0, None, None, None, None),  # what followed the cut
            ("bob", at("1 11:00"), 3.0, "a", 0.0, 0.0, "truncated"),  # cut, and nothing was seen of its end
            ("bob", at("1 12:00"), 4.0, "a", 0.0, 0.0, "truncated"),  # cut, and what followed may come later
            ("cat", at("1 10:00"), 1.0, "a", 0.0, 0.0, None),
            ("cat", at("1 11:00"), 2.0, None, None, None, "truncated"),  # cut, said only by what followed
        ],
    )
    assert rows_of("trajectories", 1, PAIR) == [
        ("ann", "1 10:00", "1 10:00", "1 11:00", 1.0, 2.0, 0, 1, 1.0, FIRST, MID, "none", 3600.0),
        ("ann", "1 10:00", "1 11:00", "1 12:00", 2.0, 3.0, 1, 0, 1.0, MID, MID, "none", 3600.0),
        ("ann", "1 10:00", "1 12:00", None, 3.0, None, 0, None, 0.0, MID, LAST, "terminated", None),
        ("bob", "1 10:00", "1 10:00", "1 10:30", 1.0, 2.0, 1, None, 1.0, FIRST, LAST, "truncated", 1800.0),
        ("cat", "1 10:00", "1 10:00", "1 11:00", 1.0, 2.0, 0, None, 1.0, FIRST, LAST, "truncated", 3600.0),
    ]
    assert rows_of("open", 1, WAITING) == [
        ("ann", "1 13:00", "1 13:00", 4.0, 0),
        ("bob", "1 12:00", "1 12:00", 4.0, 0),
    ]
    assert len(rows_of("timesteps", 1, ["env_id"])) == 10
    assert (built.rows_in, built.transitions, built.open, built.unobserved) == (10, 5, 2, 1)
    assert (built.duplicates, built.timed_out, built.stray) == (0, 0, 0)


def test_an_open_decision_is_completed_by_a_later_window(build: Build, rows_of: RowsOf) -> None:
    build(1, [("ann", at("1 08:00"), 1.0, "a", 1.0, 0.0, None), ("ann", at("1 20:00"), 2.0, "b", 1.0, 4.0, None)])
    build(2, [("bob", at("2 08:00"), 9.0, "a", 0.0, 0.0, None)])
    assert rows_of("open", 2, WAITING) == [
        ("ann", "1 08:00", "1 20:00", 2.0, 1),
        ("bob", "2 08:00", "2 08:00", 9.0, 0),
    ]
    built = build(3, [("ann", at("3 01:00"), 3.0, "a", 0.0, 0.0, "terminated")])
    assert rows_of("trajectories", 3, [*PAIR, "reward"]) == [
        ("ann", "1 08:00", "1 20:00", "3 01:00", 2.0, 3.0, 1, 0, 1.0, MID, MID, "none", 29 * 3600.0, 0.0),
        ("ann", "1 08:00", "3 01:00", None, 3.0, None, 0, None, 0.0, MID, LAST, "terminated", None, 0.0),
    ]
    assert rows_of("timesteps", 3, ["env_id"]) == [("ann",)]
    assert rows_of("open", 3, WAITING) == []
    assert (built.rows_in, built.transitions, built.timed_out) == (1, 2, 1)  # bob is silent for over 30 hours


def test_a_final_observation_may_come_in_the_next_window(build: Build, rows_of: RowsOf) -> None:
    build(1, [("ann", at("1 23:00"), 1.0, "a", 0.0, 0.0, None)])
    build(2, [("ann", at("2 00:00"), 2.0, None, None, None, None)])
    assert rows_of("trajectories", 2, ["end", "discount", "next_observation.x", "next_action"]) == [
        ("truncated", 1.0, 2.0, None)
    ]


def test_silence_ends_an_episode(build: Build, rows_of: RowsOf) -> None:
    rows = [
        ("ann", at("1 01:00"), 1.0, "a", 0.0, 0.0, None),
        ("ann", at("1 03:00"), 2.0, "a", 0.0, 0.0, None),  # exactly the timeout later
        ("ann", at("1 05:01"), 3.0, "a", 0.0, 0.0, None),  # a minute more
        ("bob", at("1 21:59"), 3.0, "a", 0.0, 0.0, None),  # nothing can follow in time
        ("cat", at("1 22:00"), 3.0, "a", 0.0, 0.0, None),  # midnight would be in time
    ]
    built = build(1, rows, timeout=timedelta(hours=2))
    assert rows_of("trajectories", 1, ["env_id", "observation.x", "time_gap"]) == [("ann", 1.0, 7200.0)]
    assert rows_of("open", 1, WAITING) == [("cat", "1 22:00", "1 22:00", 3.0, 0)]
    assert (built.transitions, built.open, built.timed_out) == (1, 1, 3)
    never = build(1, rows, timeout=None, into="never")
    assert (never.transitions, never.open, never.timed_out) == (2, 3, 0)


def test_a_final_observation_that_follows_nothing_is_counted(build: Build) -> None:
    rows = [
        ("ann", at("1 01:00"), 1.0, "a", 0.0, 0.0, "terminated"),
        ("ann", at("1 02:00"), 2.0, None, None, None, None),
        ("bob", at("1 02:00"), 2.0, None, None, None, None),
    ]
    built = build(1, rows)
    assert (built.transitions, built.open, built.stray) == (1, 0, 2)


def test_reward_is_the_weighted_sum_of_what_followed_the_action(build: Build, rows_of: RowsOf) -> None:
    build(
        1,
        [
            ("ann", at("1 01:00"), 1.0, "a", 3.0, 1.0, None),
            ("ann", at("1 02:00"), 2.0, "b", 1.0, 0.0, "terminated"),
        ],
    )
    assert rows_of("trajectories", 1, ["metrics.click", "metrics.cost", "reward"]) == [
        (3.0, 1.0, 2.0 * 3 - 0.5 * 1),
        (1.0, 0.0, 2.0),
    ]


def test_identical_rows_are_one_row(build: Build, rows_of: RowsOf) -> None:
    row = ("ann", at("1 01:00"), 1.0, "a", 3.0, 1.0, None)
    after = ("ann", at("1 02:00"), 2.0, "a", 0.0, 0.0, "terminated")
    built = build(1, [row, after, row, row, after])
    assert (built.rows_in, built.duplicates, built.transitions, built.timesteps.rows) == (5, 3, 2, 2)
    assert rows_of("trajectories", 1, PAIR) == [
        ("ann", "1 01:00", "1 01:00", "1 02:00", 1.0, 2.0, 0, 0, 1.0, FIRST, MID, "none", 3600.0),
        ("ann", "1 01:00", "1 02:00", None, 2.0, None, 0, None, 0.0, MID, LAST, "terminated", None),
    ]


def test_without_the_window_before_episodes_start_afresh(build: Build, rows_of: RowsOf) -> None:
    build(1, [("ann", at("1 23:00"), 1.0, "a", 0.0, 0.0, None)])
    build(3, [("ann", at("3 01:00"), 2.0, "a", 0.0, 0.0, None)])
    assert rows_of("open", 3, WAITING) == [("ann", "3 01:00", "3 01:00", 2.0, 0)]
    assert rows_of("trajectories", 3, ["env_id"]) == []


def test_bad_rows_change_no_table(build: Build, tmp_path: Path) -> None:
    good = ("ann", at("1 01:00"), 1.0, "a", 0.0, 0.0, None)
    build(1, [good])
    before = {name: Table(str(tmp_path / "app" / name)).version() for name in ("timesteps", "open", "trajectories")}
    with pytest.raises(DataError, match=r"unknown action \(column action\): 1 of 2 rows, for example ann at .*: jump"):
        build(1, [good, ("ann", at("1 02:00"), 1.0, "jump", 0.0, 0.0, None)])
    with pytest.raises(
        DataError, match=r"contradict each other .*: 2 of 3 rows, for example ann at 2026-01-01T01:00:00"
    ):
        build(1, [good, ("ann", at("1 01:00"), 2.0, "a", 0.0, 0.0, None), ("bob", *good[1:])])
    with pytest.raises(DataError, match="window 2026-01-01: timesteps\\(\\) returned no rows"):
        build(1, [])
    after = {name: Table(str(tmp_path / "app" / name)).version() for name in before}
    assert after == before
    assert sum(1 for _ in (tmp_path / "app" / "timesteps").glob("ds=*/*")) == 1  # the refused files are gone


def test_a_rebuild_changes_nothing(build: Build, tmp_path: Path, spark: SparkSession) -> None:
    rows = [(f"p{i % 7}", at(f"1 {i % 23:02d}:{i % 60:02d}"), float(i), "a", 1.0, 0.0, None) for i in range(40)]
    first = build(1, rows)
    again = build(1, reversed(rows))
    assert first.commit.changed
    assert not again.commit.changed
    assert not again.timesteps.changed
    for name in ("timesteps", "open", "trajectories"):
        assert Table(str(tmp_path / "app" / name)).version() == 0
