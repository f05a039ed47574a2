"""What one more day costs: CPU of building day 30 against day 2, of the same logs.

python -m benchmarks.days [--days 30] [--players 10000]

Every player decides ten times a day, every day, and no episode ends, so each day continues as many
open decisions as there are players. The days are built one by one, as a scheduler would, through
`build_trajectories`, after some others have warmed the JVM up; of the early and the late days
three are averaged. Starting Python and Spark is not counted.
"""

from __future__ import annotations

import logging
import os
import tempfile
from datetime import timedelta
from pathlib import Path
from statistics import mean

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.trajectories import ACTIONS, FEATURES, measured
from rlbake import Application, Cadence, Number
from rlbake import vocabulary as v
from rlbake.sources import Folder

CADENCE = Cadence(start="2026-01-01")
WARM_UP = 4  # days of another application's tables
PER_DAY = 10
BOUND = 1.3


class Daily(Application):
    """Ten decisions a day."""

    name = "daily"
    keys = ("player_id",)
    cadence = CADENCE
    observation = tuple(Number(name) for name in FEATURES)
    action = ACTIONS
    metrics = ("click",)
    reward = {"click": 1.0}
    source = Folder("logs", partition=v.DS)


def log_day(day: int, players: int) -> None:
    """Writes the decisions of one day below the working folder."""
    rng = np.random.default_rng(day)
    window = CADENCE.windows(CADENCE.first, CADENCE.following(CADENCE.first, day))[-1]
    row = rng.permutation(players * PER_DAY)
    start = np.datetime64(window.start.replace(tzinfo=None), "us")
    at = start + (row % PER_DAY * 7000 + row // PER_DAY % 7000).astype("timedelta64[s]")
    table = pa.table(
        {
            "player_id": pa.array(np.char.add("player_", (row // PER_DAY).astype(str))),
            v.TIMESTAMP: pa.array(at, pa.timestamp("us", tz="UTC")),
            **{name: pa.array(rng.normal(size=len(row))) for name in FEATURES},
            v.ACTION: pa.array(rng.integers(len(ACTIONS), size=len(row)).astype(np.int32)),
            "click": pa.array((rng.random(len(row)) < 0.1).astype(np.float64)),
        }
    )
    folder = Path("logs") / f"{v.DS}={window.ds}"
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "part.parquet")


def build(day: int, tables: str) -> dict[str, float]:
    from rlbake.period import open_period
    from rlbake.period.build import build_trajectories

    date = (CADENCE.start + timedelta(days=day)).date().isoformat()
    with measured() as used:
        build_trajectories(open_period("benchmarks.days:Daily", tables, date, 0))
    return used


@click.command()
@click.option("--days", default=30)
@click.option("--players", default=10_000, help=f"Each decides {PER_DAY} times a day.")
def main(days: int, players: int) -> None:
    from rlbake.warehouse.session import spark_session

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        for day in range(days):
            log_day(day, players)
        spark_session()
        for day in range(WARM_UP):
            build(day, "warm_up")
        used = [build(day, "tables") for day in range(days)]
    for day, cost in enumerate(used, start=1):
        if day in (2, 3, 4, days - 2, days - 1, days):
            click.echo(
                f"day {day:>2}  {players * PER_DAY:>9,} rows  {cost['cpu_s']:6.2f} CPU-s  {cost['wall_s']:6.2f} s"
                f"  peak {cost['peak_mb']:6,.0f} MB"
            )
    early, late = (mean(cost["cpu_s"] for cost in some) for some in (used[1:4], used[-3:]))
    click.echo(f"days {days - 2} to {days} against days 2 to 4: ratio {late / early:.2f} (bound {BOUND})")


if __name__ == "__main__":
    main()
