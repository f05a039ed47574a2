"""Timesteps to trajectories: CPU of the whole build against DuckDB's bare window on the same file.

python -m benchmarks.trajectories [--rows 1000000 --rows 10000000]

Both sides read one Parquet file of timesteps (8 features, 50 decisions per environment, in
random order). DuckDB only joins each row with its successor and writes Parquet; rlbake checks
every row, sets bad ones aside, removes duplicates, pairs, hashes and commits three Delta tables. CPU is that of the
process tree including the JVM, from cold; the start of Python and Spark is not counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import click
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from rlbake import Cadence, Discrete, Number
from rlbake import vocabulary as v

FEATURES = tuple(f"f{i}" for i in range(8))
STEPS = 50
CADENCE = Cadence(start="2026-01-01")
ACTIONS = Discrete([f"a{i}" for i in range(10)])
BOUND = 20.0  # rlbake's CPU must stay below this many times DuckDB's
CHUNK = 1_000_000


def generate(path: Path, rows: int) -> None:
    """Writes the timesteps of rows / 50 environments, shuffled within each million rows."""
    rng = np.random.default_rng(0)
    start = np.datetime64(CADENCE.start.replace(tzinfo=None), "us")
    writer = None
    for first in range(0, rows, CHUNK):
        order = first + rng.permutation(min(CHUNK, rows - first))
        second = order % STEPS * 1700
        table = pa.table(
            {
                "player_id": pa.array(np.char.add("player_", np.char.zfill((order // STEPS).astype(str), 8))),
                v.TIMESTAMP: pa.array(start + second.astype("timedelta64[s]"), pa.timestamp("us", tz="UTC")),
                **{name: pa.array(rng.normal(size=len(order))) for name in FEATURES},
                v.ACTION: pa.array(rng.integers(len(ACTIONS), size=len(order)).astype(np.int32)),
                v.LOG_PROBABILITY: pa.array(np.full(len(order), np.log(1 / len(ACTIONS)))),
                "click": pa.array((rng.random(len(order)) < 0.1).astype(np.float64)),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def run_duckdb(source: Path, target: Path) -> dict[str, float]:
    import duckdb

    following = ", ".join(f"lead({name}) OVER in_order AS next_{name}" for name in (v.TIMESTAMP, *FEATURES, v.ACTION))
    query = f"""COPY (SELECT *, {following} FROM '{source}'
        WINDOW in_order AS (PARTITION BY player_id ORDER BY "{v.TIMESTAMP}")) TO '{target}/duckdb.parquet'"""
    with measured() as used:
        duckdb.sql(query)
    return used


def run_rlbake(source: Path, target: Path) -> dict[str, float]:
    from rlbake.trajectories.build import build_window
    from rlbake.warehouse.session import spark_session

    spark = spark_session()
    with measured() as used:
        build = build_window(
            spark.read.parquet(str(source)),
            tables=str(target / "tables"),
            keys=("player_id",),
            observation=tuple(Number(name) for name in FEATURES),
            action=ACTIONS,
            metrics=("click",),
            reward={"click": 1.0},
            window=CADENCE.window("2026-01-01"),
            previous=None,
            episode_timeout=timedelta(days=14),
            run_id="benchmark",
            config_digest="benchmark",
        )
    return {**used, "transitions": build.transitions, "open": build.open}


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """CPU and wall seconds of this process tree, and its peak resident memory in MB."""
    used: dict[str, float] = {"peak_mb": 0.0}
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.2):
            with suppress(psutil.NoSuchProcess):  # a child that ended while it was looked at
                used["peak_mb"] = max(used["peak_mb"], sum(p.memory_info().rss for p in tree()) / 2**20)

    def tree() -> list[psutil.Process]:
        me = psutil.Process()
        return [me, *me.children(recursive=True)]

    def cpu() -> float:
        return sum(p.cpu_times().user + p.cpu_times().system for p in tree())

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    before, started = cpu(), time.perf_counter()
    yield used
    used |= {"cpu_s": cpu() - before, "wall_s": time.perf_counter() - started}
    done.set()
    sampler.join()


RUNS = {"duckdb": run_duckdb, "rlbake": run_rlbake}


@click.command()
@click.option("--rows", default=[1_000_000, 10_000_000], multiple=True, help="Timesteps.")
@click.option("--only", type=click.Choice(list(RUNS)), help="Run one side on --source and print JSON.")
@click.option("--source", type=click.Path(path_type=Path))
def main(rows: tuple[int, ...], only: str | None, source: Path | None) -> None:
    if only and source:
        click.echo(json.dumps(RUNS[only](source, source.parent)))
        return
    for count in rows:
        with tempfile.TemporaryDirectory() as folder:
            timesteps = Path(folder) / "timesteps.parquet"
            generate(timesteps, count)
            used = {side: _in_own_process(side, timesteps) for side in RUNS}
        for side, numbers in used.items():
            click.echo(
                f"{count:>11,} rows  {side:<7} {numbers['cpu_s']:7.2f} CPU-s  {numbers['wall_s']:7.2f} s"
                f"  {count / numbers['wall_s']:12,.0f} rows/s  peak {numbers['peak_mb']:6,.0f} MB"
            )
        ratio = used["rlbake"]["cpu_s"] / used["duckdb"]["cpu_s"]
        click.echo(f"{count:>11,} rows  ratio {ratio:.1f} (bound {BOUND:.0f})")


def _in_own_process(side: str, source: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.trajectories", "--only", side, "--source", str(source)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


if __name__ == "__main__":
    main()
