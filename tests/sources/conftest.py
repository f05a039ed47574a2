"""A player sees x, does "a" or "b", and earns clicks; the logs are real files in a folder of the test's own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rlbake import Application, Cadence, Discrete, Number, Window

CADENCE = Cadence(start="2026-01-01", reward_delay="1d")


class Clicks(Application):
    name = "clicks"
    keys = ("player",)
    cadence = CADENCE
    observation = (Number("x"),)
    action = Discrete(["a", "b"])
    metrics = ("click",)
    reward = {"click": 1.0}


def reading(source_: Any, **changes: Any) -> Application:
    """The application with a source, and what else is changed."""
    return type("Reading", (Clicks,), {"source": source_, **changes})()


def at(text: str) -> datetime:
    """The instant of "3 17:30": the third of January 2026, half past five in the afternoon, UTC."""
    day, clock = text.split()
    hour, minute = clock.split(":")
    return datetime(2026, 1, int(day), int(hour), int(minute), tzinfo=UTC)


def window_of(day: int) -> Window:
    return CADENCE.window(f"2026-01-{day:02d}")


def shown(frame: Any, *columns: str) -> list[tuple[Any, ...]]:
    """Some columns of the rows, in order; SQL expressions."""
    return sorted(map(tuple, frame.selectExpr(*columns).collect()), key=str)
