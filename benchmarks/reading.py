"""Training on a table larger than the memory that it may take.

python -m benchmarks.reading [--rows 20000000] [--memory 1GB]

Writes trajectories (8 features, 50 steps per environment, one window per million rows) the way a
build leaves them, then trains on them in a process of its own with the budget given. Memory is the
peak of that process over what it had after a small training of the same shape in memory: what rows
cost, without Python, TensorFlow and the compiled graph.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import click
import numpy as np
import psutil
import pyarrow as pa
from deltalake import CommitProperties, write_deltalake
from pydantic import ByteSize, TypeAdapter

from rlbake import Discrete, Number
from rlbake import vocabulary as v
from rlbake.dataset.snapshot import pin
from rlbake.dataset.transitions import Reading
from rlbake.warehouse.content import Build, ContentHash, to_metadata

FEATURES, STEPS, WINDOW = 8, 50, 1_000_000
OBSERVATION = tuple(Number(f"f{i}", transform="standard") for i in range(FEATURES))
ACTION = Discrete([f"a{i}" for i in range(10)])
READING = Reading(OBSERVATION, ACTION, ("click",), {"click": 1.0}, gamma=0.99, n_step=3)


def generate(uri: str, rows: int) -> list[str]:
    """Writes rows / 50 environments, whole in their windows and shuffled there; the windows' `ds`."""
    random = np.random.default_rng(0)
    windows = []
    for first in range(0, rows, WINDOW):
        ds = (date(2026, 1, 1) + timedelta(days=first // WINDOW)).isoformat()
        table = _window(ds, np.arange(first, min(first + WINDOW, rows)), random)
        hashed = int(random.integers(2**31))
        write_deltalake(
            uri,
            table.take(pa.array(random.permutation(len(table)))),
            mode="overwrite",
            predicate=f"{v.DS} = '{ds}'",
            partition_by=[v.DS],
            commit_properties=CommitProperties(
                to_metadata(ds, Build(0, ContentHash(len(table), hashed, hashed), "benchmark", "benchmark"))
            ),
        )
        windows.append(ds)
    return windows


def _window(ds: str, row: np.ndarray, random: np.random.Generator) -> pa.Table:
    rows, step = len(row), row % STEPS
    start = np.datetime64(ds, "us")
    at = start + (step * 1700).astype("timedelta64[s]")
    over = step == STEPS - 1
    states = random.normal(size=(rows + 1, FEATURES)).astype(np.float32)
    action = random.integers(len(ACTION), size=rows).astype(np.int32)
    clicked = states[:-1, 0] > action / 5 - 1
    names = [f.name for f in OBSERVATION]
    now, then = (
        pa.StructArray.from_arrays([pa.array(column) for column in part.T], names) for part in (states[:-1], states[1:])
    )
    instant, no_mask = pa.timestamp("us", "UTC"), pa.nulls(rows, pa.list_(pa.bool_()))
    return pa.table(
        {
            v.ENV_ID: pa.array(np.char.add("player_", np.char.zfill((row // STEPS).astype(str), 8))),
            v.EPISODE: pa.array(np.full(rows, start), instant),
            v.TIMESTAMP: pa.array(at, instant),
            v.NEXT_TIMESTAMP: pa.array(at + np.timedelta64(1700, "s"), instant, mask=over),
            v.OBSERVATION: now,
            v.NEXT_OBSERVATION: pa.StructArray.from_arrays(then.flatten(), fields=list(then.type), mask=pa.array(over)),
            v.ACTION: pa.array(action),
            v.NEXT_ACTION: pa.array(np.roll(action, -1), mask=over),
            v.ACTION_MASK: no_mask,
            v.NEXT_ACTION_MASK: no_mask,
            v.LOG_PROBABILITY: pa.array(np.full(rows, np.log(1 / len(ACTION)), np.float32)),
            v.METRICS: pa.StructArray.from_arrays([pa.array(clicked.astype(np.float32))], ["click"]),
            v.REWARD: pa.array(np.zeros(rows)),
            v.DISCOUNT: pa.array(np.where(over, 0, 1).astype(np.float32)),
            v.STEP_TYPE: pa.array(np.where(step == 0, v.FIRST, v.MID).astype(np.int32)),
            v.NEXT_STEP_TYPE: pa.array(np.where(over, v.LAST, v.MID).astype(np.int32)),
            v.END: pa.array(np.where(over, v.TERMINATED, v.NOT_ENDED)),
            v.TIME_GAP: pa.array(np.full(rows, 1700.0), mask=over),
            v.POLICY_VERSION: pa.array(np.full(rows, v.RANDOM_POLICY)),
            v.DS: pa.array(np.full(rows, ds)),
        }
    )


def trained(uri: str, windows: list[str], budget: int | None, steps: int) -> dict[str, float]:
    """Reads and trains: rows, parts, seconds and bytes."""
    from rlbake.dataset.reading import read
    from rlbake.dataset.streamed import Streamed
    from rlbake.training.config import TrainConfig, resolve
    from rlbake.training.fit import STEPS, fit

    config = resolve({"steps": steps, "overfit": None}, gamma=READING.gamma)
    chunks: list[float] = []

    def run(config: TrainConfig, uri: str, windows: list[str], budget: int | None) -> dict[str, float]:
        began = time.perf_counter()
        with read(pin(uri, windows), READING, holdout=config.holdout, budget=budget) as (training, holdout):
            opened = time.perf_counter() - began
            fitted = fit(
                training, holdout, observation=OBSERVATION, action=ACTION, config=config, seed=0,
                on_metrics=lambda *_: chunks.append(time.perf_counter() - began),
            )  # fmt: skip
            return {
                "rows": len(training) + len(holdout),
                "parts": len(training.files) + len(holdout.files) if isinstance(training, Streamed) else 1,
                "opened_s": opened,
                "prepared_s": chunks[0],
                "total_s": time.perf_counter() - began,
                "steps": fitted.metrics[STEPS],
            }

    with tempfile.TemporaryDirectory() as folder:
        table = str(Path(folder) / "warm_up")
        run(resolve({"steps": 5}, gamma=READING.gamma), table, generate(table, 10_000), None)
    chunks.clear()
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    used = run(config, uri, windows, budget)
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    return {**used, "before": before, "peak": peak - before}


def in_own_process(uri: str, windows: list[str], budget: int | None, steps: int) -> dict[str, float]:
    """`trained`, with nothing else in memory."""
    asked = json.dumps({"uri": uri, "windows": windows, "budget": budget, "steps": steps})
    command = [sys.executable, "-m", "benchmarks.reading", "--only", asked]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


@click.command()
@click.option("--rows", default=20_000_000, help="Of the table.")
@click.option("--memory", default=["1GB"], multiple=True, help="Budget; may be given several times.")
@click.option("--steps", default=10_000, help="Gradient steps.")
@click.option("--only", help="JSON arguments of `trained`: prints what it used.")
def main(rows: int, memory: tuple[str, ...], steps: int, only: str | None) -> None:
    if only:
        click.echo(json.dumps(trained(**json.loads(only))))
        return
    with tempfile.TemporaryDirectory() as folder:
        uri = str(Path(folder) / v.TRAJECTORIES_TABLE)
        windows = generate(uri, rows)
        for budget in memory:
            limit = TypeAdapter(ByteSize).validate_python(budget)
            used = in_own_process(uri, windows, limit, steps)
            click.echo(
                f"{used['rows']:>11,.0f} rows  memory {budget}: {used['parts']:.0f} parts, "
                f"peak {used['peak'] / 1e6:,.0f} MB over {used['before'] / 1e6:,.0f} MB; "
                f"spread {used['opened_s']:.0f} s, first steps after {used['prepared_s']:.0f} s "
                f"({used['rows'] / used['prepared_s']:,.0f} rows/s), "
                f"{used['steps']:,.0f} steps after {used['total_s']:.0f} s"
            )


if __name__ == "__main__":
    main()
