"""Has the writes of builds that run at the same time happen in a given order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from rlbake.warehouse.table import Commit, Table

T = TypeVar("T")


class Turns:
    """Who may write next, by name; whoever has no turn left, or never had one, is free."""

    def __init__(self, order: Sequence[str]) -> None:
        self._left = list(order)
        self._changed = threading.Condition()

    def take(self, who: str, write: Callable[[], Commit]) -> Commit:
        with self._changed:
            assert self._changed.wait_for(lambda: who not in self._left or self._left[0] == who, timeout=300)
        try:
            return write()
        finally:
            with self._changed:
                if who in self._left:
                    self._left.remove(who)
                self._changed.notify_all()


def in_turns(monkeypatch: pytest.MonkeyPatch, order: Sequence[str]) -> None:
    """Threads named in an order write timesteps, open and trajectories each when it is its turn."""
    turns, write = Turns(order), Table.replace_window

    def taking_turns(table: Table, *arguments: Any, **named: Any) -> Commit:
        if table.uri.endswith("quarantine"):  # written within the turn of the timesteps
            return write(table, *arguments, **named)
        return turns.take(threading.current_thread().name, lambda: write(table, *arguments, **named))

    monkeypatch.setattr(Table, "replace_window", taking_turns)


def at_once(*builds: Callable[[], T]) -> list[T]:
    """Runs builds at the same time, in threads named "0", "1", …"""

    def named(number: int) -> T:
        threading.current_thread().name = str(number)
        return builds[number]()

    with ThreadPoolExecutor(len(builds)) as pool:
        return list(pool.map(named, range(len(builds))))
