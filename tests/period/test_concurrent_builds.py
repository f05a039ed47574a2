"""Builds at the same time, whole: neighbouring days continue each other, and one build of a day stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from rlbake.warehouse.table import Table
from tests.period.test_build import Logs, step
from tests.turns import at_once, in_turns

ROOT = Path(__file__).parent.parent.parent
GATED = """
import os
import time
from pathlib import Path

from tests.period.late_logs import SCHEMA, LateLogs


class Gated(LateLogs):
    def timesteps(self, spark, window):
        here = Path(self.tables).parent
        (here / f"ready-{os.getpid()}").touch()
        while not (here / "go").exists():
            time.sleep(0.01)
        return spark.read.schema(SCHEMA).parquet(str(here / os.environ["LOGS"] / "logs" / f"ds={window.ds}"))
"""


@pytest.mark.parametrize("order", ["110001", "100110", "010011"])
def test_neighbouring_days_built_at_the_same_time_continue_each_other(
    spark: SparkSession, tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    logs = Logs(tmp_path)
    logs.write([step(player, f"{day} 10:00") for player in ("ann", "bob") for day in (1, 2)])
    with monkeypatch.context() as patched:
        in_turns(patched, order)
        at_once(lambda: logs.build(1), lambda: logs.build(2))
    logs.build(2, start=1, tables="one_by_one")
    assert logs.contents() == logs.contents("one_by_one")
    assert logs.contents()["trajectories"]["2026-01-02"].rows == 2


@pytest.mark.slow
def test_processes_that_build_at_the_same_time(spark: SparkSession, tracking_uri: str, tmp_path: Path) -> None:
    """Two build the same day, of different logs, and a third another day."""
    alone = {}
    for name, x in (("one", 1.0), ("other", 2.0)):
        logs = Logs(tmp_path / name)
        logs.write(
            step(f"{name} {n}", f"{day} {hour}:00", x) for n in range(500) for day in (1, 3) for hour in (10, 11)
        )
        for day in (1, 3):
            logs.build(day)
        alone[name] = logs.contents()
    (tmp_path / "gated.py").write_text(GATED)
    processes = [start(tmp_path, *of) for of in (("one", 1), ("other", 1), ("one", 3))]
    try:
        while len(list(tmp_path.glob("ready-*"))) < len(processes):
            assert all(process.poll() is None for process in processes), told(tmp_path)
            time.sleep(0.01)
        (tmp_path / "go").touch()
        assert [process.wait(timeout=300) for process in processes] == [0, 0, 0], told(tmp_path)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    together = {name: Table(f"{tmp_path}/tables/late_logs/{name}").contents() for name in alone["one"]}
    first = {name: {"2026-01-01": of.pop("2026-01-01")} for name, of in together.items()}
    assert first in [{name: {"2026-01-01": of["2026-01-01"]} for name, of in one.items()} for one in alone.values()]
    assert together == {name: {"2026-01-03": of["2026-01-03"]} for name, of in alone["one"].items()}


def start(folder: Path, logs: str, day: int) -> subprocess.Popen[bytes]:
    arguments = ["--application", "gated.py:Gated", "--tables", str(folder / "tables"), "--date", f"2026-01-{day:02d}"]
    with (folder / f"{logs}-{day}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "entry_points.build_trajectories", *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "LOGS": logs},
            stderr=log,
        )


def told(folder: Path) -> str:
    return "\n".join(log.read_text() for log in folder.glob("*.log"))
