"""On a Spark cluster that loses workers a build writes what it writes on one machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from rlbake.period import open_period
from rlbake.period.build import build_trajectories
from rlbake.warehouse.table import Table
from tests.end_to_end.cluster import SHORT_LIVED, Cluster, kill, wait_until

ROOT = Path(__file__).parent.parent.parent
APPLICATION = f"{ROOT}/tests/period/late_logs.py:LateLogs"
TABLES = ("timesteps", "open", "trajectories", "quarantine")
DAYS = ("2026-01-01", "2026-01-02")
PLAYERS, STEPS, FILES = 2000, 25, 6  # per day
MICROSECONDS = 86_400_000_000

BUILD = """
import sys
from pyspark.sql import SparkSession
from entry_points.build_trajectories import command
from entry_points.terminal import run
settings = dict(setting.split("=", 1) for setting in sys.argv.pop(2).split(","))
spark = SparkSession.builder.master(sys.argv.pop(1)).config(map=settings).getOrCreate()
before = spark.sql("set").collect()
run(command)
assert spark.sql("set").collect() == before
"""

# A cluster has its own settings: nobody asked for UTC, and tasks are many so that a worker is lost among them.
SETTINGS = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.executor.memory": "1g",
    "spark.executor.extraJavaOptions": SHORT_LIVED,
    "spark.shuffle.io.retryWait": "1s",
    "spark.sql.adaptive.coalescePartitions.enabled": "false",
    "spark.sql.session.timeZone": "America/New_York",
    "spark.sql.shuffle.partitions": "24",
    "spark.ui.enabled": "false",
}


def write_logs(folder: Path, day: str) -> None:
    """Rows of `PLAYERS` in no order: repeated, bad and final ones among them."""
    random = np.random.default_rng(int(day[-2:]))
    rows = PLAYERS * STEPS
    player = np.repeat(np.arange(PLAYERS), STEPS)
    time_ = np.datetime64(day, "us").astype(np.int64) + random.integers(0, MICROSECONDS, rows)
    action = random.choice(["a", "b", "jump"], rows, p=[0.5, 0.45, 0.05])
    end = random.choice(["none", "terminated", "truncated"], rows, p=[0.9, 0.05, 0.05])
    table = pa.table(
        {
            "player": pa.array(player).cast(pa.string()),
            "timestamp": pa.array(time_, pa.timestamp("us", tz="UTC")),
            "x": random.random(rows),
            "action": action,
            "click": random.integers(0, 3, rows).astype(float),
            "end": end,
        }
    )
    table = table.take(np.concatenate([random.permutation(rows), random.integers(0, rows, rows // 50)]))
    place = folder / f"ds={day}"
    place.mkdir(parents=True)
    for number, part in enumerate(np.array_split(np.arange(len(table)), FILES)):
        pq.write_table(table.take(part), place / f"{number}.parquet")


def written(tables: Path, table: str, day: str) -> bool:
    """Whether a task has written its file of a window of a table, which is not committed yet."""
    folder = tables / "late_logs" / table
    committed = (folder / f"ds={day}").glob("*/part-*")
    return any((folder / f"ds={day}").glob("*/_temporary/0/task_*/part-*")) and not any(committed)


@pytest.mark.slow
def test_workers_are_killed_and_the_tables_are_those_of_local_mode(
    cluster: Cluster, processes: list[subprocess.Popen[str]], spark: object, tmp_path: Path
) -> None:
    for day in DAYS:
        write_logs(tmp_path / "logs", day)
    killed = [cluster.add_worker(), cluster.add_worker()]
    arguments = ["--application", APPLICATION, "--date", DAYS[-1], "--start", DAYS[0]]
    settings = [f"{name}={value}" for name, value in SETTINGS.items()]
    tables = tmp_path / "on_cluster"
    driver = subprocess.Popen(
        [sys.executable, "-c", BUILD, cluster.url, ",".join(settings), *arguments, "--tables", str(tables)],
        cwd=tmp_path,
        env=cluster.environment | {"PYTHONPATH": str(ROOT)},
        stderr=(tmp_path / "driver.log").open("w"),
        text=True,
        start_new_session=True,
    )
    processes.append(driver)

    def said() -> str:
        return (tmp_path / "driver.log").read_text()

    for worker, table, day in zip(killed, ("timesteps", "trajectories"), DAYS, strict=True):
        wait_until(lambda table=table, day=day: driver.poll() is not None or written(tables, table, day), table)
        assert driver.poll() is None, said()
        assert cluster.state(worker)["coresused"] == 1  # its executor was at work
        kill(worker.process)
        assert not (tables / "late_logs/trajectories" / f"_delta_log/{DAYS.index(day):020}.json").exists()
        cluster.add_worker()
    assert driver.wait(timeout=600) == 0, said()
    assert len(set(re.findall(r"Lost executor (\d+) on 127", said()))) == len(killed), said()
    for worker in killed:
        wait_until(lambda worker=worker: cluster.state(worker)["state"] == "DEAD", "the master missed a worker")

    build_trajectories(open_period(APPLICATION, str(tmp_path / "local"), DAYS[-1], 0), DAYS[0])
    for table in TABLES:
        ours, theirs = (Table(f"{tmp_path}/{place}/late_logs/{table}") for place in ("on_cluster", "local"))
        assert ours.contents() == theirs.contents(), table
        assert ours.digest() == theirs.digest(), table
        assert rows(ours) == rows(theirs), table


def rows(table: Table) -> pa.Table:
    return (
        DeltaTable(table.uri)
        .to_pyarrow_table()
        .sort_by([(name, "ascending") for name in ("ds", "env_id", "timestamp")])
    )
