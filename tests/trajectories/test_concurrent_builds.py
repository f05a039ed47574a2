"""Builds at the same time: different windows all land, and of one window one build stays, whole."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from rlbake.trajectories.build import WindowBuild, is_whole
from rlbake.warehouse.content import ContentHash
from rlbake.warehouse.table import Commit, Table
from tests.trajectories.conftest import Row, at, window_of
from tests.turns import at_once, in_turns

Build = Callable[..., WindowBuild]

TABLES = ("timesteps", "open", "trajectories", "quarantine")
PLAYERS = [f"p{number}" for number in range(200)]
BEFORE = [(player, at("1 10:00"), 0.0, "a", 0.0, 0.0, None) for player in PLAYERS]


def logs(day: int, x: float, players: int) -> list[Row]:
    """Two decisions of some players, and one bad row for every hundred of them."""
    some = PLAYERS[:players]
    good = [(p, at(f"{day} {hour}:00"), x, "ab"[hour % 2], 1.0, 0.0, None) for p in some for hour in (10, 11)]
    return good + [(p, at(f"{day} 12:00"), x, "jump", 1.0, 0.0, None) for p in some[::100]]


ANN, BOB = logs(2, 1.0, 100), logs(2, 2.0, 150)  # what two builds of the second of January read


def contents(folder: Path) -> dict[str, dict[str, ContentHash]]:
    return {name: Table(str(folder / name)).contents() for name in TABLES}


def test_builds_of_different_days_all_land(build: Build, tmp_path: Path) -> None:
    days = (1, 3, 5, 7)
    for day in days:
        build(day, logs(day, float(day), 90 + 10 * day), into="one_by_one")
    at_once(*(lambda day=day: build(day, logs(day, float(day), 90 + 10 * day)) for day in days))
    assert contents(tmp_path / "app") == contents(tmp_path / "one_by_one")


def alone(build: Build, tmp_path: Path, name: str, rows: list[Row]) -> dict[str, dict[str, ContentHash]]:
    build(1, BEFORE, into=name)
    build(2, rows, into=name)
    return contents(tmp_path / name)


def test_builds_of_the_same_day_leave_one_of_them_whole(build: Build, tmp_path: Path) -> None:
    build(1, BEFORE)
    at_once(lambda: build(2, ANN), lambda: build(2, BOB))
    assert contents(tmp_path / "app") in [alone(build, tmp_path, "ann", ANN), alone(build, tmp_path, "bob", BOB)]
    assert is_whole(str(tmp_path / "app"), window_of(2))


ORDERS = ["".join("0" if n in zeros else "1" for n in range(6)) for zeros in combinations(range(6), 3) if 0 in zeros]


@pytest.mark.slow
def test_in_whatever_order_they_write(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All orders in which two builds can write their three tables, and the first one begins."""
    build(2, ANN, into="ann")
    build(2, BOB, into="bob")
    one, other = contents(tmp_path / "ann"), contents(tmp_path / "bob")
    for order in ORDERS:
        with monkeypatch.context() as patched:
            in_turns(patched, order)
            at_once(lambda order=order: build(2, ANN, into=order), lambda order=order: build(2, BOB, into=order))
        assert contents(tmp_path / order) in [one, other], order
        assert is_whole(str(tmp_path / order), window_of(2)), order


def test_what_a_killed_build_left_half_done_is_seen(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tmp_path / "app")
    build(1, BEFORE)
    build(2, ANN)
    assert is_whole(folder, window_of(2))
    write = Table.replace_window

    def until_open(table: Table, *arguments: Any, **named: Any) -> Commit:
        if table.uri.endswith("open"):
            raise KeyboardInterrupt
        return write(table, *arguments, **named)

    monkeypatch.setattr(Table, "replace_window", until_open)
    with pytest.raises(KeyboardInterrupt):
        build(2, BOB)
    assert not is_whole(folder, window_of(2))
    monkeypatch.setattr(Table, "replace_window", write)
    build(2, BOB)
    assert is_whole(folder, window_of(2))
    assert contents(tmp_path / "app") == alone(build, tmp_path, "bob", BOB)
