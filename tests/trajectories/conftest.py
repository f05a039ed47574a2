"""One tiny application: a player sees x, does "a" or "b", and earns clicks and spends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from rlbake import Cadence, Discrete, Number, Window
from rlbake.trajectories.build import WindowBuild, build_window
from rlbake.warehouse.table import Table

CADENCE = Cadence(start="2026-01-01")
SCHEMA = "player string, timestamp timestamp, x double, action string, click double, cost double, end string"
TIMEOUT = timedelta(hours=30)

Row = tuple[Any, ...]


def at(text: str) -> datetime:
    """The instant of "3 17:30": the third of January 2026, half past five in the afternoon."""
    day, clock = text.split()
    hour, minute = clock.split(":")
    return datetime(2026, 1, int(day), int(hour), int(minute), tzinfo=UTC)


def window_of(day: int) -> Window:
    return CADENCE.window(f"2026-01-{day:02d}")


@pytest.fixture
def build(spark: SparkSession, tmp_path: Path) -> Callable[..., WindowBuild]:
    """Builds the window of a day of January 2026 from rows of `SCHEMA`."""

    def build(
        day: int,
        rows: Iterable[Row],
        *,
        timeout: timedelta | None = TIMEOUT,
        into: str = "app",
        window: Window | None = None,
    ) -> WindowBuild:
        return build_window(
            spark.createDataFrame(list(rows), SCHEMA),
            tables=str(tmp_path / into),
            keys=("player",),
            observation=(Number("x"),),
            action=Discrete(["a", "b"]),
            metrics=("click", "cost"),
            reward={"click": 2.0, "cost": -0.5},
            window=window or window_of(day),
            previous=CADENCE.previous(window_of(day)),
            episode_timeout=timeout,
            run_id="run",
            config_digest="config",
        )

    return build


@pytest.fixture
def rows_of(spark: SparkSession, tmp_path: Path) -> Callable[..., list[Row]]:
    """The rows of a window of a table, some columns of them, in order of player and time."""

    def rows_of(table: str, day: int, columns: Sequence[str], into: str = "app") -> list[Row]:
        frame = Table(str(tmp_path / into / table)).read(spark, windows=[window_of(day).ds])
        return [tuple(row) for row in frame.orderBy("env_id", "timestamp").selectExpr(*columns).collect()]

    return rows_of
